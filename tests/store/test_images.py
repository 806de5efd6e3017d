# SPDX-License-Identifier: Apache-2.0
"""Images on the command line: load, save, list, tag, remove, prune; the cache below."""
import contextlib
import fcntl
import hashlib
import os
import random
import signal
import subprocess
import time

import pytest

from conftest import archive, files, images, layer

ETC = layer({"etc/hostname": b"toy\n"})
BIN = layer({"bin/sh": b"x" * 70000})


@pytest.fixture
def toy(home, tmp_path):
    """A home with the image toy, and its archive."""
    home.archive = archive(tmp_path / "toy.tar", ["toy:latest"], ETC, BIN)
    home.ok("load", "-q", "-i", home.archive)
    return home


def artifacts(home):
    return [f for f in files(home.path / "cache") if f.endswith(".erofs")]


def test_load_and_inspect(toy):
    image, = toy.json("image", "ls")
    assert image["reference"] == "docker.io/library/toy:latest"
    assert (image["architecture"], image["os"], image["layer_count"]) == ("amd64", "linux", 2)
    assert image["size_bytes"] == len(ETC) + len(BIN)
    config = toy.json("image", "inspect", "toy")["config"]
    assert (config["env"], config["cmd"], config["entrypoint"]) == (["PATH=/bin", "A=b"], ["/bin/sh"], None)
    assert (config["working_dir"], config["user"], config["labels"]) == ("/w", "1000", {"k": "v"})
    assert "  Cmd:          /bin/sh\n" in toy.ok("image", "inspect", "toy")
    assert len(artifacts(toy)) == 3


def test_load_from_a_pipe_with_tags(toy, tmp_path):
    with open(archive(tmp_path / "untagged.tar", None, ETC), "rb") as stream:
        refused = toy.run("load", stdin=stream)
    assert refused.returncode == 1 and "--tag" in refused.stderr
    with open(tmp_path / "untagged.tar", "rb") as stream:
        done = toy.run("image", "load", "-t", "one", "-t", "localhost:5000/two:2", stdin=stream)
    assert done.returncode == 0 and done.stderr.count("✓ Loaded") == 2
    assert set(toy.ok("images", "-q").split()) == {
        "docker.io/library/one:latest", "localhost:5000/two:2", "docker.io/library/toy:latest"}
    assert len(artifacts(toy)) == 4, "the layer is shared"


@pytest.mark.parametrize("form", ["docker", "oci"])
def test_save_and_load_again(toy, tmp_path, form):
    out = tmp_path / "out.tar"
    toy.ok("save", "--format", form, "-o", out, "toy")
    first = out.read_bytes()
    toy.ok("save", "--format", form, "-o", out, "toy")
    assert out.read_bytes() == first
    assert [p.name for p in tmp_path.glob("out.tar*")] == ["out.tar"]
    before = toy.json("image", "inspect", "toy")["config"]
    toy.ok("rmi", "toy")
    toy.ok("load", "-i", out)
    after = toy.json("image", "inspect", "toy")["config"]
    assert {k: v for k, v in after.items() if k != "digest"} == {k: v for k, v in before.items() if k != "digest"}


def test_a_failed_save_leaves_what_was_there(toy, tmp_path):
    (tmp_path / "out.tar").write_text("precious")
    done = toy.run("save", "-o", tmp_path / "out.tar", "toy", "nope")
    assert done.returncode == 1 and "nope" in done.stderr
    assert (tmp_path / "out.tar").read_text() == "precious"
    assert [p.name for p in tmp_path.glob("out.tar*")] == ["out.tar"]


def test_save_into_a_folder(toy, tmp_path):
    """New, empty, by way of a link; what is in a folder stays as it is."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real").mkdir()
    for out in ("new/", "empty", "link"):
        toy.ok("save", "--format", "oci", "-o", out, "toy", cwd=tmp_path)
        toy.ok("load", "-q", "-i", tmp_path / out)
        before = {name: (tmp_path / out / name).read_bytes() for name in files(tmp_path / out)}
        assert {"oci-layout", "index.json"} < set(before)
        done = toy.run("save", "--format", "oci", "-o", out, "toy", cwd=tmp_path)
        assert done.returncode == 1 and "there is something in it" in done.stderr
        assert {name: (tmp_path / out / name).read_bytes() for name in files(tmp_path / out)} == before
    assert (tmp_path / "link").is_symlink()


def test_saves_into_folders_that_are_killed(toy, tmp_path):
    """A folder that has what makes it a layout is one, at any moment."""
    toy.ok("load", "-q", "-i", archive(tmp_path / "big.tar", ["big:1"], layer({"f": random.randbytes(8 << 20)})))
    for i in range(8):
        out = tmp_path / f"out{i}"
        if i % 2:
            out.mkdir()
        process = toy.start("save", "--format", "oci", "-o", f"{out}/", "big:1")
        time.sleep(i / 40)  # not waited for: any moment is as good
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if (out / "oci-layout").exists():
            toy.ok("load", "-q", "-i", out)
        else:
            assert i % 2 or not out.exists()


def test_tags_and_removal(toy):
    toy.ok("image", "tag", "toy", "mine:1")
    toy.ok("image", "rm", "docker.io/library/toy:latest")
    assert toy.ok("image", "ls", "-q") == "docker.io/library/mine:1\n"
    assert len(artifacts(toy)) == 3
    toy.ok("image", "inspect", "mine:1")
    toy.ok("image", "rm", "mine:1")
    assert [f for f in files(toy.path / "cache") if not f.endswith(".lock")] == []


def test_an_image_in_use_stays(toy):
    held = [os.open(toy.path / "cache" / f, os.O_RDONLY) for f in artifacts(toy)]
    for fd in held:
        fcntl.flock(fd, fcntl.LOCK_SH)
    done = toy.run("image", "rm", "toy")
    assert done.returncode == 1 and f"(pid {os.getpid()})" in done.stderr
    assert toy.json("image", "prune", "-y")["image_refs_removed"] == 0
    toy.ok("image", "rm", "-f", "toy")
    assert len(artifacts(toy)) == 3, "a running sandbox keeps its files"
    for fd in held:
        os.close(fd)
    pruned = toy.json("image", "prune", "-y")
    assert (pruned["layers_removed"], pruned["fsmeta_removed"]) == (2, 1)
    assert pruned["bytes_reclaimed"] >= len(BIN)
    assert [f for f in files(toy.path / "cache") if not f.endswith(".lock")] == []


def test_the_cache_can_be_moved(toy, tmp_path):
    toy.path.rename(tmp_path / "elsewhere")
    toy.path = tmp_path / "elsewhere"
    toy.env["MSB_HOME"] = str(toy.path)
    toy.ok("save", "-o", tmp_path / "out.tar", "toy")
    for name in files(toy.path / "cache"):
        assert b"/home" not in (toy.path / "cache" / name).read_bytes()


def test_damage_is_mended_by_loading_again(toy, tmp_path):
    for name in artifacts(toy):
        os.truncate(toy.path / "cache" / name, 0)
    done = toy.run("save", "-o", tmp_path / "out.tar", "toy")
    assert done.returncode == 1
    toy.ok("load", "-i", toy.archive)
    toy.ok("save", "-o", tmp_path / "out.tar", "toy")


def test_loads_that_are_killed_beside_prunes(toy, tmp_path):
    """SIGKILL at any moment leaves a cache that works, and a prune that leaves nothing else."""
    path = archive(tmp_path / "big.tar", ["big:1"], *(layer({f"f{i}": random.randbytes(1 << 20)}) for i in range(4)))
    for i in range(8):
        process = toy.start("load", "-i", path)
        prune = toy.start("image", "prune", "-y")
        time.sleep(i / 20)  # not waited for: any moment is as good
        process.send_signal(signal.SIGKILL)
        process.communicate()
        _, err = prune.communicate(timeout=60)
        assert prune.returncode == 0, err
    toy.ok("load", "-i", path)
    toy.ok("save", "-o", tmp_path / "out.tar", "big:1")
    toy.ok("image", "prune", "-y")
    assert [f for f in files(toy.path / "cache") if not f.endswith(".lock")] == []


def flat_images(home):
    return sorted((home.path / "cache/flat").glob("*.ext4"))


def data_digest(path):
    """Of a sparse file: what it has, and where."""
    digest, at = hashlib.sha256(), 0
    with open(path, "rb") as file, contextlib.suppress(OSError):  # ENXIO: no more data
        while True:
            start = os.lseek(file.fileno(), at, os.SEEK_DATA)
            at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            digest.update(f"{start} {at}".encode() + os.pread(file.fileno(), at - start, start))
    return digest.digest(), path.stat().st_size


def test_pull_that_makes_the_flat_form(home):
    """At pull time what --root-disk flat would make at its first run: once, always the same, gone with the image."""
    with images(home, ETC, BIN) as host:
        home.ok("pull", "-q", "--materialize", "layered", f"{host}/toy")
        assert not flat_images(home)
        made = home.run("pull", "--materialize", "flat", f"{host}/toy")
        assert made.returncode == 0 and "already cached" not in made.stderr, made.stderr
        image, = flat_images(home)
        first, inode = data_digest(image), image.stat().st_ino
        checked = subprocess.run(["/sbin/e2fsck", "-fn", image], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stdout
        listing = subprocess.run(["/sbin/debugfs", "-R", "cat /etc/hostname", image], capture_output=True, check=True)
        assert listing.stdout == b"toy\n"
        again = home.run("pull", "--materialize=all", f"{host}/toy")
        assert again.returncode == 0 and "already cached" in again.stderr
        # The run fails before there is a machine: the image needs more. It has found what the pull made.
        small = home.run("run", "--root-disk", "flat:1M", f"{host}/toy", "--", "true")
        assert small.returncode == 1 and "are too few for the image" in small.stderr, small.stderr
        assert image.stat().st_ino == inode
        home.ok("pull", "-q", "-f", "--materialize", "all", f"{host}/toy")
        assert image.stat().st_ino != inode and data_digest(image) == first
        os.truncate(image, 0)
        home.ok("pull", "-q", "--materialize", "all", f"{host}/toy")
        assert data_digest(image) == first, "damage is mended"
        home.ok("image", "rm", f"{host}/toy")
        assert not flat_images(home)
        home.ok("pull", "-q", "--materialize", "flat", f"{host}/toy")
        assert len(flat_images(home)) == 1
        assert home.json("image", "prune", "-y")["bytes_reclaimed"] > len(BIN)
        assert not flat_images(home)


def test_pull_of_no_such_form(home):
    wrong = home.run("pull", "--materialize", "squashed", "toy")
    assert wrong.returncode == 1 and "'squashed'" in wrong.stderr and len(wrong.stderr.splitlines()) == 1, wrong.stderr


def test_pulls_of_the_flat_form_that_are_killed(home):
    """SIGKILL at any moment: no image, or all of it, and nothing else once pruned."""
    with images(home, layer({f"f{i}": random.randbytes(1 << 20) for i in range(24)})) as host:
        for i in range(6):
            process = home.start("pull", "-q", "--materialize", "flat", f"{host}/big")
            time.sleep(i / 20)  # not waited for: any moment is as good
            process.send_signal(signal.SIGKILL)
            process.communicate()
            for image in flat_images(home):
                checked = subprocess.run(["/sbin/e2fsck", "-fn", image], capture_output=True, check=False)
                assert checked.returncode == 0, checked.stdout
        home.ok("pull", "-q", "--materialize", "flat", f"{host}/big")
        assert len(flat_images(home)) == 1
        home.ok("image", "prune", "-y")
        assert [f for f in files(home.path / "cache") if not f.endswith(".lock")] == []
