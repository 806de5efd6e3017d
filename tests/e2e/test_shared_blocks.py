# SPDX-License-Identifier: Apache-2.0
"""A flat root on a file system that shares blocks between files: the copy for a machine costs none."""
import fcntl
import os
import pathlib
import struct
import subprocess
import time

import pytest

from disks import file_system

FS_IOC_FIEMAP = 0xC020660B
FIEMAP_FLAG_SYNC = 1
BLOCK = 4096
HEAD, EXTENT, EXTENTS = struct.Struct("=QQLLLL"), struct.Struct("=QQQQQLLLL"), 512


@pytest.fixture(scope="module")
def xfs(tmp_path_factory):
    # 300 MiB: mkfs.xfs makes none that is smaller; in the file on the host it is hardly more than its data.
    with file_system(tmp_path_factory.mktemp("xfs"), 300 << 20, "mkfs.xfs", "-q", "-m", "reflink=1") as folder:
        yield folder


@pytest.fixture(scope="module")
def home(msb, xfs):
    """A home folder there, with the small root as an image."""
    env = dict(os.environ, MSB_HOME=str(xfs / "home"))
    made = subprocess.run([pathlib.Path(__file__).parents[2] / "scripts/make-image", "busybox"],
                          capture_output=True, text=True, check=True)
    loaded = msb.call("load", "-i", made.stdout.strip(), env=env)
    assert loaded.code == 0, loaded.err
    return env


def blocks(path):
    """Where the data of a file lie on the disk: numbers of blocks."""
    data = bytearray(HEAD.size + EXTENTS * EXTENT.size)
    HEAD.pack_into(data, 0, 0, 2**64 - 1, FIEMAP_FLAG_SYNC, 0, EXTENTS, 0)
    with open(path, "rb") as f:
        fcntl.ioctl(f, FS_IOC_FIEMAP, data)
    mapped = HEAD.unpack_from(data)[3]
    assert mapped < EXTENTS
    extents = [EXTENT.unpack_from(data, HEAD.size + i * EXTENT.size) for i in range(mapped)]
    return {block for _, at, size, *_ in extents for block in range(at // BLOCK, (at + size) // BLOCK)}


def used(folder):
    st = os.statvfs(folder)
    return (st.f_blocks - st.f_bfree) * st.f_frsize


def flat_image(home):
    return next(pathlib.Path(home["MSB_HOME"], "cache/flat").glob("*.ext4"))


SCRIPT = "echo changed >/etc/os-release; dd if=/dev/urandom of=/big bs=1M count=8 2>/dev/null; sync; echo ready; read go"


@pytest.fixture(scope="module")
def image(msb, home):
    """What is copied. The first machine makes it; that one is too small, so that it is not started."""
    assert msb.run("--root-disk", "flat:1M", "busybox", "--", "true", env=home).code == 1
    return flat_image(home)


def copy_of_machine(running):
    deadline = time.monotonic() + 60
    while not (copy := running.nameless_file(1 << 30)):
        assert time.monotonic() < deadline and running.popen.poll() is None, running.report()
        time.sleep(0.02)
    return copy


def test_a_flat_root_shares_its_blocks(msb, home, xfs, image):
    """And what the machine writes is its own: the image in the cache stays as it was."""
    before, of_image, taken = image.read_bytes(), blocks(image), used(xfs)
    running = msb.start_run("--root-disk", "flat:1G,clone=reflink", "busybox", "--", "sh", "-c", SCRIPT, env=home)
    running.wait_for(b"ready\n")
    shared = len(blocks(copy_of_machine(running)) & of_image)
    assert shared > len(of_image) / 2, "what the machine has not written"
    running.write(b"\n")
    running.popen.stdin.close()
    assert running.wait().code == 0
    assert blocks(image) == of_image and image.read_bytes() == before
    deadline = time.monotonic() + 60
    while used(xfs) - taken > 1 << 20:  # XFS gives back what a deleted file had when it has time
        assert time.monotonic() < deadline, "the copy is still there"
        time.sleep(0.1)


@pytest.mark.parametrize("how", ["", ",clone=copy"], ids=["auto", "copy"])
def test_sharing_is_the_default_and_can_be_refused(msb, home, image, how):
    running = msb.start_run("--root-disk", f"flat:1G{how}", "busybox", "--", "true", env=home)
    shared = blocks(copy_of_machine(running)) & blocks(image)
    running.kill()
    assert not running.survivors()
    assert not shared if how else len(shared) > len(blocks(image)) / 2
