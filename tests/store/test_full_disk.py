# SPDX-License-Identifier: Apache-2.0
"""A home folder on a disk that is full: one clear line, everything as before, and it goes on once there is room."""
import contextlib
import hashlib
import os
import random
import shutil
import signal
import subprocess

import pytest

from disks import file_system

from conftest import MSB, Home, archive, files, images, layer

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
    ["image", "tag", "small:1", "other:1"],
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


def test_a_layout_on_a_full_disk(home, disk):
    """What was made of it is gone again, folders too."""
    home.ok("load", "-q", "-i", home.archive)
    (disk / "there").mkdir()
    before = sorted(p for p in disk.rglob("*") if home.path not in p.parents)
    leave(disk, 400)
    for out in ("there", "new/"):
        done = home.run("save", "--format", "oci", "-q", "big:1", "-o", f"{disk}/{out}")
        assert (done.returncode, done.stderr) == (1, "error: write the layout: No space left on device\n")
        assert sorted(p for p in disk.rglob("*") if home.path not in p.parents) == before
    leave(disk, 16384)
    for out in ("there", "new/"):
        home.ok("save", "--format", "oci", "-q", "big:1", "-o", f"{disk}/{out}")
        home.ok("load", "-q", "-i", disk / out)


def fill(disk, inodes=False):
    """Not one free block, or not one free inode."""
    leave(disk, 0)
    name = disk / "filler"
    with pytest.raises(OSError, match="No space left"), open(name, "ab", buffering=0) as out:
        while not inodes:
            out.write(bytes(4096))
        used = os.statvfs(disk)
        leave(disk, 16384)
        subprocess.run(["mount", "-o", f"remount,nr_inodes={used.f_files - used.f_ffree}", disk], check=True)
        (disk / "one more").touch()
    now = os.statvfs(disk)
    assert (now.f_ffree if inodes else now.f_bfree) == 0


def reserve(home):
    kept = list((home.path / "db/.reserve").iterdir())
    assert all(f.stat().st_blocks * 512 >= 128 << 10 for f in kept)
    return len(kept)


def sound(home, disk):
    subprocess.run(["mount", "-o", "remount,size=64m,nr_inodes=10k", disk], check=True)
    with contextlib.closing(home.catalogue()) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("inodes", [False, True], ids=["blocks", "inodes"])
@pytest.mark.parametrize("args", [["image", "prune", "-y", "-q"], ["image", "rm", "-q", "small:1"],
                                  ["volume", "rm", "-q", "v"], ["volume", "rm", "-q", "d"]],
                         ids=lambda args: "-".join([*args[:2], *args[3:]]))
def test_deleting_needs_no_room(home, disk, args, inodes):
    home.ok("volume", "create", "-q", "v")
    home.ok("volume", "create", "-q", "d", "--kind", "disk", "--size", "16M")
    assert reserve(home) == 8
    fill(disk, inodes)
    before = content(home) + os.listdir(home.path / "volumes")
    home.ok(*args)
    assert len(content(home) + os.listdir(home.path / "volumes")) < len(before)
    assert reserve(home) == 8, "there for the next time"
    home.ok("image", "prune", "-y", "-q")
    assert home.json("image", "ls") == []
    sound(home, disk)


@pytest.mark.parametrize("inodes", [False, True], ids=["blocks", "inodes"])
def test_a_full_disk_can_be_looked_at(home, disk, inodes):
    home.ok("volume", "create", "-q", "v")
    fill(disk, inodes)
    looks = [["image", "ls", "-q"], ["image", "inspect", "small:1"], ["volume", "ls", "-q"], ["volume", "inspect", "v"]]
    for args in looks:
        assert home.ok(*args)
    assert reserve(home) == 8, "who only looks does not take it"
    # What only uses what is there gets further than to the catalogue: to the guest's kernel.
    used = home.run("run", "--pull", "never", "--root-disk", "tmpfs", "-v", "v:/v", "small:1", "--", "true",
                    env={**home.env, "MSB_LIBKRUNFW": "/nowhere"})
    assert "/nowhere" in used.stderr and "No space" not in used.stderr
    refused = home.run("image", "tag", "small:1", "other:1")
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1 and "No space left" in refused.stderr
    made = home.run("run", "--pull", "never", "--root-disk", "tmpfs", "-v", "new:/v", "small:1", "--", "true")
    assert made.returncode == 1 and made.stderr.count("\n") == 1 and "No space left" in made.stderr


def test_blocks_smaller_than_pages(tmp_path):
    """There SQLite takes less for a file that it maps than it needs, and would be killed by a page without a block."""
    with file_system(tmp_path, 64 << 20, "/sbin/mkfs.ext4", "-q", "-b", "1024") as disk:
        home = Home(disk / "home")
        home.ok("load", "-q", "-i", archive(tmp_path / "small.tar", ["small:1", "other:1"], layer({"f": b"x"})))
        home.ok("volume", "create", "-q", "v")
        assert reserve(home) == 8
        with open(disk / "filler", "wb", buffering=0) as out:
            for size in 1 << 20, 1024:
                with contextlib.suppress(OSError):
                    while True:
                        out.write(bytes(size))
        for args in ["image", "tag", "small:1", "third:1"], ["volume", "create", "w"]:
            refused = home.run(*args)
            assert refused.returncode == 1 and refused.stderr.count("\n") == 1, refused.stderr
            assert "No space left" in refused.stderr
        assert len(home.json("image", "ls")) == 2
        home.ok("image", "rm", "-q", "other:1")
        home.ok("volume", "rm", "-q", "v")
        home.ok("image", "prune", "-y", "-q")
        assert home.json("image", "ls") == []
        assert reserve(home) == 8


def test_more_images_than_there_is_room_to_forget(home, disk):
    """Their rows take more of SQLite's log than is kept free: they go in several steps."""
    with contextlib.closing(home.catalogue()) as db:
        manifest = db.execute("SELECT digest, layer_count FROM manifest").fetchone()
        for i in range(400):
            digest = "sha256:" + hashlib.sha256(b"%d" % i).hexdigest()
            row = db.execute("INSERT INTO manifest (digest, layer_count) VALUES (?, ?)", (digest, manifest[1])).lastrowid
            db.execute("INSERT INTO config (manifest_id, digest, env) VALUES (?, ?, ?)", (row, digest, "x" * 3000))
            db.execute("INSERT INTO image_ref (reference, manifest_id) VALUES (?, ?)", (f"r/{i}:1", row))
        db.commit()
    fill(disk)
    assert home.json("image", "prune", "-y")["image_refs_removed"] == 401
    assert home.json("image", "ls") == []
    assert reserve(home) == 8
    sound(home, disk)


@pytest.mark.parametrize("inodes", [False, True], ids=["blocks", "inodes"])
def test_prune_works_where_nothing_was_kept_free(home, disk, inodes):
    """In the home folder of another release, say: but images of sandboxes stay, and what is in use."""
    home.ok("load", "-q", "-i", home.archive)
    with contextlib.closing(home.catalogue()) as db:
        db.execute("INSERT INTO sandbox (name, config, status) VALUES ('s', '{}', 'Stopped')")
        db.execute("INSERT INTO sandbox_rootfs (sandbox_id, manifest_id, mode) SELECT 1, manifest_id, 'erofs'"
                   " FROM image_ref WHERE reference LIKE '%small%'")
        db.commit()
    shutil.rmtree(home.path / "db/.reserve")
    fill(disk, inodes)
    for args in ["image", "rm", "small:1", "--force"], ["volume", "rm", "v"]:
        refused = home.run(*args)
        assert refused.returncode == 1 and refused.stderr.count("\n") == 1, refused.stderr
    pruned = home.json("image", "prune", "-y")
    assert (pruned["image_refs_removed"], pruned["manifests_removed"], pruned["layers_removed"]) == (1, 1, 3)
    assert home.ok("image", "ls", "-q") == "docker.io/library/small:1\n"
    home.ok("save", "-q", "small:1", "-o", home.archive)
    assert reserve(home) > 0, "as far as there is room"
    sound(home, disk)


# Giving the reserve, the catalogue's log, its index, the rows, the files, the reserve made again.
POINTS = [("unlinkat", 1), ("unlinkat", 5), ("unlinkat", 8), ("unlinkat", 9), ("unlinkat", 10), ("pwrite64", 1), ("pwrite64", 5),
          ("pwrite64", 9), ("pwrite64", 12), ("unlink", 1), ("unlink", 2), ("fallocate", 1), ("fallocate", 4), ("fallocate", 8)]


def test_deleting_that_is_killed_on_a_full_disk(home, disk):
    """At any point: the next one goes on with the room that the killed one had taken."""
    home.env["ASAN_OPTIONS"] = "detect_leaks=0"  # it cannot look for them while strace does
    for i in range(len(POINTS)):
        home.ok("image", "tag", "-q", "small:1", f"tag:{i}")
    fill(disk)
    kills = 0
    for i, (call, number) in enumerate(POINTS):
        removal = subprocess.run(
            ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={call}:signal=KILL:when={number}",
             MSB, "image", "rm", "-q", f"tag:{i}"], env=home.env, capture_output=True, text=True, check=False)
        assert removal.returncode in (0, -signal.SIGKILL), removal.stderr
        kills += removal.returncode != 0
        home.ok("image", "ls")
    assert kills > len(POINTS) / 2, "some find less to do after those before"
    home.ok("image", "prune", "-y", "-q")
    assert home.json("image", "ls") == []
    assert reserve(home) == 8
    sound(home, disk)


def test_interrupted_downloads_make_room(home, disk):
    """They may fill the disk so that not even the catalogue can be written, where nothing was kept free for that."""
    shutil.rmtree(home.path / "db/.reserve")
    part = home.path / "cache/tmp" / f"sha256_{'0' * 64}.part"
    leave(disk, 1024)
    with pytest.raises(OSError), open(part, "wb", buffering=0) as out:
        while True:
            out.write(bytes(4096))
    refused = home.run("image", "tag", "small:1", "other:1")
    assert refused.returncode == 1 and "No space left" in refused.stderr
    home.ok("image", "rm", "small:1")
    assert not part.exists()
