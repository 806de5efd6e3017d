# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests of image/: image-tool, a cache, registries.

Environment:
  IMAGE_TOOL     the program under test (default: out/asan/tests/image/image-tool of this checkout)
  MSB_MUST_WORK  set in CI: nothing may be skipped
"""
import json
import os
import pathlib
import shutil
import subprocess

import pytest

import servers

SOURCE = pathlib.Path(__file__).resolve().parents[2]
NEEDED = ["docker-registry", "skopeo", "openssl", "htpasswd", "umoci"]


class Result:
    def __init__(self, done):
        self.code = done.returncode
        self.err = done.stderr if isinstance(done.stderr, str) else done.stderr.decode()
        self.images = [json.loads(line) for line in done.stdout.splitlines()]
        self.image = self.images[0] if self.images else None

    def ok(self):
        assert self.code == 0, self.err
        return self.image

    def error(self):
        """The one line that a failure is."""
        assert self.code == 1, f"exit code {self.code}: {self.err}"
        lines = [line for line in self.err.splitlines() if not line.startswith("event ")]
        assert len(lines) == 1 and lines[0].startswith("error: "), self.err
        assert "/tmp/" not in lines[0]
        return lines[0]


class Tool:
    def __init__(self, binary, cache, env):
        self.binary, self.cache, self.env = binary, cache, env

    def command(self, *args):
        return [self.binary, str(self.cache), *map(str, args)]

    def run(self, *args, timeout=60, **more):
        return Result(subprocess.run(self.command(*args), capture_output=True, env=self.env, timeout=timeout,
                                     check=False, **{"text": True, **more}))

    def pull(self, reference, *options, **more):
        return self.run("pull", "insecure=1", "retry=20", "events=1", *options, reference, **more)

    def files(self):
        """What is in the cache but for locks: {path: size}."""
        return {str(p.relative_to(self.cache)): p.stat().st_size for p in self.cache.rglob("*")
                if p.is_file() and p.suffix != ".lock"}

    def content(self):
        """Names and bytes of the artifacts."""
        return {p.name: p.read_bytes() for p in self.cache.rglob("*.erofs")}


def pytest_collection_modifyitems(items):
    missing = [name for name in NEEDED if not shutil.which(name)]
    if missing and not os.environ.get("MSB_MUST_WORK"):
        for item in items:
            item.add_marker(pytest.mark.skip(reason=f"not installed: {' '.join(missing)}"))


@pytest.fixture(scope="session")
def binary():
    path = os.environ.get("IMAGE_TOOL", str(SOURCE / "out/asan/tests/image/image-tool"))
    assert os.access(path, os.X_OK), f"no image-tool at {path}"
    return path


@pytest.fixture
def tool(binary, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "home").mkdir()
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home"),
           "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:exitcode=99",
           "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1:exitcode=99"}
    return Tool(binary, tmp_path / "cache", env)


@pytest.fixture
def fake():
    registry = servers.FakeRegistry()
    yield registry
    registry.stop()


@pytest.fixture(scope="session")
def plain_registry(tmp_path_factory):
    registry = servers.Registry(tmp_path_factory.mktemp("plain")).start()
    yield registry
    registry.stop()
