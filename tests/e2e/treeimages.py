# SPDX-License-Identifier: Apache-2.0
"""Images of every kind of maker and archive, each with the tree that umoci makes of it."""
import dataclasses
import os
import pathlib
import subprocess
import tarfile

from images import Image, write_layout
from tars import TIME, Tar, base_layer, blob, gnu_tar, populate, umoci_tree
from trees import run, tree


@dataclasses.dataclass
class Made:
    """@archive: what msb loads; @want: the tree; @ignore: for differences(), what nothing says a value for."""
    archive: pathlib.Path
    want: dict
    ignore: tuple = ()
    tars: tuple = ()


def places(tar=None):
    """What a guest mounts on or writes to is in these images, with attributes and contents of its own."""
    t = tar or Tar().add("./", mode=0o711, uid=12, gid=34)
    t.add("dev/", mode=0o750).add("dev/below", kind=tarfile.CHRTYPE, dev=(1, 5)).add("dev/shm/", mode=0o700)
    t.add("proc/", uid=5).add("proc/below", "p").add("sys/", mode=0o500).add("sys/fs/").add("sys/fs/cgroup/", gid=3)
    t.add("tmp/", mode=0o1777).add("tmp/below", "t").add("var/").add("var/tmp/", mode=0o1777, gid=9)
    t.add("etc/", mode=0o751, gid=42).add("etc/hosts", "the image's own\n", mode=0o600)
    return t.symlink("etc/resolv.conf", "../run/resolv.conf")


def cycle(compressions):
    """compress functions are called once for each layer, from the bottom"""
    todo = list(compressions) * 100
    return lambda data: blob(data, todo.pop(0))


def made_by_hand(where, tars, compressions=("gzip",), ignore=(), judged=None):
    """@judged: the same without what umoci cannot read, where @tars have such"""
    image = Image(tars, compress=cycle(compressions))
    return Made(write_layout(where / "image", {"x": image}), umoci_tree(where, judged or tars), ignore, tuple(tars))


def folder(where, fill=populate, **options):
    root = where / "root"
    root.mkdir()
    fill(root, **options)
    return root


def change(root):
    """What happens to a populated tree between two layers."""
    (root / "again").unlink()
    os.link(root / "dir/zero", root / "zero too")
    (root / "dir/sub/file").write_text("other contents")
    os.chmod(root / "fifo", 0o604)
    (root / "link").unlink()
    (root / "link").mkdir()
    (root / "link/now a folder").write_text("x")
    run("rm", "-r", root / ("p" * 120))
    (root / ("p" * 120)).write_text("now a file")
    os.setxattr(root / "hole", "user.added", b"later")
    os.removexattr(root / "dir", "user.onadir")
    for changed in "dir/sub/file", "link/now a folder", "p" * 120, "link", "dir/sub", "dir", ".": # umoci keeps whole seconds
        os.utime(root / changed, (TIME, TIME))


# ---- by hand

def whiteouts(where):
    """Removed, hidden whole, of another kind, removed and made again in one layer."""
    two = Tar().add("./", mode=0o705, uid=1).add("bin/").add("bin/.wh.b").add(".wh.file").add("opt/").add("opt/.wh..wh..opq")
    two.add("opt/three", "3").add("etc/").add("etc/.wh.sub").add(".wh.never-there").add("new/").add("new/.wh.nothing")
    two.add("usr", "a file now").add("lib/").add("lib/a", "a folder now")
    three = Tar().add("./").add(".wh.var").add("var/").add("var/only", "1").add("var/tmp/", mode=0o1777).add("file/").add("file/in", "dir")
    three.add("bin/").add("bin/.wh.a").add("bin/a", "new a").add("usr/").add("usr/lib", "l").add(".wh.lib").symlink("lib", "usr/lib")
    return made_by_hand(where, [base_layer(), places(two).done(), three.done()], ["gzip", "zstd", "none"])


def hard_links(where):
    """To names of the same layer, of lower ones, of links, of what the next layer replaces."""
    two = Tar().add("./").add("bin/").link("bin/a3", "bin/a").link("etc-x", "./etc/x").link("s2", "lib").link("/absolute", "/bin/b")
    three = Tar().add("./").link("renamed", "bin/b").add("bin/").add("bin/.wh.b").add("bin/a", "a of its own").link("bin/a4", "bin/a3")
    four = Tar().add("./").add("bin/").add("bin/device", kind=tarfile.CHRTYPE, dev=(1, 3), mode=0o666).link("bin/d2", "bin/device")
    four.add("bin/pipe", kind=tarfile.FIFOTYPE).link("bin/p2", "bin/pipe").link("bin/p3", "bin/p2")
    made = made_by_hand(where, [base_layer(), two.done(), three.done(), four.done(), places().done()])
    assert made.want["bin/a3"]["names"] == ["bin/a2", "bin/a3", "bin/a4"] and made.want["bin/a"]["nlink"] == 1
    return made


def many_layers(where):
    """More than 23, some of them empty."""
    tars, end = [base_layer()], bytes(1024)
    for i in range(40):
        tars.append(Tar().add("./").add("n/").add(f"n/{i}", f"file {i}").add(f"n/.wh.{i - 3}").done())
        tars += [end] * (i % 10 == 0)
    return made_by_hand(where, [*tars, places().done()], ["gzip", "zstd", "gzip members"])


def names(where):
    """Of 255 bytes, of any bytes, in folders of many blocks and deep ones."""
    t = Tar(tarfile.GNU_FORMAT).add("./").add("d/")
    for i in range(600):
        t.add(f"d/{i * 7919 % 600:05}-{'x' * (i * i % 249)}", str(i) if i % 16 == 0 else "")
    t.add("f/")
    for i in range(1, 256):
        if i not in b"./":
            t.add(os.fsdecode(b"f/-" + bytes([i]) + b"-"), "x")
    t.add("deep/" * 30).add("deep/" * 30 + "y" * 255, "deep").symlink("long", "z" * 4000)
    return made_by_hand(where, [places().done(), t.done()], ["zstd frames"], [
        (".", "mtime"), *(("deep/" * i + "deep", "mtime") for i in range(29))])


def records(where):
    """What pax headers say, times before 1970 and after 2106, owners above 2^31; folders that no layer describes."""
    t = Tar().add("short", "1", path="other/name").add("other/", mode=0o750).add("neg", "2", mtime=-5.25)
    t.add("uid", "3", uid=4000000000, gid=4000000001).add("nano", "4", mtime=1600000000.015625).add("far", "5", mtime=2**33 + 0.5)
    t.add("x", "5", SCHILY__xattr__user__a="value").symlink("l", "short target", linkpath="very/long/" * 50)
    t.add("set", "6", mode=0o7751).add("sticky/", mode=0o3777, uid=7).add("huge-dev", kind=tarfile.BLKTYPE, dev=(4095, 1048575))
    two = Tar().add("brand/new/dir/f", "f").add("other/z", "z")
    return made_by_hand(where, [t.done(), two.done(), places().done()], ["gzip members"], [
        (d, "mtime") for d in ("brand", "brand/new", "brand/new/dir", "other")])


def dialects(where):
    """Layers of GNU tar, in all its ways to say what is sparse, and of bsdtar; each of its own compression."""
    root = folder(where, xattrs=False)
    run("find", root, "-exec", "touch", "-h", "-d", f"@{TIME}", "{}", "+") # not every format has parts of seconds
    tars, judged = [], []
    for i, words in enumerate(([], ["-S", "--sparse-version=0.0"], ["-S", "--sparse-version=0.1"], ["-S", "--sparse-version=1.0"])):
        judged.append(gnu_tar(root, "--format=posix", *words, f"--transform=flags=rSh;s,^\\.,./t{i},"))
    tars = [gnu_tar(root, "--format=gnu", "-S", "--transform=flags=rSh;s,^\\.,./t0,"), *judged[1:]]
    for fmt in "pax", "gnutar":
        layer = subprocess.run(["bsdtar", "-C", root, "-c", "--format", fmt, "-s", f",^\\.,./{fmt},S", "-f", "-", "."],
                               stdout=subprocess.PIPE, check=True, env={**os.environ, "LC_ALL": "C.UTF-8"}).stdout
        tars.append(layer)
        judged.append(layer)
    tars.append(places().done())
    judged.append(tars[-1])
    return made_by_hand(where, tars, ["none", "gzip", "zstd", "gzip members", "zstd frames"], judged=judged)


def huge_sparse(where):
    """More than 32 bits can count, with a few pieces of data, as GNU tar says it. umoci cannot read that: the folder itself is the judge."""
    root = where / "root"
    root.mkdir()
    (where / "places.tar").write_bytes(places().done())
    run("tar", "-C", root, "-xpf", where / "places.tar")
    with open(root / "huge", "wb") as f:
        f.truncate(9 << 29)
        for at in 5, 1 << 20, (1 << 32) + 4095, (9 << 29) - 3:
            f.seek(at)
            f.write(b"end")
    os.utime(root / "huge", (TIME, TIME))
    os.utime(root, (TIME, TIME))
    return Made(write_layout(where / "image", {"x": Image([gnu_tar(root, "--format=gnu", "-S")])}), tree(root))


def bare(where):
    """One empty folder; not one of the places that a guest needs."""
    return made_by_hand(where, [Tar().add("./", mode=0o700, gid=8).add("only/").done()])


# ---- by tools

def umoci_unpacked(where, layout, name="x"):
    run("umoci", "raw", "unpack", "--image", f"{layout}:{name}", where / "judge")
    return tree(where / "judge")


def umoci_image(where, layers, edit):
    """Layers put into an image by umoci, and one more with what it finds changed."""
    layout = where / "made"
    run("umoci", "init", "--layout", layout)
    run("umoci", "new", "--image", f"{layout}:x")
    for i, data in enumerate(layers):
        (where / f"{i}.tar").write_bytes(data)
        run("umoci", "raw", "add-layer", "--image", f"{layout}:x", where / f"{i}.tar")
        (where / f"{i}.tar").unlink()
    run("umoci", "unpack", "--image", f"{layout}:x", where / "bundle")
    edit(where / "bundle/rootfs")
    run("umoci", "repack", "--image", f"{layout}:x", where / "bundle")
    run("rm", "-r", where / "bundle")
    run("umoci", "config", "--image", f"{layout}:x", "--config.cmd", "/bin/true")
    run("umoci", "gc", "--layout", layout)
    return Made(layout, umoci_unpacked(where, layout))


def umoci(where):
    """One of everything, with attributes, capabilities and ACLs, changed and packed again."""
    packed = gnu_tar(folder(where), "--format=posix", "--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner", "-S")
    return umoci_image(where, [packed, places().done()], change)


def mmdebstrap(where, debian):
    """A Debian as mmdebstrap makes it, without what is merely much, and a layer that removes, changes and adds."""
    much = ("usr/lib/gcc", "usr/lib/git-core", "usr/libexec", "usr/share", "var/lib/apt/lists", "var/cache", "usr/lib/x86_64-linux-gnu/perl*",
            "usr/lib/x86_64-linux-gnu/gconv", "usr/include", "usr/bin/*-linux-gnu-*", "usr/bin/*-12", "usr/lib/x86_64-linux-gnu/*.a")
    base = gnu_tar(debian, "--format=posix", "--xattrs", "--xattrs-include=*", "--sort=name", "--acls",
                   *(f"--exclude=./{x}" for x in much), *(f"--exclude=./{x}/*" for x in ("dev", "proc", "sys", "tmp", "var/tmp")))
    t = Tar().add("./").add("usr/").add("usr/.wh.games").add("etc/").add("etc/.wh.debian_version").add("etc/motd", "changed")
    t.add("var/").add("var/mail/", uid=8, gid=8, mode=0o2775).add("etc/apt/").add("etc/apt/.wh..wh..opq").add("etc/apt/sources.list", "")
    t.add("opt/").add("opt/new", kind=tarfile.SYMTYPE, link="/etc/motd").link("opt/sh", "usr/bin/dash")
    return made_by_hand(where, [base, t.done()], ["zstd", "gzip"])


def buildah(where):
    """From scratch, in two layers, with an image's configuration; archive of its own making."""
    store = ["buildah", "--storage-driver", "vfs", "--root", where / "store", "--runroot", where / "runroot"]
    env = {**os.environ, "BUILDAH_ISOLATION": "chroot"}

    def do(*args):
        return run(*store, *args, env=env).strip()

    (where / "skeleton.tar").write_bytes(places().done())
    first = do("from", "scratch")
    root = pathlib.Path(do("mount", first))
    run("tar", "-C", root, "-xpf", where / "skeleton.tar")
    populate(root)
    do("config", "--entrypoint", '["/bin/tool", "-x"]', "--cmd", "a b", "--user", "app", "--workingdir", "/dir", "--env", "A=1",
       "--stop-signal", "SIGINT", first)
    do("commit", "--format", "oci", first, "first")
    second = do("from", "localhost/first")
    change(pathlib.Path(do("mount", second)))
    do("commit", "--format", "oci", second, f"oci-archive:{where}/image.tar:x")
    run("rm", "-r", where / "store")
    (where / "layout").mkdir()
    run("tar", "-C", where / "layout", "-xf", where / "image.tar")
    return Made(where / "image.tar", umoci_unpacked(where, where / "layout"))
