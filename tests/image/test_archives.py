# SPDX-License-Identifier: Apache-2.0
"""Archives in and out."""
import bz2
import functools
import gzip
import hashlib
import io
import json
import lzma
import resource
import subprocess
import tarfile

import pytest

import images
from images import Image, digest, docker_archive, dump, noise, tar, write_layout


@pytest.fixture(scope="module")
def image():
    return Image([tar({"etc/": b"", "etc/a": noise(200000), "a" * 90 + "/" + "b" * 90: b"long"}), tar({"etc/.wh.a": b""})],
                 Env=["A=b"])


def layout_tar(folder):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.add(path, "./" + str(path.relative_to(folder)), recursive=False)
    return out.getvalue()


@pytest.mark.parametrize("order", ["first", "last"])
@pytest.mark.parametrize("stdin", [False, True])
def test_docker_archive(tool, image, tmp_path, order, stdin):
    archive = docker_archive({"local/x:1": image}, order)
    if stdin:
        done = tool.run("load", "-", input=archive, text=False)
    else:
        (tmp_path / "x.tar").write_bytes(archive)
        done = tool.run("load", tmp_path / "x.tar")
    loaded = done.ok()
    assert loaded["reference"] == "docker.io/local/x:1"
    assert loaded["raw_config"].encode() == image.raw_config
    assert [l["diff_id"] for l in loaded["layers"]] == image.config["rootfs"]["diff_ids"]
    assert tool.run("open", "local/x:1").ok()["digest"] == loaded["digest"]
    assert tool.run("load", "-", input=archive, text=False).ok()["digest"] == loaded["digest"]
    assert not [f for f in tool.files() if f.startswith("tmp/")]


def test_tags(tool, image):
    unnamed = docker_archive({None: image})
    assert "pass --tag" in tool.run("load", "-", input=unnamed, text=False).error()
    done = tool.run("load", "-", "b:2", "a:1", "b:2", input=unnamed, text=False)
    assert [i["reference"] for i in done.images] == ["docker.io/library/a:1", "docker.io/library/b:2"]


def test_pinned_names(tool, image, tmp_path):
    pinned = "local/x@" + digest(b"other")
    line = tool.run("load", "-", input=docker_archive({pinned: image}), text=False).error()
    assert "another image" in line and pinned in line
    assert "another image" in tool.run("load", write_layout(tmp_path / "a", {pinned: image})).error()
    assert "not cached" in tool.run("open", pinned).error()
    right = f"local/x@{image.digest}"
    assert tool.run("load", write_layout(tmp_path / "b", {right: image})).ok()["digest"] == image.digest


def test_oci_layouts(tool, image, tmp_path):
    folder = write_layout(tmp_path / "oci", {"local/y:1": image})
    first = tool.run("load", folder).ok()
    assert first["digest"] == image.digest and first["raw_manifest"].encode() == image.raw
    assert tool.run("load", "-", "z", input=layout_tar(folder), text=False).images[0]["digest"] == image.digest
    nested = write_layout(tmp_path / "nested", {"n": image}, top="local/n:1")
    assert tool.run("load", nested).ok()["reference"] == "docker.io/local/n:1"


@pytest.mark.parametrize("packed", [False, True])
def test_other_algorithms(tool, tmp_path, packed):
    def load(folder, *tags):
        if packed:
            return tool.run("load", "-", *tags, input=layout_tar(folder), text=False)
        return tool.run("load", folder, *tags)
    image = Image([tar({"a": noise(200000)}), tar({"b": b"b"})], algorithm="sha512", documents="sha384")
    folder = write_layout(tmp_path / "oci", {"local/y:1": image})
    loaded = load(folder).ok()
    assert loaded["digest"] == image.digest and loaded["config_digest"].startswith("sha384:")
    assert [l["blob"] for l in loaded["layers"]] == [l["digest"] for l in image.manifest["layers"]]
    assert tool.run("open", "local/y:1").ok()["digest"] == image.digest
    names = [f"blobs/{l['digest'].replace(':', '/')}" for l in image.manifest["layers"]]
    config = f"blobs/{loaded['config_digest'].replace(':', '/')}"
    (folder / "manifest.json").write_bytes(dump([{"Config": config, "RepoTags": ["both:1"], "Layers": names}]))
    assert load(folder).ok()["config_digest"] == loaded["config_digest"]
    (folder / names[1]).write_bytes(image.layers[0])
    assert names[1] + "' in the archive has the digest sha512:" in load(folder).error()
    (folder / "manifest.json").unlink()
    assert names[1] + "' in the archive has the digest sha512:" in load(folder).error()
    image.config["rootfs"]["diff_ids"][0] = digest(image.tars[0], "sha512")
    assert "is no sha256" in load(write_layout(tmp_path / "ids", {"local/y:1": image.seal()})).error()
    assert not [f for f in tool.files() if f.startswith("tmp/")]


def test_skopeo_archives(tool, image, tmp_path):
    folder = write_layout(tmp_path / "oci", {"t": image})
    for kind in ("docker-archive", "oci-archive"):
        subprocess.run(["skopeo", "copy", "-q", "--insecure-policy", f"oci:{folder}:t",
                        f"{kind}:{tmp_path}/{kind}:local/x:1"], check=True, capture_output=True)
        assert tool.run("load", tmp_path / kind, "named").ok()


def umoci_tree(archive, folder, kind):
    """What umoci unpacks of an archive."""
    subprocess.run(["skopeo", "copy", "-q", "--insecure-policy", f"{kind}:{archive}", f"oci:{folder}/oci:t"], check=True,
                   capture_output=True)
    subprocess.run(["umoci", "unpack", "--image", f"{folder}/oci:t", f"{folder}/bundle"], check=True,
                   capture_output=True)
    out = subprocess.run(["tar", "-C", f"{folder}/bundle/rootfs", "--sort=name", "--numeric-owner", "--xattrs", "-c", "."],
                         check=True, capture_output=True)
    return hashlib.sha256(out.stdout).hexdigest()


@pytest.mark.parametrize("kind", ["docker", "oci"])
def test_save_and_load(tool, image, tmp_path, kind):
    tool.run("load", write_layout(tmp_path / "oci", {"local/y:1": image})).ok()
    saved = [tmp_path / f"{n}.tar" for n in range(3)]
    assert tool.run("save", kind, saved[0], "local/y:1").code == 0
    fresh = type(tool)(tool.binary, tmp_path / "fresh", tool.env)
    fresh.cache.mkdir()
    loaded = fresh.run("load", saved[0]).ok()
    assert loaded["env"] == ["A=b"] and loaded["reference"] == "docker.io/local/y:1"
    fresh.run("save", kind, saved[1], "local/y:1")
    assert saved[0].read_bytes() == saved[1].read_bytes(), "what is loaded and saved again is the same"
    assert fresh.run("load", saved[1]).ok()["digest"] == loaded["digest"]
    (tmp_path / "a").mkdir()
    assert umoci_tree(saved[0], tmp_path / "a", f"{kind}-archive")


def test_save_several(tool, image, tmp_path):
    other = Image([image.tars[0], tar({"other": b"o"})])
    tool.run("load", "-", input=docker_archive({"x:1": image, "y:1": other}), text=False).ok()
    assert tool.run("save", "docker", tmp_path / "two.tar", "x:1", "y:1").code == 0
    fresh = type(tool)(tool.binary, tmp_path / "fresh", tool.env)
    fresh.cache.mkdir()
    assert len(fresh.run("load", tmp_path / "two.tar").images) == 2
    assert "not cached" in tool.run("save", "oci", tmp_path / "no.tar", "nothing").error()


@pytest.mark.parametrize("there", [False, True])
def test_save_a_folder(tool, image, tmp_path, there):
    """The files are the members of the archive; other tools and ours read them where they are."""
    other = Image([image.tars[0], tar({"other": b"o"})])
    tool.run("load", "-", input=docker_archive({"local/x:1": image, "y:1": other}), text=False).ok()
    out = tmp_path / "out"
    if there:
        out.mkdir(mode=0o700)
    assert tool.run("save", "folder", f"{out}/", "local/x:1", "y:1").code == 0
    assert tool.run("save", "oci", tmp_path / "out.tar", "local/x:1", "y:1").code == 0
    with tarfile.open(tmp_path / "out.tar") as archive:
        members = {m.name: archive.extractfile(m).read() for m in archive if m.isfile()}
    assert {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()} == members
    assert [p.name for p in tmp_path.glob("out.*")] == ["out.tar"]
    assert out.stat().st_mode & 0o777 == (0o700 if there else 0o755)
    fresh = type(tool)(tool.binary, tmp_path / "fresh", tool.env)
    fresh.cache.mkdir()
    assert len(fresh.run("load", out).images) == 2
    (tmp_path / "a").mkdir()
    umoci_tree(f"{out}:docker.io/local/x:1", tmp_path / "a", "oci")
    subprocess.run(["umoci", "unpack", "--image", f"{out}:docker.io/library/y:1", tmp_path / "bundle"], check=True,
                   capture_output=True)
    assert (tmp_path / "bundle/rootfs/other").read_bytes() == b"o"


def test_rich_layer_survives(tool, tmp_path):
    """Every kind of file, through EROFS and back: the second tar equals the third, and GNU tar agrees with the first."""
    def rich(archive):
        def add(name, kind=tarfile.REGTYPE, data=b"", **more):
            info = tarfile.TarInfo(name)
            info.type, info.size, info.mode = kind, len(data), 0o644
            for key, value in more.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data))
        add("d", tarfile.DIRTYPE, mode=0o1777)
        add("d/.wh..wh..opq")
        add("d/file", data=b"x" * 5000, uid=3000000, gid=70000, mtime=-1.5,
            pax_headers={"SCHILY.xattr.user.k": "v", "mtime": "-1.5"})
        add("d/hard", tarfile.LNKTYPE, linkname="d/file")
        add("gone/.wh.this")
        add("link", tarfile.SYMTYPE, linkname="l" * 200)
        add("null", tarfile.CHRTYPE, devmajor=1, devminor=3)
        add("disk", tarfile.BLKTYPE, devmajor=259, devminor=70000)
        add("pipe", tarfile.FIFOTYPE)
        add("/".join(["deep" * 10] * 10), data=b"deep")
        add("lower", tarfile.LNKTYPE, linkname="base")
        add("base", data=b"the new one")
        add("moved", tarfile.LNKTYPE, linkname="folder/x")
        add(".wh.folder")
        add("was/a/file", tarfile.DIRTYPE)
        add("was/a/file/lower", tarfile.LNKTYPE, linkname="kept")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        rich(archive)
    image = Image([tar({"base": b"base", "d/old": b"o", "folder/x": b"x", "was/a/file": b"w", "kept": b"k"}), out.getvalue()])
    tool.run("load", "-", input=docker_archive({"x:1": image}), text=False).ok()
    assert tool.run("save", "docker", tmp_path / "1.tar", "x:1").code == 0
    fresh = type(tool)(tool.binary, tmp_path / "fresh", tool.env)
    fresh.cache.mkdir()
    fresh.run("load", tmp_path / "1.tar").ok()
    assert fresh.run("save", "docker", tmp_path / "2.tar", "x:1").code == 0
    assert (tmp_path / "1.tar").read_bytes() == (tmp_path / "2.tar").read_bytes()
    with tarfile.open(tmp_path / "1.tar") as archive:
        toc = json.load(archive.extractfile("manifest.json"))
        layer = archive.extractfile(toc[0]["Layers"][1]).read()
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        members = {m.name: m for m in archive}
    assert members["d/file"].uid == 3000000 and members["d/file"].mtime == -1.5
    assert members["d/file"].pax_headers["SCHILY.xattr.user.k"] == "v"
    assert members["d/hard"].linkname == "d/file" and members["d/hard"].islnk()
    assert members["lower"].islnk() and members["lower"].linkname == "base"
    assert list(members)[:4] == ["lower", "moved", "was/a/file", "was/a/file/lower"], "before what they are links to is gone"
    (tmp_path / "unpacked").mkdir()
    assert umoci_tree(tmp_path / "1.tar", tmp_path / "unpacked", "docker-archive")
    assert members["link"].linkname == "l" * 200
    assert (members["disk"].devmajor, members["disk"].devminor) == (259, 70000)
    assert members["d"].mode == 0o1777
    assert {"d/.wh..wh..opq", "gone/.wh.this", "null", "pipe"} <= set(members)


def hostile(image):
    """name: (archive, what the error says)"""
    good = docker_archive({"x:1": image})
    config = digest(image.raw_config)[7:] + ".json"
    layer = f"{digest(image.tars[0])[7:]}/layer.tar"
    one = Image([image.tars[0]])
    one_config = digest(one.raw_config)[7:] + ".json"

    def toc(members, **change):
        entry = {"Config": one_config, "RepoTags": ["x:1"], "Layers": [layer], **change}
        return tar({layer: image.tars[0], one_config: one.raw_config, "manifest.json": dump([entry]), **members})
    return {
        "empty": (b"", "manifest.json or oci-layout"),
        "zeros": (bytes(10240), "manifest.json or oci-layout"),
        "garbage": (noise(5000), "archive"),
        "compressed, cut": (gzip.compress(good)[:-9], "ends too early"),
        "compressed, wrong": (gzip.compress(good)[:-8] + bytes(8), "checksum"),
        "compressed twice": (gzip.compress(gzip.compress(good)), "archive"),
        "xz": (lzma.compress(good), "compressed with xz"),
        "bzip2": (bz2.compress(good), "compressed with bzip2"),
        "cut": (good[:len(good) // 2], "archive"),
        "neither": (tar({"x": b"y"}), "manifest.json or oci-layout"),
        "not json": (tar({"manifest.json": b"{"}), "manifest.json"),
        "not a list": (tar({"manifest.json": b"{}"}), "manifest.json"),
        "no images": (tar({"manifest.json": b"[]"}), "0 images"),
        "no config": (toc({}, Config="absent.json"), "absent.json"),
        "config outside": (toc({}, Config="../../etc/passwd"), "passwd"),
        "no layer": (toc({}, Layers=["absent"]), "absent"),
        "layer is no tar": (toc({"l": b"hello"}, Layers=["l"]), "'l'"),
        "config is a layer": (toc({}, Config=layer), "no document"),
        "layer count": (toc({}, Layers=[layer, layer]), "layer count mismatch"),
        "no layers": (toc({}, Layers=[]), "layer count mismatch"),
        "bad tag": (toc({}, RepoTags=["A B"]), "invalid image reference"),
        "other content": (toc({layer: tar({"evil": b"!"})}), "content"),
        "false name": (toc({"blobs/sha256/" + "0" * 64: image.tars[0]}, Layers=["blobs/sha256/" + "0" * 64]), "digest"),
        "layer escapes": (tar({"e.tar": tar({"../x": b"y"}), "c.json": dump({"rootfs": {"diff_ids": [
            digest(tar({"../x": b"y"}))]}}), "manifest.json": dump([{"Config": "c.json", "RepoTags": ["x:1"],
                                                                     "Layers": ["e.tar"]}])}), "e.tar"),
        "oci without index": (tar({"oci-layout": b"{}"}), "index.json"),
        "oci lies": (tar({"oci-layout": b"{}", "index.json": images.index(
            {"mediaType": images.OCI + "manifest.v1+json", "size": 3, "digest": digest(b"abc")}),
            "blobs/sha256/" + digest(b"abc")[7:]: b"abd"}), "digest"),
        "oci nothing for us": (tar({"oci-layout": b"{}", "index.json": images.index()}), "no image for linux"),
        "oci loop": (oci_loop(), "nested"),
    }


def link_to_nothing():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = tarfile.LNKTYPE, "absent"
        archive.addfile(info)
    return out.getvalue()


LINK_TO_NOTHING = link_to_nothing()


def oci_loop():
    inner, members = images.index(), {"oci-layout": b"{}"}
    for _ in range(40):
        members["blobs/sha256/" + digest(inner)[7:]] = inner
        inner = images.index({"mediaType": images.OCI + "index.v1+json", "size": len(inner), "digest": digest(inner)})
    return tar({**members, "index.json": inner})


@pytest.mark.parametrize("name", list(hostile(Image([tar({"a": b"a"})]))))
def test_hostile(tool, image, name):
    archive, says = hostile(image)[name]
    line = tool.run("load", "-", input=archive, text=False).error()
    assert says in line
    assert not [f for f in tool.files() if f.endswith(".json") or f.startswith("tmp/")]


@pytest.mark.parametrize("second", ["content", "name", "link"])
def test_all_or_nothing(tool, image, second):
    """What is wrong with the last image of an archive keeps the others from taking names, which may mean something already."""
    before = tool.run("load", "-", input=docker_archive({"x:1": Image([tar({"old": b"o"})])}), text=False).ok()["digest"]
    names = {f for f in tool.files() if f.endswith(".json")}
    bad = Image([tar({"b": b"b"}), LINK_TO_NOTHING if second == "link" else tar({"c": b"c"})])
    if second == "content":
        bad.config["rootfs"]["diff_ids"][1] = digest(b"other")
        bad.seal()
    archive = docker_archive({"x:1": image, "A B" if second == "name" else "y:1": bad})
    line = tool.run("load", "-", input=archive, text=False).error()
    assert {"content": "has the content", "name": "invalid image reference", "link": "hard link"}[second] in line
    assert {f for f in tool.files() if f.endswith(".json")} == names
    assert tool.run("open", "x:1").ok()["digest"] == before


def test_many_images(tool):
    """Every layer of every image is open while it is not recorded, but no more often than once."""
    images = {f"x:{i}": Image([tar({f"{i}/{n}": b""}) for n in range(5)]) for i in range(20)}
    limit = functools.partial(resource.setrlimit, resource.RLIMIT_NOFILE, (170, 170))
    done = tool.run("load", "-", input=docker_archive(images), text=False, preexec_fn=limit)
    done.ok()
    assert len(done.images) == 20


@pytest.mark.parametrize("tool_name", ["gzip", "zstd"])
def test_compressed_as_a_whole(tool, image, tool_name):
    archive = docker_archive({"x:1": image})
    packed = subprocess.run([tool_name, "-c"], input=archive, capture_output=True, check=True, timeout=60).stdout
    plain = tool.run("load", "-", input=archive, text=False).ok()["digest"]
    assert tool.run("load", "-", input=packed, text=False).ok()["digest"] == plain
    # in members, as parallel packers do, and a byte at a time
    with subprocess.Popen(tool.command("load", "-"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=tool.env) as load:
        for at in range(0, 40):
            load.stdin.write(packed[at:at + 1])
            load.stdin.flush()
        load.stdin.write(packed[40:])
        out, _ = load.communicate(timeout=60)
    assert load.returncode == 0 and json.loads(out)["digest"] == plain


def test_platforms_of_a_layout(tool, tmp_path):
    layout = write_layout(tmp_path / "oci", {"a": Image([tar({"a": b"a"})], architecture="arm64"),
                                             "b": Image([tar({"b": b"b"})], architecture="s390x")}, top="all")
    line = tool.run("load", layout).error()
    assert line == "error: the archive has no image for linux/amd64; it has linux/arm64, linux/s390x"


def test_duplicate_member(tool, image):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for _ in range(2):
            info = tarfile.TarInfo("manifest.json")
            info.size = 2
            archive.addfile(info, io.BytesIO(b"[]"))
    assert "two members" in tool.run("load", "-", input=out.getvalue(), text=False).error()


def test_links_between_layers(tool, image):
    """Old docker: a layer that occurs again is a symbolic link."""
    layer = tar({"a": b"a"})
    double = Image([layer, layer])
    out = io.BytesIO()
    config = dump(double.config)
    with tarfile.open(fileobj=out, mode="w") as archive:
        def add(name, data=b"", link=None):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            if link:
                info.type, info.linkname = tarfile.SYMTYPE, link
            archive.addfile(info, io.BytesIO(data))
        add("one/layer.tar", layer)
        add("two/layer.tar", link="../one/layer.tar")
        add("c.json", config)
        add("manifest.json", dump([{"Config": "c.json", "RepoTags": ["x:1"],
                                    "Layers": ["one/layer.tar", "two/layer.tar"]}]))
    assert len(tool.run("load", "-", input=out.getvalue(), text=False).ok()["layers"]) == 2
