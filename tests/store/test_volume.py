# SPDX-License-Identifier: Apache-2.0
"""msb volume."""
import fcntl
import os
import re
import subprocess

import pytest


def test_a_volume_lives_and_dies(home):
    assert home.ok("volume", "create", "data") == "data\n"
    assert (home.path / "volumes/data").is_dir()
    (home.path / "volumes/data/file").write_text("x")
    again = home.run("volume", "create", "data")
    assert (again.returncode, again.stderr) == (1, "error: volume already exists: data\n")
    removed = home.run("volume", "rm", "data")
    assert removed.returncode == 0 and removed.stderr == "   ✓ Removed      data\n"
    assert not (home.path / "volumes/data").exists()
    gone = home.run("volume", "rm", "data")
    assert (gone.returncode, gone.stderr) == (1, "error: volume not found: data\n")


def test_lists(home):
    empty = home.run("volume", "ls")
    assert (empty.returncode, empty.stdout, empty.stderr) == (0, "", "No volumes found.\n")
    assert not home.path.exists(), "looking must not create anything"
    assert home.json("volume", "ls") == []
    home.ok("volume", "create", "data", "-q")
    home.ok("volume", "create", "-n", "disk", "--kind", "disk", "--size", "64M")
    table = home.ok("volume", "ls").splitlines()
    assert re.fullmatch(r"NAME    KIND    SIZE      CREATED", table[0])
    assert re.fullmatch(r"disk    disk    64 MiB    \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", table[1])
    assert re.fullmatch(r"data    dir     -         \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", table[2])
    assert home.ok("volume", "ls", "-q") == "disk\ndata\n"
    disk, data = home.json("volume", "list")
    assert sorted(disk) == ["capacity_bytes", "created_at", "disk_format", "disk_fstype", "kind", "name",
                            "quota_mib", "used_bytes"]
    assert (disk["capacity_bytes"], disk["disk_format"], disk["disk_fstype"]) == (64 << 20, "raw", "ext4")
    assert (data["kind"], data["capacity_bytes"], data["used_bytes"]) == ("dir", None, 0)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}\+00:00", data["created_at"])


def test_inspect(home):
    home.ok("volume", "create", "data")
    text = home.ok("volume", "inspect", "data").splitlines()
    assert text[:4] == ["Name:           data", "Kind:           dir", "Quota:          unlimited",
                        f"Path:           {home.path}/volumes/data"]
    assert text[5] == "Labels:         -"
    home.ok("volume", "create", "disk", "--kind", "disk", "--size", "1.5G")
    text = home.ok("volume", "inspect", "disk")
    assert "Format:         raw\nFilesystem:     ext4\nCapacity:       1.5 GiB\n" in text
    assert f"{home.path}/volumes/disk/disk.raw\n" in text


def test_a_disk_is_a_sound_sparse_ext4(home):
    home.ok("volume", "create", "disk", "--kind", "disk", "--size", "1G")
    disk = home.path / "volumes/disk/disk.raw"
    assert disk.stat().st_size == 1 << 30
    assert disk.stat().st_blocks * 512 < 16 << 20
    done = subprocess.run(["e2fsck", "-fn", disk], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("args, code, words", [
    (["create"], 1, "volume create requires a name"),
    (["create", ""], 1, "must not be empty"),
    (["create", "../x"], 1, "a volume name must start with"),
    (["create", ".locks"], 1, "a volume name must start with"),
    (["create", "a", "--name", "b"], 1, "two names"),
    (["create", "d", "--kind", "disk"], 1, "--size is required with --kind disk"),
    (["create", "d", "--size", "4M"], 1, "--size is only supported with --kind disk"),
    (["create", "d", "--kind", "disk", "--size", "4"], 1, "the size of a disk is 16M to 16T"),
    (["create", "d", "--kind", "disk", "--size", "10X"], 1, "size"),
    (["create", "d", "--kind", "tape"], 2, "none of dir, disk"),
    (["create", "d", "e"], 2, "unexpected argument 'e'"),
    (["rm"], 2, "missing argument"),
    (["inspect", "nope"], 1, "volume not found: nope"),
    (["ls", "--format", "yaml"], 2, "not json"),
    (["frob"], 2, "unrecognized command 'frob'"),
])
def test_wrong_words(home, args, code, words):
    done = home.run("volume", *args)
    assert done.returncode == code, done.stderr
    assert words in done.stderr and done.stdout == ""
    assert len([line for line in done.stderr.splitlines() if line.startswith("error: ")]) == 1


def test_removal_goes_on_after_a_failure(home):
    home.ok("volume", "create", "a")
    home.ok("volume", "create", "b")
    done = home.run("volume", "rm", "-q", "a", "nope", "b")
    assert (done.returncode, done.stderr) == (1, "error: volume not found: nope\n")
    assert home.ok("volume", "ls", "-q") == ""


def test_a_volume_in_use_stays(home):
    home.ok("volume", "create", "data")
    folder = os.open(home.path / "volumes/data", os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_SH)
    done = home.run("volume", "rm", "data")
    assert done.returncode == 1
    assert f"volume 'data' is in use by" in done.stderr and f"(pid {os.getpid()})" in done.stderr
    os.close(folder)
    home.ok("volume", "rm", "data")


def test_many_at_once_lose_nothing(home):
    running = [home.start("volume", "create", f"v{i}", "-q") for i in range(20)]
    for process in running:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    assert sorted(home.ok("volume", "ls", "-q").split()) == sorted(f"v{i}" for i in range(20))
    assert home.catalogue().execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_one_name_is_taken_once(home):
    running = [home.start("volume", "create", "same", "-q") for _ in range(8)]
    for process in running:
        process.communicate(timeout=120)
    assert sorted(p.returncode for p in running) == [0] + [1] * 7
    assert home.ok("volume", "ls", "-q") == "same\n"


def test_a_newer_catalogue_is_refused(home):
    home.ok("volume", "create", "a")
    with home.catalogue() as db:
        db.execute("INSERT INTO seaql_migrations VALUES ('m20270101_000001_x', 1)")
    for args in (["volume", "ls"], ["volume", "create", "b"], ["image", "ls"]):
        done = home.run(*args)
        assert done.returncode == 1 and "made by a newer release" in done.stderr
