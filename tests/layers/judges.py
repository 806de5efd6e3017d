# SPDX-License-Identifier: Apache-2.0
"""Running the tool on layers, judging what comes out.

Judges: fsck.erofs or e2fsck on every image, the kernel that mounts it, and umoci's unpacking of the same layers as the tree that
must be there.
"""
import contextlib
import hashlib
import json
import pathlib
import subprocess

import pytest

from tars import blob, umoci_tree
from trees import differences, run, tree


class Tool:
    """layertool, whose every image is shown to its file system's own checker."""

    def __init__(self, binary):
        self.binary = binary

    def layer(self, blob, out):
        result = json.loads(run(self.binary, "layer", blob, out))
        run("fsck.erofs", out)
        return result

    def fails(self, *args):
        result = subprocess.run([self.binary, *map(str, args)], capture_output=True, text=True, check=False, timeout=120)
        assert result.returncode == 1 and result.stderr.count("\n") == 1, (result.returncode, result.stderr)
        return result.stderr.removeprefix("layertool: ").strip()

    def merge(self, out, layers):
        result = json.loads(run(self.binary, "merge", out, *layers))
        run("fsck.erofs", *(f"--device={x}" for x in layers), out)
        return result

    def flat(self, out, layers):
        result = json.loads(run(self.binary, "flat", out, *layers))
        run("/sbin/e2fsck", "-fn", out)
        return result


@contextlib.contextmanager
def mounted(image, where, *devices):
    """Mount on loop devices; @devices are the layers of a merged image that is not concatenated with them."""
    loops = [run("losetup", "-f", "--show", "-r", d).strip() for d in (image, *devices)]
    where.mkdir(exist_ok=True)
    try:
        options = ",".join(["ro", *(f"device={x}" for x in loops[1:])])
        run("mount", "-t", "ext4" if image.suffix == ".ext4" else "erofs", "-o", options, loops[0], where)
        try:
            yield where
        finally:
            run("umount", where)
    finally:
        for x in loops:
            run("losetup", "-d", x)


def digest(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def concatenate(out, parts):
    with open(out, "wb") as f:
        for part in parts:
            f.write(pathlib.Path(part).read_bytes())
    return out


def check_image(tool, where, tars, compressions=("gzip",), want=None, ignore=()):
    """The layers in all three forms, twice each; every mount shows what umoci unpacks."""
    layers = []
    for i, data in enumerate(tars):
        packed = where / f"blob{i}"
        packed.write_bytes(blob(data, compressions[i % len(compressions)]))
        layers.append(where / f"layer{i}.erofs")
        result = tool.layer(packed, layers[-1])
        assert result["diff_id"] == "sha256:" + hashlib.sha256(data).hexdigest()
        assert result["blob_digest"] == "sha256:" + digest(packed)
        assert result["erofs_size"] == layers[-1].stat().st_size
        plain = where / "plain"
        plain.write_bytes(data)
        tool.layer(plain, where / "again")
        assert digest(where / "again") == digest(layers[-1]), "the same tar gave another image"
    want = want or umoci_tree(where, tars)
    merged, flat = where / "merged.erofs", where / "flat.ext4"
    result = tool.merge(merged, layers)
    tool.flat(flat, layers)
    for make, out in (tool.merge, merged), (tool.flat, flat):
        make(where / "again", layers)
        run("cmp", where / "again", out)
    one = concatenate(where / "one.erofs", [merged, *layers])
    assert one.stat().st_size == result["total_size"]
    for image, devices in (one, ()), (merged, layers), (flat, ()):
        with mounted(image, where / "mnt", *devices) as root:
            got = tree(root)
        wrong = differences(want, got, ignore)
        if wrong: # not assert: its picture of two trees takes minutes
            pytest.fail(f"{image}: {len(wrong)} differences:\n" + "\n".join(wrong[:20]), pytrace=False)
    assert result["inodes"] == len({tuple(x["names"]) for x in want.values()})
    return layers, want
