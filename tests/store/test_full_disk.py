# SPDX-License-Identifier: Apache-2.0
"""A home folder on a disk that is full: one clear line, everything as before, and it goes on once there is room."""
import contextlib
import os
import random
import subprocess

import pytest

from conftest import Home, archive, files, images, layer

# Room in KiB beside what is there already: not enough for the catalogue, for the layers, for the rows.
ROOM = [4, 40, 100, 400, 900, 940, 1000]


@pytest.fixture
def disk(tmp_path):
    """A small disk."""
    if os.geteuid() != 0:
        pytest.skip("impossible here: a full file system takes root to mount")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def leave(disk, kib):
    used = os.statvfs(disk)
    used = (used.f_blocks - used.f_bfree) * used.f_frsize // 1024
    subprocess.run(["mount", "-o", f"remount,size={used + kib}k", disk], check=True)


@pytest.fixture
def home(disk, tmp_path):
    """A home folder with the image small:1 on a disk; with an archive of big:1, elsewhere."""
    home = Home(disk / "home")
    home.layers = [layer({str(i): random.Random(i).randbytes(300000)}) for i in range(3)]
    home.archive = archive(tmp_path / "big.tar", ["big:1"], *home.layers)
    home.ok("load", "-q", "-i", archive(tmp_path / "small.tar", ["small:1"], layer({"f": b"x"})))
    return home


def content(home):
    """What there is, but for locks and the catalogue's own files."""
    return [f for f in files(home.path.parent) if not f.endswith(".lock") and "/db/" not in f]


def refuses_or_works(home, args):
    """A command on a disk that is perhaps too full for it. Return whether it worked."""
    before = content(home)
    done = home.run(*args)
    if done.returncode == 0:
        return True
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: ") and ": No space left on device" in done.stderr
    assert content(home) == before
    return False


@pytest.mark.parametrize("args", [
    ["load", "-q", "-i", "ARCHIVE"], ["pull", "-q", "REGISTRY/big:1"], ["save", "-q", "small:1", "-o", "DISK/out.tar"],
    ["volume", "create", "v", "--kind", "disk", "--size", "64M"], ["volume", "create", "v"],
    ["image", "tag", "small:1", "other:1"], ["image", "rm", "-q", "small:1"], ["image", "prune", "-y", "-q"],
], ids=lambda args: "-".join(args[:2]))
def test_full_disk(home, disk, args):
    with images(home, *home.layers) as host:
        words = {"ARCHIVE": str(home.archive), "REGISTRY": host, "DISK": str(disk)}
        for word, value in words.items():
            args = [arg.replace(word, value) for arg in args]
        failures = 0
        for kib in ROOM:
            leave(disk, kib)
            if refuses_or_works(home, args):
                break
            failures += 1
        assert failures, "there was room all along"
        leave(disk, 16384)
        if failures == len(ROOM):
            home.ok(*args)
        home.ok("load", "-q", "-i", home.archive)
        home.ok("save", "-q", "big:1", "-o", disk / "again.tar")
        with contextlib.closing(home.catalogue()) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_interrupted_downloads_make_room(home, disk):
    """They may fill the disk so that not even the catalogue can be written."""
    part = home.path / "cache/tmp" / f"sha256_{'0' * 64}.part"
    leave(disk, 1024)
    with pytest.raises(OSError), open(part, "wb", buffering=0) as out:
        while True:
            out.write(bytes(4096))
    refused = home.run("image", "tag", "small:1", "other:1")
    assert refused.returncode == 1 and "No space left" in refused.stderr
    home.ok("image", "rm", "small:1")
    assert not part.exists()
