# SPDX-License-Identifier: Apache-2.0
"""Layers of every kind, made member by member or from a folder, and the tree that umoci makes of them."""
import gzip
import io
import os
import subprocess
import tarfile

from images import Image, write_layout
from trees import run, tree

TIME = 1600000000
ACL = bytes.fromhex("02000000 01000600ffffffff 02000700e8030000 04000400ffffffff 10000700ffffffff 20000400ffffffff")
CAP = bytes.fromhex("0100000200040000000000000000000000000000")


def populate(root, xattrs=True):
    """A folder with one of everything."""
    (root / "dir/sub/empty").mkdir(parents=True)
    (root / "dir/sub/file").write_text("hello")
    (root / "dir/zero").write_text("")
    (root / "dir/big").write_bytes(os.urandom(50000))
    os.link(root / "dir/big", root / "dir/sub/same")
    os.link(root / "dir/big", root / "again")
    os.symlink("dir/sub/file", root / "link")
    os.symlink("x" * 3000, root / "long link")
    os.symlink("/nowhere", root / "dangling")
    os.link(root / "link", root / "link too", follow_symlinks=False)
    os.mkfifo(root / "fifo")
    os.mknod(root / "null", 0o20666, os.makedev(1, 3))
    os.mknod(root / "disk", 0o60660, os.makedev(259, 300))
    (root / ("n" * 255)).write_text("long name")
    (root / ("p" * 120) / ("q" * 120) / ("r" * 120)).mkdir(parents=True)
    (root / ("p" * 120) / ("q" * 120) / ("r" * 120) / "deep").write_text("deep")
    for name in "+plus", "!bang", "-minus", ".hidden", "..dots", "\xfcml\xe4ut", "tab\there":
        (root / name).write_text(name)
    (root / os.fsdecode(b"\xff\xfe raw")).write_text("bytes")
    with open(root / "sparse", "wb") as f:
        f.truncate(3_000_000)
        for at in 0, 100_000, 1_500_000, 2_999_990:
            f.seek(at)
            f.write(b"data here!")
    with open(root / "hole", "wb") as f:
        f.truncate(1_000_000)
    if xattrs:
        os.setxattr(root / "dir/big", "security.capability", CAP)
        os.setxattr(root / "dir/sub/file", "user.long", os.urandom(2000))
        os.setxattr(root / "dir/sub/file", "user.empty", b"")
        os.setxattr(root / "dir/sub/file", "trusted.t", b"t")
        os.setxattr(root / "dir", "user.onadir", b"yes")
        os.setxattr(root / "dir/zero", "system.posix_acl_access", ACL)
        os.setxattr(root / "dir", "system.posix_acl_default", ACL)
    os.chown(root / "dir/zero", 1000, 1000)
    os.chown(root / "dir/sub", 70000, 3_000_000_000)
    os.chown(root / "dangling", 5, 6, follow_symlinks=False)
    os.chmod(root / "dir/sub/file", 0o6751)
    os.chmod(root / "dir", 0o1777)
    for i, (folder, dirs, files) in enumerate(os.walk(root, topdown=False)):
        for name in [*files, *dirs]:
            os.utime(os.path.join(folder, name), ns=(0, (TIME + i) * 10**9 + i * 1001), follow_symlinks=False)
    os.chmod(root, 0o711)
    os.chown(root, 12, 34)
    os.utime(root, (TIME, TIME))
    return root


def gnu_tar(root, *options):
    return subprocess.run(["tar", "-C", root, "-c", *options, "."], stdout=subprocess.PIPE, check=True).stdout


class Tar:
    """A layer written member by member."""

    def __init__(self, fmt=tarfile.PAX_FORMAT):
        self.buffer = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.buffer, mode="w", format=fmt, encoding="utf-8", errors="surrogateescape")

    def add(self, name, data=None, kind=None, mode=None, uid=0, gid=0, mtime=1600000000, link="", dev=(0, 0), **pax):
        info = tarfile.TarInfo(name)
        info.type = kind or (tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE)
        info.mode = mode if mode is not None else 0o755 if info.type == tarfile.DIRTYPE else 0o644
        info.uid, info.gid, info.mtime, info.linkname = uid, gid, mtime, link
        info.devmajor, info.devminor = dev
        info.pax_headers = {k.replace("__", "."): v for k, v in pax.items()}
        data = data.encode() if isinstance(data, str) else data or b""
        info.size = len(data)
        self.tar.addfile(info, io.BytesIO(data))
        return self

    def link(self, name, target):
        return self.add(name, kind=tarfile.LNKTYPE, link=target)

    def symlink(self, name, target, **kw):
        return self.add(name, kind=tarfile.SYMTYPE, link=target, **kw)

    def done(self):
        self.tar.close()
        return self.buffer.getvalue()


def base_layer():
    t = Tar().add("./").add("bin/").add("bin/a", "a").add("bin/b", "b").link("bin/a2", "bin/a").add("etc/", mode=0o700)
    t.add("etc/x", "x").add("etc/sub/").add("etc/sub/y", "y").add("opt/").add("opt/one", "1").add("opt/two", "2")
    t.add("usr/").add("usr/lib/").add("usr/lib/l1", "l1").symlink("lib", "usr/lib").add("file", "f").add("var/", uid=9)
    return t.add("var/log/").add("var/log/messages", "m").done()


def blob(data, compression):
    if compression == "gzip":
        return gzip.compress(data, 6, mtime=0)
    if compression == "gzip members":
        return b"".join(gzip.compress(data[i:i + 10007], 1, mtime=0) for i in range(0, len(data), 10007))
    if compression == "zstd":
        return subprocess.run(["zstd", "-qc"], input=data, capture_output=True, check=True).stdout
    if compression == "zstd frames":
        skippable = b"\x50\x2a\x4d\x18\x04\x00\x00\x00skip"
        return skippable + b"".join(blob(data[i:i + 20011], "zstd") for i in range(0, len(data), 20011))
    return data


def umoci_tree(where, tars):
    """What umoci makes of uncompressed layers, which umoci of any age reads."""
    write_layout(where / "oci", {"x": Image(tars, compress=bytes)})
    run("umoci", "raw", "unpack", "--image", f"{where}/oci:x", where / "umoci")
    return tree(where / "umoci")
