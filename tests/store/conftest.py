# SPDX-License-Identifier: Apache-2.0
"""What the tests of msb's store share: a home folder of their own, the binary, small archives."""
import contextlib
import hashlib
import http.server
import io
import json
import os
import pathlib
import sqlite3
import subprocess
import sys
import tarfile
import threading

import pytest

SRC = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(SRC / "tests/common"))
MSB = pathlib.Path(os.environ.get("MSB", SRC / "out/release/cli/msb"))
DEADLINE = 120


class Home:
    """A home folder and msb in it."""

    def __init__(self, path):
        self.path = path
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("MSB_")}
        self.env.update(MSB_HOME=str(path), TZ="UTC", LC_ALL="C.UTF-8")

    def run(self, *args, **kwargs):
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        kwargs.setdefault("env", self.env)
        return subprocess.run([str(MSB), *map(str, args)], capture_output=True, text=True, timeout=DEADLINE,
                              check=False, **kwargs)

    def ok(self, *args, **kwargs):
        done = self.run(*args, **kwargs)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, *args):
        return json.loads(self.ok(*args, "--format", "json"))

    def start(self, *args, **kwargs):
        return subprocess.Popen([str(MSB), *map(str, args)], env=self.env, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs)

    def catalogue(self):
        return sqlite3.connect(self.path / "db/msb.db")


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


def layer(files):
    """A tar of regular files, {name: bytes}."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o644
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def archive(path, tags, *layers):
    """An archive as `docker save` writes it."""
    def sha(data):
        return hashlib.sha256(data).hexdigest()

    config = json.dumps({
        "architecture": "amd64", "os": "linux",
        "config": {"Env": ["PATH=/bin", "A=b"], "Cmd": ["/bin/sh"], "WorkingDir": "/w", "User": "1000",
                   "Labels": {"k": "v"}, "StopSignal": "SIGTERM"},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + sha(data) for data in layers]},
    }).encode()
    members = {sha(config) + ".json": config}
    members.update({sha(data) + "/layer.tar": data for data in layers})
    members["manifest.json"] = json.dumps([{
        "Config": sha(config) + ".json", "RepoTags": tags,
        "Layers": [sha(data) + "/layer.tar" for data in layers]}]).encode()
    path.write_bytes(layer(members))
    return path


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir())


def trust(home, host):
    home.path.mkdir(exist_ok=True)
    (home.path / "config.json").write_text(json.dumps({"registries": {"hosts": {host: {"insecure": True}}}}))


@contextlib.contextmanager
def images(home, *layers):
    """A registry on loopback that has one image under every name, of one small layer if none is given."""
    documents = {}

    def add(data, media_type):
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        documents[digest] = (data, media_type)
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    oci = "application/vnd.oci.image."
    tars = [add(data, oci + "layer.v1.tar") for data in layers or [layer({"f": b"x"})]]
    config = json.dumps({"architecture": "amd64", "os": "linux",
                         "rootfs": {"type": "layers", "diff_ids": [tar["digest"] for tar in tars]}}).encode()
    manifest = json.dumps({"schemaVersion": 2, "mediaType": oci + "manifest.v1+json",
                           "config": add(config, oci + "config.v1+json"), "layers": tars}).encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            data, media_type = documents.get(self.path.rsplit("/", 1)[1], (manifest, oci + "manifest.v1+json"))
            self.send_response(200)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        host = f"127.0.0.1:{server.server_port}"
        trust(home, host)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield host
        finally:
            server.shutdown()
            thread.join()
