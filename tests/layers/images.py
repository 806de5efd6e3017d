# SPDX-License-Identifier: Apache-2.0
"""Making layers, running the tool on them, judging what comes out.

Judges: fsck.erofs on every image, the kernel that mounts it, and umoci's unpacking of the same layers as the tree that
must be there.
"""
import contextlib
import gzip
import hashlib
import io
import json
import os
import pathlib
import stat
import subprocess
import tarfile

import pytest


def run(*args, **kw):
    result = subprocess.run([str(a) for a in args], capture_output=True, text=True, check=False, timeout=120, **kw)
    assert result.returncode == 0, f"{args[0]}: {result.stderr or result.stdout}"
    return result.stdout


class Tool:
    """layertool, whose every image is shown to fsck.erofs."""

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
        run("fsck.erofs", out)
        return result


@contextlib.contextmanager
def mounted(image, where, *devices):
    """Mount on loop devices; @devices are the layers of a merged image that is not concatenated with them."""
    loops = [run("losetup", "-f", "--show", "-r", d).strip() for d in (image, *devices)]
    where.mkdir(exist_ok=True)
    try:
        options = ",".join(["ro", *(f"device={x}" for x in loops[1:])])
        run("mount", "-t", "erofs", "-o", options, loops[0], where)
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


def tree(root):
    """Everything stat, readlink, listxattr and read say, by path; hard links as the group of names they are."""
    root = pathlib.Path(root)
    found, groups = {}, {}
    for folder, dirs, files in os.walk(root, followlinks=False):
        for name in ["", *dirs, *files] if folder == str(root) else [*dirs, *files]:
            path = os.path.join(folder, name) if name else folder
            st = os.lstat(path)
            key = os.path.relpath(path, root)
            groups.setdefault(st.st_ino, []).append(key)
            found[key] = {
                "mode": oct(st.st_mode), "owner": (st.st_uid, st.st_gid), "mtime": st.st_mtime_ns, "ino": st.st_ino,
                "rdev": st.st_rdev if stat.S_ISCHR(st.st_mode) or stat.S_ISBLK(st.st_mode) else 0,
                "nlink": st.st_nlink if not stat.S_ISDIR(st.st_mode) else 0,
                "link": os.readlink(path) if stat.S_ISLNK(st.st_mode) else None,
                "size": st.st_size if stat.S_ISREG(st.st_mode) else 0,
                "data": digest(path) if stat.S_ISREG(st.st_mode) else None,
                "xattrs": {k: os.getxattr(path, k, follow_symlinks=False)
                           for k in os.listxattr(path, follow_symlinks=False)},
            }
    for entry in found.values():
        entry["names"] = sorted(groups[entry.pop("ino")])
    return found


def differences(want, got, ignore=()):
    lines = [f"missing: {p}" for p in sorted(want.keys() - got.keys())]
    lines += [f"too many: {p}" for p in sorted(got.keys() - want.keys())]
    for path in sorted(want.keys() & got.keys()):
        lines += [f"{path}: {k} is {got[path][k]}, not {v}" for k, v in want[path].items()
                  if got[path][k] != v and (path, k) not in ignore and k not in ignore]
    return lines


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


MEDIA = {"gzip": "+gzip", "zstd": "+zstd"}


def oci_layout(where, tars):
    """An OCI layout with uncompressed layers, so that umoci of any age reads it."""
    blobs = where / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(data, media):
        name = hashlib.sha256(data).hexdigest()
        (blobs / name).write_bytes(data)
        return {"mediaType": media, "digest": "sha256:" + name, "size": len(data)}

    layers = [put(t, "application/vnd.oci.image.layer.v1.tar") for t in tars]
    config = {"architecture": "amd64", "os": "linux", "config": {},
              "rootfs": {"type": "layers", "diff_ids": [x["digest"] for x in layers]}, "history": []}
    config = put(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json")
    manifest = put(json.dumps({"schemaVersion": 2, "config": config, "layers": layers}).encode(),
                   "application/vnd.oci.image.manifest.v1+json")
    manifest["annotations"] = {"org.opencontainers.image.ref.name": "x"}
    (where / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
    (where / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def umoci_tree(where, tars):
    oci_layout(where / "oci", tars)
    run("umoci", "raw", "unpack", "--image", f"{where}/oci:x", where / "umoci")
    return tree(where / "umoci")


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
    merged, flat = where / "merged.erofs", where / "flat.erofs"
    result = tool.merge(merged, layers)
    tool.flat(flat, layers)
    for make, out in (tool.merge, merged), (tool.flat, flat):
        make(where / "again", layers)
        assert digest(where / "again") == digest(out), "the same layers gave another image"
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
