# SPDX-License-Identifier: Apache-2.0
"""The image cache beneath a running guest: moved before, removed and pruned meanwhile."""
import hashlib
import os
import random
import subprocess

import pytest

import images
from conftest import make_root

SIZE = 4 << 20


def tar_of(root):
    return subprocess.run(["tar", "-C", root, "--sort=name", "-c", "."], stdout=subprocess.PIPE, check=True).stdout


@pytest.mark.engine
def test_a_guest_keeps_its_image(msb, tmp_path):
    """Run from a home folder that was moved, the image is removed by force while it is read."""
    big = random.Random(1).randbytes(1 << 20) * (SIZE >> 20)
    layers = [tar_of(make_root("busybox")), images.tar({"big": big}), images.tar({"top": b"upper layer\n"})]
    (tmp_path / "image.tar").write_bytes(images.docker_archive({"box:1": images.Image(layers)}))
    home = {**os.environ, "MSB_HOME": str(tmp_path / "here")}
    loaded = msb.call("load", "-q", "-i", tmp_path / "image.tar", env=home)
    assert loaded.code == 0, loaded.err
    (tmp_path / "here").rename(tmp_path / "there")
    home["MSB_HOME"] = str(tmp_path / "there")

    guest = msb.start_run("box:1", "--", "sh", "-c", "echo up; read x; cat /top; wc -c </big; md5sum </big", env=home)
    guest.wait_for(b"up\n")
    refused = msb.call("image", "rm", "box:1", env=home)
    assert refused.code == 1 and "is used by msb" in refused.err, refused.err
    pruned = msb.call("image", "prune", "-y", env=home)
    assert (pruned.code, pruned.err) == (0, "Nothing to prune.\n")
    removed = msb.call("image", "rm", "-q", "-f", "box:1", env=home)
    assert removed.code == 0, removed.err
    again = msb.call("image", "prune", "-y", "-q", env=home)
    assert again.code == 0, again.err
    guest.write(b"\n")
    result = guest.wait()
    assert result.code == 0, result.err
    assert result.text.split("\n")[1:4] == ["upper layer", str(SIZE), f"{hashlib.md5(big).hexdigest()}  -"]
    last = msb.call("image", "prune", "-y", "-q", env=home)
    assert last.code == 0, last.err
    assert [p for p in (tmp_path / "there/cache").rglob("*") if p.is_file() and p.suffix != ".lock"] == []
