# SPDX-License-Identifier: Apache-2.0
"""Disks, single files and memory at their places in the guest, and disk images as roots."""
import hashlib
import os
import pathlib
import subprocess
import time

import pytest

from sandbox import one_line_error

MIB = 1 << 20


def make_ext4(path, size_mib, *options, tree=None):
    """A sparse image with a file system, made by mke2fs."""
    path.touch()
    os.truncate(path, size_mib * MIB)
    command = ["/sbin/mke2fs", "-q", "-F", "-t", "ext4", *options, *(["-d", tree] if tree else []), path]
    subprocess.run(command, check=True, capture_output=True)
    return path


def used_mib(path):
    return os.stat(path).st_blocks * 512 / MIB


def check_clean(path):
    checked = subprocess.run(["/sbin/e2fsck", "-fn", path], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


@pytest.fixture
def data(tmp_path):
    return make_ext4(tmp_path / "data.raw", 300)


@pytest.mark.lab
@pytest.mark.engine
def test_everything_that_can_be_mounted(msb, busybox, data, tmp_path):
    """One boot for all kinds: what is where, what may be written, and what the host sees of it."""
    folder, file, fixed = tmp_path / "folder", tmp_path / "one.conf", tmp_path / "fixed.conf"
    folder.mkdir()
    file.write_text("from the host\n")
    fixed.write_text("never changes\n")
    locked = make_ext4(tmp_path / "locked.img", 64)
    script = """
        set -e
        cat /etc/app/one.conf
        echo from the guest >>/etc/app/one.conf
        cat /etc/fixed.conf
        (echo x >/etc/fixed.conf) 2>&1 | grep -o 'Read-only file system'
        echo in the folder >/mnt/f/new
        echo on the disk >/data/file
        (echo x >/locked/file) 2>&1 | grep -o 'Read-only file system'
        (cp /bin/busybox /scratch/b; /scratch/b true) 2>&1 | grep -o 'Permission denied'
        dd if=/dev/zero of=/scratch/full bs=1M count=20 2>&1 | grep -o 'No space left'
        df -m /scratch | tail -1 | awk '{ print $2 }'
        grep ' /data ' /proc/mounts
        for f in /sys/block/vd*/serial; do cat $f; echo; done | wc -l
    """
    result = msb.sh(
        busybox, script,
        "-v", f"{file}:/etc/app/one.conf", "--mount-file", f"{fixed}:/etc/fixed.conf:ro",
        "--mount-dir", f"{folder}:/mnt/f:nosuid", "--mount-disk", f"{data}:/data:fstype=ext4,nodev",
        "--mount-disk", f"{locked}:/locked:ro", "--tmpfs", "/scratch:8M:noexec",
    )
    lines = result.text.splitlines()
    assert result.code == 0, (result.err, lines)
    assert lines[:8] == [
        "from the host", "never changes", "Read-only file system", "Read-only file system", "Permission denied",
        "No space left", "8", lines[7],
    ], lines
    assert " /data ext4 rw,nodev" in lines[7] and "discard" in lines[7] and lines[8] == "2", lines
    assert file.read_text() == "from the host\nfrom the guest\n" and fixed.read_text() == "never changes\n"
    assert (folder / "new").read_text() == "in the folder\n"
    check_clean(data)
    listing = subprocess.run(["/sbin/debugfs", "-R", "cat /file", data], capture_output=True, text=True, check=True)
    assert listing.stdout == "on the disk\n"


@pytest.mark.lab
@pytest.mark.engine
def test_space_of_deleted_files_returns_to_the_host(msb, busybox, data):
    """Written: the image is that large; deleted: it is small again while the guest still runs."""
    script = "dd if=/dev/urandom of=/data/big bs=1M count=200 2>/dev/null; sync; echo written; read go; rm /data/big; sync; " \
             "echo deleted; read go; echo kept >/data/small"
    running = msb.start_run("--mount-disk", f"{data}:/data", busybox, "--", "sh", "-c", script)
    running.wait_for(b"written\n", 180)
    assert used_mib(data) >= 200
    running.write(b"\n")
    running.wait_for(b"deleted\n", 180)
    deadline = time.monotonic() + 60 * msb.patience  # the guest's kernel does it in the background
    while used_mib(data) >= 40 and time.monotonic() < deadline:
        time.sleep(0.1)
    left = used_mib(data)
    running.write(b"\n")
    running.popen.stdin.close()
    assert running.wait().code == 0
    assert left < 40 and used_mib(data) < 40, left
    check_clean(data)


@pytest.mark.engine
def test_disk_image_as_root(msb, tmp_path):
    """Written in place, found without being told its type; a second run sees what the first one wrote."""
    tree = tmp_path / "tree"
    subprocess.run([pathlib.Path(__file__).parents[2] / "scripts/make-rootfs", "busybox", tree], check=True, capture_output=True)
    root = make_ext4(tmp_path / "root.raw", 64, tree=tree)
    first = msb.sh(root, "grep ' / ' /proc/mounts; echo kept >/kept; cat /etc/os-release | head -1")
    assert first.code == 0 and " / ext4 rw" in first.text and "BusyBox" in first.text, (first.err, first.text)
    check_clean(root)
    second = msb.sh(root, "cat /kept", "--fstype", "ext4")
    assert (second.code, second.out) == (0, b"kept\n"), second.err
    refused = msb.sh(root, "true", "--fstype", "xfs")
    assert refused.code == 1 and "no xfs file system, but ext4" in one_line_error(refused)


@pytest.mark.engine
def test_volumes_and_formats(msb, busybox, tmp_path):
    """Named volumes keep what is written, a folder within its quota; a qcow2 image is as good as a raw one."""
    raw, qcow2 = make_ext4(tmp_path / "fs.raw", 64), tmp_path / "data.qcow2"
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, qcow2], check=True)
    home = dict(os.environ, MSB_HOME=str(tmp_path / "home"))
    (tmp_path / "small").mkdir()
    options = ["-v", "things:/things", "--mount-named", "pg:/pg:kind=disk,size=64M", "--mount-disk", f"{qcow2}:/q",
               "-v", f"{tmp_path / 'small'}:/small:quota=2M"]
    first = msb.sh(busybox, """
        set -e
        for i in things pg q; do echo $i >/$i/file; done
        grep -c -e ' /pg ext4' -e ' /q ext4' /proc/mounts
        dd if=/dev/zero of=/small/full bs=64k count=100 2>&1 | grep -o 'No space left'
        df -k /small | tail -1 | awk '{ print ($4 < 64) }'
        rm /small/full; dd if=/dev/zero of=/small/again bs=64k count=20 2>/dev/null && echo fits
    """, *options, env=home)
    assert (first.code, first.text.split("\n")[:-1]) == (0, ["2", "No space left", "1", "fits"]), (first.err, first.text)
    assert (tmp_path / "small/again").stat().st_size == 20 << 16
    checked = subprocess.run(["qemu-img", "check", qcow2], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
    again = msb.sh(busybox, "cat /things/file /pg/file /q/file", *options, env=home)
    assert (again.code, again.out) == (0, b"things\npg\nq\n"), again.err
    other_kind = msb.run("--mount-named", "pg:/d:kind=dir", busybox, "--", "true", env=home)
    assert other_kind.code == 1 and "pg" in one_line_error(other_kind)


def qemu_img(*args):
    subprocess.run(["qemu-img", *args], check=True, capture_output=True)


def check_qcow2(path):
    checked = subprocess.run(["qemu-img", "check", path], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


@pytest.fixture(scope="module")
def root_image(tmp_path_factory):
    """A raw ext4 image with busybox in it."""
    folder = tmp_path_factory.mktemp("root")
    subprocess.run([pathlib.Path(__file__).parents[2] / "scripts/make-rootfs", "busybox", folder / "tree"],
                   check=True, capture_output=True)
    return make_ext4(folder / "root.raw", 64, tree=folder / "tree")


@pytest.mark.engine
def test_qcow2_images_with_backing_files(msb, root_image, tmp_path):
    """Root and data disk build on others, which stay as they are; without permission nothing starts."""
    (tmp_path / "bases").mkdir()
    base, mid = make_ext4(tmp_path / "bases/base.raw", 64), tmp_path / "bases/mid.qcow2"
    root, data = root_image.parent / "over.qcow2", tmp_path / "data.qcow2"
    qemu_img("create", "-f", "qcow2", "-F", "raw", "-b", "base.raw", mid)
    qemu_img("create", "-f", "qcow2", "-F", "qcow2", "-b", mid, data)
    qemu_img("create", "-f", "qcow2", "-o", "compat=0.10", "-F", "raw", "-b", root_image.name, root)
    before = [path.read_bytes() for path in (root_image, base, mid)]
    script = "test -e /root-file && cat /root-file /d/file; cp /bin/busybox /root-file; cp /bin/busybox /d/file; sha256sum /d/file"
    allowed = ["--backing", "on", "--mount-disk", f"{data}:/d:backing={tmp_path / 'bases'}"]
    first = msb.sh(root, script, *allowed)
    assert first.code == 0, first.err
    second = msb.sh(root, "sha256sum /root-file /d/file", *allowed)
    sums = [line.split()[0] for line in second.text.splitlines()]
    assert second.code == 0 and sums == [first.text.split()[0]] * 2, (second.err, second.text)
    assert before == [path.read_bytes() for path in (root_image, base, mid)]
    check_qcow2(root)
    check_qcow2(data)
    elsewhere = f"{data}:/d:backing={root_image.parent}"
    for options in (allowed[2:], [*allowed[:2], "--mount-disk", elsewhere], [*allowed[:2], "--mount-disk", f"{data}:/d"]):
        refused = msb.sh(root, "true", *options)
        assert refused.code == 1 and "backing" in one_line_error(refused), refused.err


@pytest.mark.engine
def test_vmdk_images(msb, busybox, root_image, tmp_path):
    """Each kind is read as data disk, and as a root that cannot be written."""
    kinds = ["monolithicFlat", "twoGbMaxExtentFlat", "monolithicSparse", "streamOptimized"]
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_bytes(os.urandom(MIB) + bytes(MIB) + b"text " * 100000)
    small = make_ext4(tmp_path / "small.raw", 8, tree=tmp_path / "tree")
    for kind in kinds:
        qemu_img("convert", "-f", "raw", "-O", "vmdk", "-o", f"subformat={kind}", small, tmp_path / f"{kind}.vmdk")
    options = [word for kind in kinds for word in ("--mount-disk", f"{tmp_path / kind}.vmdk:/{kind}")]
    result = msb.sh(busybox, "md5sum /dev/vd* /*/file; (echo x >/streamOptimized/x) 2>&1 | grep -o 'Read-only file system'", *options)
    sums = [hashlib.md5(path.read_bytes()).hexdigest() for path in (small, tmp_path / "tree/file")]
    lines = result.text.splitlines()
    assert result.code == 0 and [line.split()[0] for line in lines[:8]] == sums[:1] * 4 + sums[1:] * 4, (result.err, lines)
    assert lines[8:] == ["Read-only file system"], lines
    for kind in ("monolithicFlat", "streamOptimized"):
        image = tmp_path / f"root-{kind}.vmdk"
        qemu_img("convert", "-f", "raw", "-O", "vmdk", "-o", f"subformat={kind}", root_image, image)
        root = msb.sh(image, "md5sum /bin/busybox; grep ' / ' /proc/mounts; grep -c localhost /etc/hosts; echo x >/x || echo refused")
        lines = root.text.splitlines()
        assert root.code == 0 and " / ext4 ro" in lines[1] and lines[2:] == ["2", "refused"], (root.err, lines)
        assert lines[0].split()[0] == hashlib.md5((root_image.parent / "tree/bin/busybox").read_bytes()).hexdigest()


def test_image_in_use(msb, busybox, data):
    """Writers exclude each other and readers; readers do not. What the host cannot read is said with the name of the image."""
    script = "echo up; read go; dd if=/dev/vda of=/dev/null bs=1M skip=299 count=1 iflag=direct || echo failed"
    running = msb.start_run("--mount-disk", f"{data}:/d", busybox, "--", "sh", "-c", script)
    running.wait_for(b"up\n")
    for option in ("", ":ro"):
        refused = msb.sh(busybox, "true", "--mount-disk", f"{data}:/d{option}")
        assert refused.code == 1 and "in use" in one_line_error(refused)
    os.truncate(data, 299 * MIB)
    running.popen.stdin.close()
    result = running.wait()
    assert result.text == "up\nfailed\n" and f"warning: disk image '{data}': cannot read: Input/output error" in result.err, result
    twice = msb.sh(busybox, "true", "--mount-disk", f"{data}:/a:ro", "--mount-disk", f"{data}:/b:ro")
    assert twice.code == 1 and "more than once" in one_line_error(twice)


def test_images_that_cannot_be_mounted(msb, busybox, tmp_path):
    empty = tmp_path / "empty.raw"
    empty.write_bytes(bytes(MIB))
    unknown = msb.sh(busybox, "true", "--mount-disk", f"{empty}:/d")
    assert unknown.code == 1 and "'/d'" in one_line_error(unknown) and "file system" in unknown.err
    (tmp_path / "x.qcow2").write_bytes(bytes(MIB))
    broken = msb.sh(busybox, "true", "--mount-disk", f"{tmp_path / 'x.qcow2'}:/d")
    assert broken.code == 1 and f"disk image '{tmp_path / 'x.qcow2'}': not a qcow2 image" in one_line_error(broken)


def test_roots_with_nothing_to_boot(msb, tmp_path):
    """Said before there is a machine, whatever the format."""
    def refused(image, *words, options=()):
        result = msb.run("--phases", tmp_path / "phases", *options, image, "--", "true")
        error = one_line_error(result)
        assert result.code == 1 and str(image) in error and all(word in error for word in words), error
        assert "vm-created" not in (tmp_path / "phases").read_text()

    raw, qcow2, vmdk = tmp_path / "a.raw", tmp_path / "a.qcow2", tmp_path / "a.vmdk"
    raw.write_bytes(b"")
    refused(raw, "is empty")
    raw.write_bytes(bytes(MIB))
    qemu_img("convert", "-f", "raw", "-O", "qcow2", raw, qcow2)
    qemu_img("convert", "-f", "raw", "-O", "vmdk", raw, vmdk)
    for image in raw, qcow2, vmdk:
        refused(image, "is empty")
    table = bytearray(MIB)
    table[446:462] = bytes([0x80, 0, 0, 0, 0x83, 0, 0, 0, 8, 0, 0, 0, 100, 0, 0, 0])
    table[510:512] = b"\x55\xaa"
    raw.write_bytes(table)
    qemu_img("convert", "-f", "raw", "-O", "qcow2", raw, qcow2)
    for image in raw, qcow2:
        refused(image, "partition table (MBR)")
    table[512:520] = b"EFI PART"
    raw.write_bytes(table)
    refused(raw, "partition table (GPT)")
    raw.write_bytes(os.urandom(1) * 100 + b"no file system" * 10000)
    refused(raw, "--fstype")
    refused(raw, "no ext4 file system", options=["--fstype", "ext4"])
    qcow2.write_bytes(bytes(MIB))
    refused(qcow2)
    # What only the guest's kernel may know is left to it.
    unknown = msb.run("--fstype", "ntfs", raw, "--", "true")
    assert unknown.code == 1 and "'ntfs'" in one_line_error(unknown), unknown.err


@pytest.mark.parametrize("options", [
    ["--mount-disk", "/no/such.raw:/d"], ["--mount-disk", "/tmp:/d"], ["-v", "/no/such:/d"], ["--mount-dir", "/etc/hostname:/d"],
    ["--mount-file", "/tmp:/d"], ["-v", "/tmp:/d:bogus"], ["--tmpfs", "/d:0"], ["--tmpfs", "/d", "-v", "/tmp:/d/"],
    ["--root-disk", "1G"], ["--fstype", "ext4"], ["--copy", "/no/such:/x"], ["--mkdir", "x"], ["--rm", "/a/../b"],
    ["-v", "/dev/null:/d"], ["--mount-disk", "/x.raw:/d:backing=on"], ["--mount-disk", "/x.qcow2:/d:backing=yes"],
    ["--backing", "on"],
], ids=" ".join)
def test_wrong_options(msb, busybox, options):
    result = msb.run(*options, busybox, "--", "true")
    assert result.code in (1, 2), result
    one_line_error(result)
