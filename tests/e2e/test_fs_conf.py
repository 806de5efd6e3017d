# SPDX-License-Identifier: Apache-2.0
"""--fs-conf: changes to the root and mounts from a file; and the options of mounts that say whose files are whose."""
import os
import pathlib
import stat
import struct

import pytest

RECORD = "user.containers.override_stat"

PATCHES = """
patch_files: [first/more.yaml]
patches:
  - mkdir: {path: /made, mode: "1777"}
  - text: {path: /not/there/yet, content: "deep\\n", mode: "0600"}
  - text: {path: /etc/os-release, content: "another\\n", replace: true}
  - file: {path: /binary, content_base64: "AAEC/w=="}
  - append: {path: /etc/passwd, content: "more:x:7:7::/:/bin/sh\\n"}
  - text: {path: /order, content: "1"}
  - append: {path: /order, content: "2\\n"}
  - remove: {path: /linuxrc}
  - symlink: {target: made, link: /linuxrc}
  - text: {path: /linuxrc/through-link, content: "x"}
  - symlink: {target: /etc, link: /absolute}
  - text: {path: /absolute/from-patch, content: "a"}
  - symlink: {target: ../../../../../.., link: /made/up}
  - text: {path: /made/up/at-the-top, content: "t"}
  - symlink: {target: /etc/passwd, link: /absolute/from-patch, replace: true}
  - copy_dir: {src: tree, dst: /etc, replace: true}
  - copy_file: {src: tree/file, dst: /copied, mode: "0000"}
mounts:
  - ./tree:/mnt/tree:ro
  - {tmpfs: {size: 8M}, target: /mnt/tmp, noexec: true}
"""


def make_conf(folder):
    (folder / "first").mkdir()
    (folder / "tree/sub").mkdir(parents=True)
    (folder / "tree/file").write_text("from the host\n")
    (folder / "tree/sub/passwd").write_text("below\n")
    (folder / "first/more.yaml").write_text("patches: [{copy_file: {src: ../tree/file, dst: /first}}]\n")
    (folder / "fs.yaml").write_text(PATCHES)
    return folder / "fs.yaml"


SCRIPT = """
    stat -c '%a %u:%g' /made /not /not/there/yet /copied
    cat /not/there/yet /etc/os-release /order /first
    od -An -tx1 /binary
    tail -1 /etc/passwd; head -1 /etc/passwd | cut -d: -f1
    readlink /linuxrc; ls /made/through-link /at-the-top
    readlink /etc/from-patch; cat /etc/sub/passwd /etc/file
    cat /mnt/tree/sub/passwd; grep -c ' /mnt/tree virtiofs ro' /proc/mounts; grep -c '/mnt/tmp tmpfs rw,noexec' /proc/mounts
"""

SEEN = ["1777 0:0", "755 0:0", "600 0:0", "0 0:0", "deep", "another", "12", "from the host", " 00 01 02 ff",
        "more:x:7:7::/:/bin/sh", "root", "made", "/at-the-top", "/made/through-link", "/etc/passwd", "below",
        "from the host", "below", "1", "1"]


@pytest.mark.engine
@pytest.mark.parametrize("kind", ["image", "folder"])
def test_all_kinds_of_patches(msb, erofs, own_root, tmp_path, kind):
    """In their order; what was there is kept where it is added to; no link leads out of the root."""
    conf = make_conf(tmp_path)
    root = [own_root] if kind == "folder" else ["--fstype", "erofs", erofs]
    result = msb.run("--fs-conf", conf, *root, "--", "sh", "-c", SCRIPT)
    lines = result.text.splitlines()
    assert (result.code, sorted(lines)) == (0, sorted(SEEN)), (result.err, lines)
    assert not pathlib.Path("/etc/from-patch").is_symlink() and not pathlib.Path("/at-the-top").exists()
    if kind == "folder":
        assert (own_root / "at-the-top").read_text() == "t" and os.readlink(own_root / "etc/from-patch") == "/etc/passwd"


def test_holes_are_copied_as_holes(msb, own_root, tmp_path):
    """Neither sent nor written: 3 GiB alone and in a folder take no more room or time than the data in them."""
    size = 3 << 30
    (tmp_path / "tree").mkdir()
    for path in (tmp_path / "single", tmp_path / "tree/inner"):
        with open(path, "wb") as f:
            f.write(b"first")
            f.seek(size - 4)
            f.write(b"last")
    (tmp_path / "tree/tail").touch()
    os.truncate(tmp_path / "tree/tail", size)
    script = """
        for f in /single /tree/inner /tree/tail; do
            stat -c %s $f; head -c 8 $f | od -An -c; tail -c 8 $f | od -An -c; test $(du -k $f | cut -f1) -lt 100 && echo small
        done
    """
    result = msb.sh(own_root, script, "--copy", f"{tmp_path}/single:/single", "--copy", f"{tmp_path}/tree:/tree")
    ends = ["   f   i   r   s   t  \\0  \\0  \\0", "  \\0  \\0  \\0  \\0   l   a   s   t"]
    none = ["  \\0" * 8] * 2
    assert result.text.splitlines() == [str(size), *ends, "small"] * 2 + [str(size), *none, "small"], (
        result.err, result.text)
    assert (own_root / "single").stat().st_blocks * 512 < 1 << 20


def record_of(path):
    """Version, three zeros, uid, gid, mode with type, device."""
    value = os.getxattr(path, RECORD)
    assert len(value) == 20 and value[:4] == b"\1\0\0\0"
    return struct.unpack("<4I", value[4:])


def takes_records(folder):
    try:
        os.setxattr(folder, "user.test", b"")
        os.removexattr(folder, "user.test")
        return True
    except OSError:
        return False


@pytest.mark.engine
def test_whose_files_they_are(msb, busybox, tmp_path):
    """Owners, modes and devices of the guest in records; the host's own as it is told to show them; and its modes."""
    if os.geteuid() != 0 or not takes_records(tmp_path):
        pytest.skip("impossible here: it takes root, and a file system with user attributes")
    for name in ("strict", "mirror", "ids", "off"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "ours").write_text("")
        (tmp_path / name / "theirs").write_text("")
        os.chown(tmp_path / name / "theirs", 7, 7)
    link = tmp_path / "strict/link"  # as release 0.5.10 keeps them
    link.write_text("ours")
    os.setxattr(link, RECORD, b"\1\0\0\0" + struct.pack("<4I", 3, 4, stat.S_IFLNK | 0o777, 0))
    mounts = [f"{tmp_path}/strict:/strict:stat-virt=strict", f"{tmp_path}/mirror:/mirror:host-perms=mirror",
              f"{tmp_path}/ids:/ids:uid=1000,gid=1001,quota=none", f"{tmp_path}/off:/off:stat-virt=off"]
    script = """
        for d in strict mirror ids off; do
            cd /$d; touch new; chown 5:6 new; chmod 4751 new; stat -c "$d %a %u:%g" new
        done
        mknod /strict/null c 1 3; stat -c '%F %t,%T' /strict/null
        stat -c '%N %u:%g' /strict/link; cat /strict/link && echo empty
        stat -c '%n %u:%g' /strict/theirs /ids/ours /ids/theirs /off/theirs
        df -m /off | tail -1 | awk '{ print ($4 == 4096) }'; df -m /ids | tail -1 | awk '{ print ($4 == 4096) }'
    """
    result = msb.sh(busybox, script, *(word for mount in mounts for word in ("-v", mount)))
    assert result.text.splitlines() == [
        "strict 4751 5:6", "mirror 4751 5:6", "ids 4751 5:6", "off 4751 5:6", "character special file 1,3",
        "'/strict/link' -> 'ours' 3:4", "empty", "/strict/theirs 7:7", "/ids/ours 1000:1001", "/ids/theirs 65534:65534",
        "/off/theirs 7:7", "1", "0"], (result.err, result.text)
    seen = {name: (tmp_path / name / "new").stat() for name in ("strict", "mirror", "ids", "off")}
    modes = {name: (oct(stat.S_IMODE(st.st_mode)), st.st_uid) for name, st in seen.items()}
    assert modes == {"strict": ("0o600", 0), "mirror": ("0o751", 0), "ids": ("0o600", 0), "off": ("0o4751", 5)}
    assert record_of(tmp_path / "strict/new") == (5, 6, stat.S_IFREG | 0o4751, 0)
    assert stat.S_ISCHR(record_of(tmp_path / "strict/null")[2])
    assert RECORD not in os.listxattr(tmp_path / "off/new")
