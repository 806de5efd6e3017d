# SPDX-License-Identifier: Apache-2.0
"""What the root of an image is written to: layers with a disk of the machine's own over them, or one disk."""
import os
import pathlib
import subprocess
import time

import pytest

from sandbox import one_line_error

MIB = 1 << 20


def archive():
    made = subprocess.run([pathlib.Path(__file__).parents[2] / "scripts/make-image", "busybox"],
                          capture_output=True, text=True, check=True)
    return made.stdout.strip()


@pytest.fixture(scope="session")
def home(msb, tmp_path_factory):
    """A home folder with the small root as an image, loaded from an archive."""
    env = dict(os.environ, MSB_HOME=str(tmp_path_factory.mktemp("home")))
    loaded = msb.call("load", "-i", archive(), env=env)
    assert loaded.code == 0, loaded.err
    return env


def flat_image(home):
    images = list(pathlib.Path(home["MSB_HOME"], "cache/flat").glob("*.ext4"))
    assert len(images) == 1, images
    return images[0]


@pytest.mark.engine
def test_flat_root(msb, home):
    """One ext4 disk and no overlay, as large as asked for; changes are this machine's alone."""
    script = """
        set -e
        grep ' / ' /proc/mounts | cut -d' ' -f1-3
        grep -c overlay /proc/mounts || true
        df -m / | tail -1 | awk '{ print ($2 > 2900 && $2 < 3072), ($4 > 2600) }'
        ls /etc/changed 2>&1 | grep -c 'No such'
        echo x >/etc/changed; rm -r /usr/sbin; mkdir /new; ln /etc/os-release /new/linked; stat -c %h /new/linked
        dd if=/dev/zero of=/big bs=1M count=300 2>/dev/null; sync; du -m /big | cut -f1
        stat -c '%a %u:%g' / /root; test -s /etc/hosts && echo hosts
    """
    for _ in range(2):
        result = msb.run("--root-disk", "flat:3G", "busybox", "--", "sh", "-c", script, env=home)
        assert result.code == 0, (result.err, result.text)
        assert result.text.splitlines() == ["/dev/vda / ext4", "0", "1 1", "1", "2", "300", "755 0:0", "700 0:0", "hosts"]
    image = flat_image(home)
    assert image.stat().st_size == 256 * MIB, "grown in the copy, not in the cache"
    checked = subprocess.run(["/sbin/e2fsck", "-fn", image], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_flat_root_that_cannot_be(msb, home, tmp_path):
    small = msb.run("--root-disk", "flat:100M", "busybox", "--", "true", env=home)
    assert small.code == 1 and "needs 256 MiB" in one_line_error(small)
    shared = msb.run("--root-disk", "flat:clone=reflink", "busybox", "--", "true", env=home)
    if shared.code != 0:  # as the file system of the cache is
        assert "clone=reflink" in one_line_error(shared)
    for spec in "flat:", "flat:fstype=xfs", "flat:clone=some", "flat:1G,size=2":
        wrong = msb.run("--root-disk", spec, "busybox", "--", "true", env=home)
        assert wrong.code == 1 and "--root-disk" in one_line_error(wrong), wrong.err
    folder = msb.run("--root-disk", "flat", str(tmp_path), "--", "true", env=home)
    assert folder.code == 1 and "written in place" in one_line_error(folder)


def test_flat_image_goes_with_its_image(msb, tmp_path, home):
    """It is made before anything is copied from it, kept for the next machine, and deleted with the image."""
    own = dict(home, MSB_HOME=str(tmp_path))
    assert msb.call("load", "-i", archive(), env=own).code == 0
    for _ in range(2):
        assert msb.run("--root-disk", "flat:100M", "busybox", "--", "true", env=own).code == 1
    before = flat_image(own).stat().st_ino
    assert msb.run("--root-disk", "flat:101M", "busybox", "--", "true", env=own).code == 1
    assert flat_image(own).stat().st_ino == before
    removed = msb.call("image", "rm", "busybox", env=own)
    assert removed.code == 0, removed.err
    assert not list((tmp_path / "cache/flat").glob("*.ext4*")), "left behind"


@pytest.mark.engine
def test_space_of_deleted_files_returns_from_the_root_disk(msb, home):
    """2 GiB written in the root and deleted: the host has them back while the machine still runs."""
    script = "dd if=/dev/zero of=/big bs=4M count=512 oflag=direct; sync; echo written; read go; rm /big; sync; " \
             "echo deleted; read go"
    running = msb.start_run("--root-disk", "3G", "busybox", "--", "sh", "-c", script, env=home)
    running.wait_for(b"written\n", 300)
    upper = running.nameless_file(3 << 30)
    assert upper.stat().st_blocks * 512 >= 2048 * MIB
    running.write(b"\n")
    running.wait_for(b"deleted\n", 300)
    deadline = time.monotonic() + 60 * msb.patience  # the guest's kernel does it in the background
    while upper.stat().st_blocks * 512 >= 100 * MIB and time.monotonic() < deadline:
        time.sleep(0.1)
    left = upper.stat().st_blocks * 512 / MIB
    running.write(b"\n")
    running.popen.stdin.close()
    assert running.wait().code == 0
    assert left < 100, left
