# SPDX-License-Identifier: Apache-2.0
"""Images on kernels that cannot read layers: a flat root by itself where that is known, else a line that says so."""
import struct

import pytest

from kernels import make_kernel
from sandbox import one_line_error
from test_root_disk import archive

ROOT = ["busybox", "--", "sh", "-c", "grep ' / ' /proc/mounts | cut -d' ' -f1-3; echo x >/etc/new && echo written"]


@pytest.fixture(scope="module")
def images(msb, home):
    msb.load(archive(), "busybox", home)
    return home


def test_old_kernel_gets_a_flat_root(msb, images, tmp_path):
    old = make_kernel(tmp_path / "vmlinux", (rb"Linux version \d\.", rb"Linux version 5."))
    result = msb.run("--kernel", old, "--log-level", "info", *ROOT, env=images)
    assert (result.code, result.text) == (0, "/dev/vda / ext4\nwritten\n"), result.err
    said = [line for line in result.err.splitlines() if "--root-disk flat" in line]
    assert len(said) == 1 and str(old) in said[0] and "Linux 5." in said[0], result.err
    for spec in "1G", "tmpfs", str(tmp_path / "x.raw"):
        refused = msb.run("--kernel", old, "--root-disk", spec, *ROOT, env=images)
        assert refused.code == 1 and "Linux 5." in one_line_error(refused) and "--root-disk flat" in refused.err


def test_kernel_that_turns_out_unable(msb, images, tmp_path):
    """Its version is not known, so the guest's own words have to help."""
    unable = make_kernel(tmp_path / "vmlinux", (rb"Linux version", rb"Lynux version"), (rb"erofs\x00", b"er0fs\x00"))
    result = msb.run("--kernel", unable, *ROOT, env=images)
    assert result.code == 1 and "layers" in one_line_error(result) and "--root-disk flat" in result.err
    flat = msb.run("--kernel", unable, "--root-disk", "flat", *ROOT, env=images)
    assert (flat.code, flat.text) == (0, "/dev/vda / ext4\nwritten\n"), flat.err


def test_version_of_a_bzimage(msb, images, tmp_path):
    """That of its header counts, before anything boots; what the offset leads to may be anything."""
    header, path = bytearray(8192), tmp_path / "bzImage"
    header[0x1f1], header[0x201], header[0x211], header[0x236] = 4, 0x6a, 1, 1
    header[0x1fe:0x200], header[0x202:0x208] = b"\x55\xaa", b"HdrS\x0f\x02"
    header[0x258:0x264] = struct.pack("<QI", 0x1000000, 0x100000)
    header[0x20e:0x210] = struct.pack("<H", 0x600)
    header[0x800:0x810] = b"6.3.13-1-amd64 \0"
    path.write_bytes(header)
    result = msb.run("--kernel", path, "--root-disk", "1G", *ROOT, env=images)
    assert result.code == 1 and "Linux 6.3" in one_line_error(result), result.err


def test_kernel_that_is_none(msb, images, tmp_path):
    (tmp_path / "vmlinux").write_bytes(b"\x7fELF" + bytes(60))
    for kernel in tmp_path / "vmlinux", tmp_path / "nothing":
        result = msb.run("--kernel", kernel, *ROOT, env=images)
        assert result.code == 1 and str(kernel) in one_line_error(result), result.err
