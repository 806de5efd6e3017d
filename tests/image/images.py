# SPDX-License-Identifier: Apache-2.0
"""Small images made from nothing: tars, blobs, manifests, OCI layouts."""
import gzip
import hashlib
import io
import json
import random
import tarfile

OCI = "application/vnd.oci.image."
DOCKER = "application/vnd.docker.distribution.manifest."


def digest(data, algorithm="sha256"):
    return f"{algorithm}:" + hashlib.new(algorithm, data).hexdigest()


def dump(document):
    return json.dumps(document, separators=(",", ":")).encode()


def tar(files):
    """A layer: {path: bytes}; a path that ends with "/" is a folder."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, data in files.items():
            info = tarfile.TarInfo(path.rstrip("/"))
            if path.endswith("/"):
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(info)
            else:
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def noise(size, seed=0):
    return random.Random(seed).randbytes(size)


class Image:
    """The documents and blobs of one image; change them, then call seal()."""

    def __init__(self, layers, architecture="amd64", algorithm="sha256", compress=gzip.compress, documents="sha256", **config):
        self.algorithm, self.documents = algorithm, documents
        self.tars = layers
        self.layers = [compress(t) for t in layers]
        self.config = {"architecture": architecture, "os": "linux", "config": config,
                       "rootfs": {"type": "layers", "diff_ids": [digest(t) for t in layers]}}
        self.manifest = {"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json"}
        suffix = "+gzip" if compress is gzip.compress else ""
        self.manifest["layers"] = [{"mediaType": OCI + "layer.v1.tar" + suffix, "size": len(b),
                                    "digest": digest(b, algorithm)} for b in self.layers]
        self.seal()

    def seal(self):
        self.raw_config = dump(self.config)
        self.manifest["config"] = {"mediaType": OCI + "config.v1+json", "size": len(self.raw_config),
                                   "digest": digest(self.raw_config, self.documents)}
        self.raw = dump(self.manifest)
        self.digest = digest(self.raw, self.documents)
        return self

    def blobs(self):
        found = {digest(b, self.algorithm): b for b in self.layers}
        found[digest(self.raw_config, self.documents)] = self.raw_config
        return found

    def entry(self, **more):
        return {"mediaType": self.manifest["mediaType"], "size": len(self.raw), "digest": self.digest, **more}


def index(*entries):
    return dump({"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": list(entries)})


def platform(architecture, **more):
    return {"platform": {"os": "linux", "architecture": architecture, **more}}


def write_layout(folder, images, top=None):
    """An OCI layout folder; images: {name: Image}."""
    def blob(data, algorithm="sha256"):
        name = digest(data, algorithm).split(":")[1]
        place = folder / "blobs" / algorithm
        place.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    entries = []
    for name, image in images.items():
        for data in [image.raw, image.raw_config]:
            blob(data, image.documents)
        for data in image.layers:
            blob(data, image.algorithm)
        entries.append(image.entry(**platform(image.config["architecture"]),
                                   annotations={"org.opencontainers.image.ref.name": name}))
    if top:
        nested = index(*[{k: v for k, v in e.items() if k != "annotations"} for e in entries])
        blob(nested)
        entries = [{"mediaType": OCI + "index.v1+json", "size": len(nested), "digest": digest(nested),
                    "annotations": {"org.opencontainers.image.ref.name": top}}]
    (folder / "index.json").write_bytes(index(*entries))
    return folder


def docker_archive(images, order="last"):
    """What `docker save` writes; images: {tag or None: Image}."""
    members, toc = {}, []
    for tag, image in images.items():
        names = [f"{digest(t)[7:]}/layer.tar" for t in image.tars]
        members.update(zip(names, image.tars))
        config = digest(image.raw_config)[7:] + ".json"
        members[config] = image.raw_config
        toc.append({"Config": config, "RepoTags": [tag] if tag else None, "Layers": names})
    toc = {"manifest.json": dump(toc)}
    return tar({**toc, **members} if order == "first" else {**members, **toc})
