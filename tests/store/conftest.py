# SPDX-License-Identifier: Apache-2.0
"""What the tests of msb's store share: a home folder of their own, the binary, small archives."""
import hashlib
import io
import json
import os
import pathlib
import sqlite3
import subprocess
import tarfile

import pytest

SRC = pathlib.Path(__file__).resolve().parents[2]
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
        return subprocess.run([str(MSB), *map(str, args)], env=self.env, capture_output=True, text=True,
                              timeout=DEADLINE, check=False, **kwargs)

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
