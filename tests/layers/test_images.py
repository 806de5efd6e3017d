# SPDX-License-Identifier: Apache-2.0
"""Images of every tar dialect: the mounted result equals umoci's unpacking, layers applied in order."""
import gzip
import os
import pathlib
import subprocess
import tarfile

import pytest

from judges import check_image, mounted
from tars import TIME, Tar, base_layer, gnu_tar, populate
from trees import run, tree

SOURCE = pathlib.Path(__file__).resolve().parents[2]
@pytest.mark.parametrize("options", [
    ["--format=gnu", "-S"],
    ["--format=gnu"],
    ["--format=posix", "--xattrs", "--xattrs-include=*"],
    ["--format=posix", "--xattrs", "--xattrs-include=*", "-S", "--sparse-version=1.0"],
    ["--format=posix", "-S", "--sparse-version=0.1"],
    ["--format=posix", "-S", "--sparse-version=0.0"],
], ids=" ".join)
def test_gnu_tar(tool, tmp_path, options):
    root = tmp_path / "root"
    root.mkdir()
    populate(root, xattrs="--xattrs" in options)
    want = tree(root)
    if "--format=gnu" in options: # knows whole seconds only
        for entry in want.values():
            entry["mtime"] = entry["mtime"] // 10**9 * 10**9
    compression = {"--format=gnu": "zstd", "--format=posix": "gzip members"}[options[0]]
    check_image(tool, tmp_path, [gnu_tar(root, *options)], [compression], want)


def test_file_in_many_pieces(tool, tmp_path):
    """More than an inode has room for, and than one block of extents has."""
    root = tmp_path / "root"
    root.mkdir()
    with open(root / "sparse", "wb") as out:
        for i in range(1000):
            out.seek(i * 16384)
            out.write(b"%d" % i)
    check_image(tool, tmp_path, [gnu_tar(root, "--format=posix", "-S")], want=tree(root))


def test_gnu_tar_acls_as_text(tool, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    populate(root)
    check_image(tool, tmp_path, [gnu_tar(root, "--format=posix", "--xattrs", "--xattrs-include=*", "--acls",
                                         "--numeric-owner")], want=tree(root))


@pytest.mark.parametrize("fmt", ["pax", "gnutar", "ustar"])
def test_bsdtar(tool, tmp_path, fmt):
    root = tmp_path / "root"
    root.mkdir()
    populate(root, xattrs=fmt == "pax")
    if fmt == "ustar": # cannot say these
        for name in "long link", "\xfcml\xe4ut", os.fsdecode(b"\xff\xfe raw"), "n" * 255:
            (root / name).unlink()
        subprocess.run(["rm", "-r", root / ("p" * 120)], check=True)
        os.chown(root / "dir/sub", 70000, 100000)
        os.utime(root / "dir", (TIME, TIME))
        os.utime(root, (TIME, TIME))
    data = subprocess.run(["bsdtar", "-C", root, "-c", "--format", fmt, "-f", "-", "."], stdout=subprocess.PIPE,
                          check=True, env={**os.environ, "LC_ALL": "C.UTF-8"}).stdout
    want = tree(root)
    if fmt != "pax":
        for entry in want.values():
            entry["mtime"] = entry["mtime"] // 10**9 * 10**9
    check_image(tool, tmp_path, [data], ["zstd frames"], want)


@pytest.mark.parametrize("fmt", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["ustar", "gnu", "pax"])
def test_python_tarfile(tool, tmp_path, fmt):
    t = Tar(fmt).add("./", mode=0o700, uid=7, gid=8).add("a/").add("a/f", "x" * 4096).add("a/g", "y" * 4097)
    t.add("a/dev", kind=tarfile.CHRTYPE, dev=(4, 64)).add("a/blk", kind=tarfile.BLKTYPE, dev=(8, 1))
    t.add("a/pipe", kind=tarfile.FIFOTYPE).symlink("a/s", "../etc/passwd").link("h", "a/f").link("hs", "a/s")
    t.add("b/", mtime=0).add("b/" + "c" * 90 + "/").add("setid", "s", mode=0o4755)
    t.add("b/" + "c" * 90 + "/" + "d" * 60, "prefix of ustar")
    check_image(tool, tmp_path, [t.done()], ["none"])


def test_pax_records(tool, tmp_path):
    t = Tar().add("./").add("short", "1", path="other/name").add("other/", mode=0o750).add("neg", "2", mtime=-5.25)
    t.add("uid", "3", uid=4000000000, gid=4000000001).add("nano", "4", mtime=1600000000.015625)
    t.add("x", "5", SCHILY__xattr__user__a="value")
    t.symlink("l", "short target", linkpath="very/long/" * 50)
    want_all = t.done()
    check_image(tool, tmp_path, [want_all], ["gzip"], ignore=[(".", "mtime")])
    with mounted(tmp_path / "layer0.erofs", tmp_path / "mnt") as root:
        assert os.stat(root / "neg").st_mtime_ns == -5_250_000_000


def test_whiteouts(tool, tmp_path):
    t = Tar().add("./", mode=0o711, uid=1).add("bin/").add("bin/.wh.b").add(".wh.file").add("opt/").add("opt/.wh..wh..opq")
    t.add("opt/three", "3").add("etc/").add("etc/.wh.sub").add(".wh.never-there").add("new/").add("new/.wh.nothing").add("new/n", "n")
    layers, _ = check_image(tool, tmp_path, [base_layer(), t.done()], ["gzip", "zstd"])
    # A layer on its own is a lower directory for overlayfs, markers included.
    with mounted(layers[0], tmp_path / "l0") as low, mounted(layers[1], tmp_path / "l1") as high:
        union = tmp_path / "union"
        union.mkdir()
        run("mount", "-t", "overlay", "-o", f"ro,lowerdir={high}:{low}", "overlay", union)
        try:
            assert sorted(os.listdir(union / "opt")) == ["three"]
            assert sorted(os.listdir(union / "bin")) == ["a", "a2"]
            assert not (union / "file").exists() and not (union / "etc/sub").exists()
        finally:
            run("umount", union)


def test_types_change_between_layers(tool, tmp_path):
    two = Tar().add("./").add("bin", "now a file").add("file/").add("file/in", "dir").add("opt", kind=tarfile.SYMTYPE, link="usr")
    two.add("etc/", uid=3).add("etc/x/").add("etc/x/deep", "d")
    three = Tar().add("./").add("bin/").add("bin/back", "back").add("file", "file again").add("etc/x", "x again")
    check_image(tool, tmp_path, [base_layer(), two.done(), three.done()])


def test_whiteout_and_new_file_of_one_name(tool, tmp_path):
    two = Tar().add("./").add(".wh.etc").add("etc/").add("etc/only", "1").add("bin/").add("bin/.wh.b").add("bin/b", "new b")
    three = Tar().add("./").add("var/").add("var/late", "l").add("var/.wh..wh..opq").add("var/log/").add("var/log/new", "n")
    check_image(tool, tmp_path, [base_layer(), two.done(), three.done()])


def test_hard_links_across_layers(tool, tmp_path):
    two = Tar().add("./").add("bin/").link("bin/a3", "bin/a").link("etc-x", "./etc/x").link("s2", "lib")
    three = Tar().add("./").link("renamed", "bin/b").add("bin/").add("bin/.wh.b").add("bin/a", "a of its own").link("bin/a4", "bin/a3")
    _, want = check_image(tool, tmp_path, [base_layer(), two.done(), three.done()])
    assert want["bin/a3"]["names"] == ["bin/a2", "bin/a3", "bin/a4"] and want["bin/a"]["nlink"] == 1


def test_members_without_their_directories(tool, tmp_path):
    """What a layer does not describe keeps the attributes that a lower layer gave it."""
    two = Tar().add("etc/sub/z", "z").add("var/log/more", "m").add("brand/new/dir/f", "f").add("lib/l2", "through a link")
    ignore = [(d, "mtime") for d in ("brand", "brand/new", "brand/new/dir", "etc/sub", "var/log", "usr/lib", ".")]
    _, want = check_image(tool, tmp_path, [base_layer(), two.done()], ignore=ignore)
    assert want["etc"]["mode"] == "0o40700" and "usr/lib/l2" in want


def test_whiteout_of_everything(tool, tmp_path):
    check_image(tool, tmp_path, [base_layer(), Tar().add("./").add(".wh..wh..opq").add("only", "o").done()])


def test_empty_layers(tool, tmp_path):
    end = bytes(1024)
    check_image(tool, tmp_path, [base_layer(), end, end], ignore=[(".", "mtime")])


def test_large_directory(tool, tmp_path):
    t = Tar(tarfile.GNU_FORMAT).add("./").add("d/")
    for i in range(20000):
        t.add(f"d/{i * 7919 % 20000:05}-{'x' * (i % 50)}", str(i) if i % 16 == 0 else "")
    check_image(tool, tmp_path, [t.done()])


def test_many_layers(tool, tmp_path):
    """More than 23: the device table goes on in a second block."""
    tars = [base_layer()]
    for i in range(40):
        t = Tar().add("./").add("n/").add(f"n/{i}", f"file {i}")
        tars.append(t.add(f"n/.wh.{i - 3}").done())
    check_image(tool, tmp_path, tars)


def test_debian_with_a_layer_on_top(tool, tmp_path):
    """The small part of mmdebstrap's root, and what umoci makes of a change to it."""
    root = pathlib.Path(run(SOURCE / "scripts/make-rootfs", "debian").strip())
    base = gnu_tar(root, "--format=posix", "--xattrs", "--xattrs-include=*", "--sort=name", "--exclude=./usr/lib",
                   "--exclude=./usr/share", "--exclude=./usr/bin", "--exclude=./dev/*", "--exclude=./var/lib", "--exclude=./var/cache")
    oci = tmp_path / "made"
    (tmp_path / "base.tar").write_bytes(base)
    for args in ("init", "--layout", oci), ("new", "--image", f"{oci}:x"), ("raw", "add-layer", "--image", f"{oci}:x",
                 tmp_path / "base.tar"), ("unpack", "--image", f"{oci}:x", tmp_path / "bundle"):
        run("umoci", *args)
    work = tmp_path / "bundle/rootfs"
    run("rm", "-r", work / "usr/sbin", work / "etc/debian_version")
    (work / "etc/motd").write_text("changed")
    (work / "opt/new").mkdir()
    os.setxattr(work / "opt/new", "user.x", b"y")
    for changed in "etc", "etc/motd", "opt", "opt/new", "usr": # umoci writes whole seconds
        os.utime(work / changed, (TIME, TIME))
    before = set((oci / "blobs/sha256").iterdir())
    run("umoci", "repack", "--image", f"{oci}:y", tmp_path / "bundle")
    new = [p.read_bytes() for p in set((oci / "blobs/sha256").iterdir()) - before]
    changed = gzip.decompress(next(b for b in new if b[:2] == b"\x1f\x8b"))
    check_image(tool, tmp_path, [base, changed], want=tree(work))
