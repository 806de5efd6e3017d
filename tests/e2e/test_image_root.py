# SPDX-License-Identifier: Apache-2.0
"""A root made of an EROFS image and what takes the writes, and changes to a root before anything runs in it."""
import os
import shutil
import subprocess

import pytest

from sandbox import one_line_error
from test_disks import check_clean, make_ext4

MIB = 1 << 20


def digest(path):
    return subprocess.run(["sha256sum", path], capture_output=True, check=True).stdout


@pytest.mark.lab
@pytest.mark.engine
def test_image_with_its_own_disk(msb, erofs):
    """Everything can be changed, of everything in the image; the image stays as it is, and nothing is left."""
    before = digest(erofs)
    script = """
        set -e
        grep ' / ' /proc/mounts | cut -d' ' -f1-3
        df -m / | tail -1 | awk '{ print ($2 > 900 && $2 < 1100) }'
        echo changed >>/etc/passwd; tail -1 /etc/passwd
        rm -r /usr/sbin; ls -d /usr/sbin 2>&1 | grep -c 'No such'
        ln /etc/os-release /etc/linked; stat -c %h /etc/linked
        mkdir /new; echo x >/new/x; mv /new /newer; cat /newer/x
        ls -d /newroot /.msb 2>&1 | grep -c 'No such'
        test -f /etc/hosts -a -s /etc/hosts && echo hosts
        stat -c '%a %u:%g' / /root
    """
    result = msb.sh(erofs, script, "--fstype", "erofs", "--root-disk", "1G")
    assert result.code == 0, (result.err, result.text)
    assert result.text.splitlines() == [
        "overlay / overlay", "1", "changed", "1", "2", "x", "2", "hosts", "755 0:0", "700 0:0"], result.text
    assert digest(erofs) == before


@pytest.mark.engine
def test_image_with_memory_or_a_disk_image_on_top(msb, erofs, tmp_path):
    inside = msb.sh(erofs, "df -m / | tail -1 | awk '{ print $2 }'; dd if=/dev/zero of=/f bs=1M count=40 2>&1 | grep -o 'No space'",
                    "--fstype", "erofs", "--root-disk", "tmpfs:32M")
    assert inside.text.split() == ["32", "No", "space"], (inside.err, inside.text)
    disk = make_ext4(tmp_path / "mine.raw", 64)
    options = ["--fstype", "erofs", "--root-disk", f"{disk}:fstype=ext4"]
    assert msb.sh(erofs, "echo kept >/etc/kept; rm /linuxrc", *options).code == 0
    check_clean(disk)
    again = msb.sh(erofs, "cat /etc/kept; ls /linuxrc", *options)
    assert again.out == b"kept\n" and "No such file" in again.err, (again.err, again.out)


def test_wrong_images(msb, erofs, tmp_path):
    empty = tmp_path / "empty.raw"
    empty.write_bytes(bytes(MIB))
    no_image = msb.sh(empty, "true", "--fstype", "erofs")
    assert no_image.code == 1 and "is empty" in one_line_error(no_image)
    no_upper = msb.sh(erofs, "true", "--fstype", "erofs", "--root-disk", f"{empty}:fstype=ext4")
    assert no_upper.code == 1 and "written" in one_line_error(no_upper)
    too_large = msb.sh(erofs, "true", "--fstype", "erofs", "--root-disk", "tmpfs:64G")
    assert too_large.code == 1 and "memory" in one_line_error(too_large)


def make_source(folder):
    (folder / "deep/er").mkdir(parents=True)
    (folder / "deep/er/script").write_text("#!/bin/sh\necho copied script\n")
    (folder / "deep/er/script").chmod(0o755)
    (folder / "secret").write_text("s")
    (folder / "secret").chmod(0o600)
    (folder / "out").symlink_to("/etc/os-release")
    with open(folder / "large", "wb") as file:
        for i in range(48):
            file.write(os.urandom(1 << 16) + bytes([i]))
    return folder


@pytest.mark.lab
@pytest.mark.engine
@pytest.mark.parametrize("kind", ["image", "folder"])
def test_patches(msb, erofs, own_root, tmp_path, kind):
    """Copied trees keep modes and links and belong to root; removals and new folders; the large file arrives whole."""
    source = make_source(tmp_path / "source")
    root = [own_root] if kind == "folder" else ["--fstype", "erofs", erofs]
    script = """
        /opt/tree/deep/er/script
        stat -c '%a %u:%g' /opt/tree/secret /opt/tree/deep /made/here /etc/single
        readlink /opt/tree/out; sha256sum </opt/tree/large; cat /etc/single
        ls -d /linuxrc /var 2>&1 | grep -c 'No such'
    """
    single = tmp_path / "single"
    single.write_text("one file\n")
    result = msb.run("--copy", f"{source}:/opt/tree", "--copy-file", f"{single}:/etc/single", "--mkdir", "/made/here",
                     "--rm", "/linuxrc", "--rm", "/var", *root, "--", "sh", "-c", script)
    want = subprocess.run("sha256sum", stdin=open(source / "large", "rb"), capture_output=True, text=True, check=True).stdout
    assert result.text.splitlines() == [
        "copied script", "600 0:0", "755 0:0", "755 0:0", "644 0:0", "/etc/os-release", want.strip(), "one file", "2"
    ], (result.err, result.text)
    if kind == "folder":
        assert (own_root / "opt/tree/secret").read_text() == "s" and not (own_root / "var").exists()
        shutil.rmtree(own_root / "opt")


def test_patches_that_fail(msb, own_root, tmp_path):
    """One line, nothing started; a link out of the folder leads nowhere outside it."""
    (own_root / "leads-out").symlink_to(tmp_path)
    file = tmp_path / "file"
    file.write_text("x")
    there = msb.sh(own_root, "echo ran", "--copy", f"{file}:/etc/passwd")
    assert there.code == 1 and "/etc/passwd" in one_line_error(there)
    gone = msb.sh(own_root, "echo ran", "--rm", "/no/such/thing")
    assert gone.code == 1 and "/no/such/thing" in one_line_error(gone)
    inside = msb.sh(own_root, "echo ran", "--copy", f"{file}:/leads-out/stolen")
    assert not (tmp_path / "stolen").exists(), inside.err
