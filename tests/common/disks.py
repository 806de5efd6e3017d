# SPDX-License-Identifier: Apache-2.0
"""File systems of a test's own, in a file."""
import contextlib
import os
import subprocess

import pytest


@contextlib.contextmanager
def file_system(scratch, size, *mkfs):
    """The folder where a new one is mounted that mkfs makes; below scratch."""
    if os.geteuid() != 0:
        pytest.skip("impossible here: a file system takes root to mount")
    disk, folder = scratch / "disk.img", scratch / "mounted"
    folder.mkdir()
    with open(disk, "wb") as out:
        out.truncate(size)
    subprocess.run([*mkfs, disk], check=True)
    loop = subprocess.run(["losetup", "-f", "--show", disk], capture_output=True, text=True, check=False)
    if loop.returncode != 0:
        pytest.skip(f"impossible here: no loop device: {loop.stderr.strip()}")
    device = loop.stdout.strip()
    try:
        mounted = subprocess.run(["mount", device, folder], capture_output=True, text=True, check=False)
        if "unknown filesystem" in mounted.stderr:
            pytest.skip(f"impossible here: a kernel without what {mkfs[0]} makes")
        assert mounted.returncode == 0, mounted.stderr
        try:
            yield folder
        finally:
            subprocess.run(["umount", folder], check=True)
    finally:
        subprocess.run(["losetup", "-d", device], check=True)
