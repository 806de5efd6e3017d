# SPDX-License-Identifier: Apache-2.0
"""Wrong words for mounts, volumes and changes to the root: one line each, before any machine is started."""
import os
import random
import time

import pytest


@pytest.fixture
def place(tmp_path):
    """What the arguments below name: a root that nothing could boot, a folder, a file, a link, a disk image."""
    (tmp_path / "root").mkdir()
    (tmp_path / "dir/sub").mkdir(parents=True)
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("dir")
    (tmp_path / "disk.raw").write_bytes(bytes(1 << 20))
    return tmp_path


def refused(home, place, *args, root="./root"):
    """The one line that a run with these arguments ends with."""
    home.env["MSB_LIBKRUNFW"] = "/no/kernel"  # should it come so far, it comes no farther
    done = home.run("run", "--engine", "qemu", *args, root, "--", "true", cwd=place)
    lines = done.stderr.splitlines()
    assert done.returncode in (1, 2) and done.stdout == "" and lines[0].startswith("error: "), done
    assert len(lines) == 1 or done.returncode == 2, done.stderr
    return lines[0]


@pytest.mark.parametrize("args, words", [
    (["-v", "./dir"], "expected SOURCE:GUEST[:OPTIONS]"),
    (["-v", "./dir:x"], "absolute GUEST"),
    (["-v", "./dir:/"], "must be absolute and not '/'"),
    (["-v", "./dir:/x/../y"], "'..'"),
    (["-v", "./dir:/x,ro"], "options stand behind a colon: /x:ro"),
    (["-v", "./dir:/x:bogus"], "unknown mount option 'bogus': there are ro"),
    (["-v", "./dir:/x:exec"], "unsupported mount option 'exec'"),
    (["-v", "./dir:/x:suid"], "unsupported mount option 'suid'"),
    (["-v", "./dir:/x:dev"], "unsupported mount option 'dev'"),
    (["-v", "./dir:/x:ro,rw"], "given twice"),
    (["-v", "./dir:/x:size=1G"], "'size' is not valid here"),
    (["-v", "./dir:/x:quota=0"], "at least 1M"),
    (["-v", "./dir:/x:uid=1"], "uid= and gid= go together"),
    (["-v", "./dir:/x:stat-virt=off,host-perms=mirror"], "stat-virt=off and host-perms=mirror"),
    (["-v", "./dir:/x", "-v", "./dir:/x/"], "two mounts at '/x/'"),
    (["-v", "./file:/x", "-v", "./dir:/x/y"], "mount at '/x/y': below '/x'"),
    (["--tmpfs", "/x/y", "-v", "./file:/x"], "mount at '/x/y': below '/x'"),
    (["-v", "./nope:/x"], "mount './nope': No such file"),
    (["-v", "./link:/x"], "a symbolic link is on the way; name the place itself ("),
    (["-v", "./link/sub:/x"], "add the option follow-root-symlinks"),
    (["-v", "/dev/null:/x"], "neither a folder nor a regular file"),
    (["-v", "./file:/x:quota=1G"], "quota= is for folders"),
    (["-v", "/proc:/x:stat-virt=strict"], "keeps no user.* attributes; use stat-virt=relaxed or off"),
    (["--mount-dir", "./file:/x"], "'./file': it is not a folder"),
    (["--mount-file", "./dir:/x"], "'./dir': it is a folder"),
    (["--mount-file", "./file:/x:quota=1G"], "'quota' is not valid here"),
    (["--mount-disk", "./nope.raw:/x"], "nope.raw"),
    (["--mount-disk", "./disk.raw:/x:stat-virt=off"], "'stat-virt' is not valid here"),
    (["--mount-disk", "./disk.raw:/x:ro", "--mount-disk", "./disk.raw:/y:ro"], "more than once"),
    (["--mount-named", "./dir:/x"], "a volume has a name, not a path"),
    (["--mount-named", "a b:/x"], "a volume name must start with"),
    (["--mount-named", "a:/x:kind=tape"], "there are dir and disk"),
    (["--mount-named", "a:/x:kind=disk"], "kind=disk needs size="),
    (["--mount-named", "a:/x:size=1G"], "size= needs kind=disk"),
    (["--mount-named", "a:/x:kind=disk,size=1M"], "16M to 16T"),
    (["--mount-named", "a:/x:kind=disk,size=1G,uid=1,gid=1"], "uid= is for folders"),
    (["-v", "a:/x:follow-root-symlinks"], "is a named volume"),
    (["--tmpfs", "x"], "must be absolute"),
    (["--tmpfs", "/x:0"], "at least 1M"),
    (["--tmpfs", "/x:ro:ro"], "PATH[:SIZE][:OPTIONS]"),
    (["--copy", "./nope:/x"], "cannot copy './nope': No such file"),
    (["--copy", "./file"], "expected SOURCE:GUEST"),
    (["--mkdir", "x"], "must be absolute"),
    (["--rm", "/"], "must be absolute and not '/'"),
    (["--fs-conf", "./nope"], "read './nope': No such file"),
    (["--fs-conf", "./file"], "./file: 'the file' is not a map"),
], ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_wrong_words(home, place, args, words):
    assert words in refused(home, place, *args)
    assert home.run("volume", "ls", "-q").stdout == "", "a volume was made for nothing"


@pytest.mark.parametrize("text, words", [
    ("mounts: [{named: nope, target: /x}]", "volume not found: nope; 'msb volume create nope' makes it"),
    ("mounts: ['data:/x']", "fs.yaml: item 1 of mounts: 'data:/x' does not begin with a path"),
    ("mounts: ['./link:/x']", "a symbolic link is on the way"),
    ("patches: [{copy_file: {src: nope, dst: /x}}]", "item 1 of patches: copy_file: cannot copy './nope'"),
    ("patches: [{text: {path: x, content: y}}]", "text: guest path must be absolute"),
    ("patches: [{text: {path: /x, content: y, mode: 0644}}]", "four octal digits in quotes"),
    ("patch_files: [nope]", "read './nope': No such file"),
])
def test_wrong_files(home, place, text, words):
    (place / "fs.yaml").write_text(text + "\n")
    assert words in refused(home, place, "--fs-conf", "fs.yaml")


def test_files_and_options_meet(home, place):
    (place / "fs.yaml").write_text("mounts: [{tmpfs: {}, target: /x}]\npatches: [{remove: {path: /y}}]\n")
    assert "two mounts at '/x'" in refused(home, place, "--fs-conf", "fs.yaml", "-v", "./dir:/x")
    assert "'./disk.raw' is a disk image" in refused(home, place, "--fs-conf", "fs.yaml", root="./disk.raw")


def test_what_is_there_must_be_what_is_asked_for(home, place):
    home.ok("volume", "create", "dir")
    home.ok("volume", "create", "disk", "--kind", "disk", "--size", "64M")
    for args, words in [
        (["--mount-named", "dir:/x:kind=disk,size=64M"], "'dir' exists and is a folder, not a disk"),
        (["--mount-named", "disk:/x:kind=dir"], "'disk' exists and is a disk, not a folder"),
        (["--mount-named", "disk:/x:kind=disk,size=1G"], "has 64 MiB, not 1024"),
        (["-v", "dir:/x:quota=1G"], "has another quota"),
        (["-v", "disk:/x:quota=1G"], "'disk' is a disk: quota= is for folders"),
        (["-v", "disk:/x", "-v", "disk:/y"], "volume 'disk' is a disk, which cannot be mounted twice"),
    ]:
        assert words in refused(home, place, *args)
    (place / "fs.yaml").write_text("mounts: [{named: dir, target: /x, create: create}]\n")
    assert "volume already exists: dir" in refused(home, place, "--fs-conf", "fs.yaml")


def test_volumes_of_an_attempt_that_fails_are_gone(home, place):
    """Made for a machine that could not start; one that was there before stays."""
    home.ok("volume", "create", "old", "-q")
    words = refused(home, place, "-v", "new:/n", "-v", "old:/o", "--mount-named", "disk:/d:kind=disk,size=16M")
    assert "libkrunfw" in words or "/no/kernel" in words, words
    assert home.ok("volume", "ls", "-q") == "old\n"
    assert sorted(os.listdir(home.path / "volumes")) == [".locks", "old"]


def test_kills_leave_nothing_in_the_way(home):
    """Creation and removal, each killed at some moment; whatever comes next finds one state or the other."""
    rng = random.Random(7)
    for i in range(30):
        kind = ["--kind", "disk", "--size", "16M"] if i % 2 else []
        for command in (["create", "v", *kind], ["rm", "v"]):
            running = home.start("volume", *command)
            time.sleep(rng.random() * 0.02)  # not waiting for anything: any moment will do
            running.kill()
            running.communicate(timeout=120)
        again = home.run("volume", "create", "v")
        assert again.returncode == 0 or again.stderr == "error: volume already exists: v\n", again.stderr
        home.ok("volume", "rm", "v")
    assert not [name for name in os.listdir(home.path / "volumes") if not name.startswith(".")]
    assert home.catalogue().execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_two_that_create_and_remove(home):
    """Two processes racing for one name: each call does what it says, or says why not."""
    for _ in range(8):
        running = [home.start("volume", *args) for args in (["create", "v"], ["rm", "v"], ["create", "v"], ["rm", "v"])]
        for process in running:
            _, err = process.communicate(timeout=120)
            known = ("", "error: volume already exists: v\n", "error: volume not found: v\n", "   ✓ Removed      v\n")
            assert err in known or err.startswith("   ✓ Removed"), err
    home.run("volume", "rm", "v")
    assert home.ok("volume", "ls", "-q") == "" and not (home.path / "volumes/v").exists()
