# SPDX-License-Identifier: Apache-2.0
"""Images as seen by a program in the guest: path by path what umoci unpacks of the same layers (treeimages.py).

The program (treelist.c) looks twice. At the image's disk, mounted once more: there everything has to be equal. And at the
root, below what the guest mounts in it (/dev, /proc, /sys, ...), where as_booted() says what may differ: an overlay's idea of
link counts, and what msb itself writes into a root.
"""
import copy
import os

import pytest

import treeimages
from conftest import make_root
from images import Image, write_layout
from tars import Tar
from trees import differences, parse, treelist

OURS = "etc/hosts", "etc/resolv.conf"
BY_HAND = "hard_links", "many_layers", "names", "records", "dialects", "huge_sparse", "umoci", "buildah"
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="impossible here: unpacking devices needs root")


def look(msb, *root, sources=("/", "/dev/vda"), **options):
    """The trees seen by the guest; the program lies in /dev, where it hides nothing of the image."""
    result = msb.run("-v", f"{treelist()}:/dev/treelist:ro", "--entrypoint", "", "-u", "0", "-w", "/", *root, "--", "/dev/treelist", *sources,
                     seconds=120, **options)
    assert result.code == 0, result.err
    seen = parse(os.fsdecode(result.out))
    return [seen[source] for source in sources]


def touched(tree, path):
    """Something was made in this folder. An overlay does not count the links of a folder that is on both of its sides."""
    tree[path].update(mtime=None, nlink=1)


def as_booted(want):
    """
    The tree of a running guest, where None stands for anything. The root directory is always on both sides of the overlay,
    with all attributes of the image's but that count. What a guest needs and the image has not is made.
    """
    tree = copy.deepcopy(want)
    tree["."]["nlink"] = 1
    new = {"owner": (0, 0), "mtime": None, "nlink": 2, "rdev": None, "link": None, "size": 0, "data": None, "xattrs": {}}
    for path, mode in ("dev", 0o40755), ("proc", 0o40755), ("sys", 0o40755), ("etc", 0o40755), ("tmp", 0o40755):
        if path not in tree:
            tree[path] = {**new, "mode": oct(mode), "names": [path]}
            touched(tree, ".")
        elif path == "etc":
            touched(tree, path)
    for path in OURS:
        tree[path] = {**new, "mode": "0o100644", "nlink": 1, "size": None, "names": [path]}
    return tree


def compare(want, got, ignore=()):
    anything = [(path, key) for path, entry in want.items() for key, value in entry.items()
                if value is None and key in ("mtime", "size")] + [(path, "data") for path in OURS]
    wrong = differences(want, got, {*anything, *ignore})
    if wrong: # not assert: its picture of two trees takes minutes
        pytest.fail(f"{len(wrong)} differences:\n" + "\n".join(wrong[:20]), pytrace=False)


def check(made, seen):
    root, disk = seen
    compare(made.want, disk, made.ignore)
    compare(as_booted(made.want), root, made.ignore)


@pytest.fixture(scope="session")
def whiteouts(tmp_path_factory):
    return treeimages.whiteouts(tmp_path_factory.mktemp("whiteouts"))


@pytest.mark.lab
@pytest.mark.engine
def test_whiteouts(msb, home, whiteouts):
    check(whiteouts, look(msb, msb.load(whiteouts.archive, "whiteouts", home), env=home))


def test_whiteouts_with_memory_on_top(msb, home, whiteouts):
    check(whiteouts, look(msb, "--root-disk", "tmpfs", msb.load(whiteouts.archive, "whiteouts", home), env=home))


def test_whiteouts_in_a_flat_root(msb, home, whiteouts, tmp_path):
    """On one ext4 disk, where the links of all folders are counted, and large attributes have inodes of their own."""
    xattrs = {"user.large": "".join(map(str, range(12000))), "user.second": "2" * 5000, "user.small": "s"}
    layer = Tar().add("large", **{"SCHILY.xattr." + name: value for name, value in xattrs.items()}).done()
    archive = write_layout(tmp_path / "image", {"x": Image([*whiteouts.tars, layer])})
    root, = look(msb, "--root-disk", "flat", msb.load(archive, "large-attributes", home), sources=["/"], env=home)
    assert root.pop("large")["xattrs"] == {name: value.encode() for name, value in xattrs.items()}
    compare(as_booted(whiteouts.want), root, {*whiteouts.ignore, (".", "nlink"), ("etc", "nlink")})


@pytest.mark.parametrize("kind", BY_HAND)
def test_tree(msb, home, tmp_path, kind):
    made = getattr(treeimages, kind)(tmp_path)
    check(made, look(msb, msb.load(made.archive, kind, home), env=home))


def test_mmdebstrap(msb, home, tmp_path):
    made = treeimages.mmdebstrap(tmp_path, make_root("debian"))
    root, = look(msb, msb.load(made.archive, "debian", home), sources=["/"], env=home)
    compare(as_booted(made.want), root)


def test_what_is_missing_is_made(msb, home, tmp_path):
    made = treeimages.bare(tmp_path)
    root, disk = look(msb, msb.load(made.archive, "bare", home), env=home)
    compare(made.want, disk)
    assert sorted(root) == [".", "dev", "etc", *OURS, "only", "proc", "sys", "tmp"]
    compare(as_booted(made.want), root)
