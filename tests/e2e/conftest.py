# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the end-to-end tests: the msb binary, root file systems, and a runner with hard deadlines.

Environment:
  MSB                  the binary (default: out/release/cli/msb of this checkout)
  MSB_TEST_ENGINE      qemu (default) or kvm
  MSB_TEST_PATIENCE    factor for every deadline (default: 1; 4 with kvm, which runs inside an emulated machine)
  MSB_TEST_DISPOSABLE  set where nothing written survives: the big root is then used in place, not copied
  MSB_MUST_WORK        set in CI: a skip is a failure unless its reason starts with "impossible here: "
"""
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from sandbox import Msb

SOURCE = pathlib.Path(__file__).resolve().parents[2]
sys.path += [str(SOURCE / "tests/common"), str(SOURCE / "tests/image")]
CACHE = pathlib.Path(os.environ.get("MSB_CACHE", SOURCE / ".cache"))
ENGINE = os.environ.get("MSB_TEST_ENGINE", "qemu")


def pytest_configure(config):
    config.addinivalue_line("markers", "lab: of those, what is quick enough for every run in the lab")
    config.addinivalue_line("markers", "engine: what depends on the engine, or shows best that all of it works together")


def make_root(kind):
    made = subprocess.run([SOURCE / "scripts/make-rootfs", kind], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return pathlib.Path(made.stdout.strip())


def copy_tree(source, target):
    """cp, because shutil knows no devices, hard links or owners."""
    subprocess.run(["cp", "-a", "--reflink=auto", source, target], check=True)
    return target


@pytest.fixture(scope="session")
def engine():
    return ENGINE


@pytest.fixture(scope="session")
def msb(engine):
    binary = os.environ.get("MSB", str(SOURCE / "out/release/cli/msb"))
    assert os.access(binary, os.X_OK), f"no msb at {binary} (make build)"
    patience = float(os.environ.get("MSB_TEST_PATIENCE", 4 if engine == "kvm" else 1))
    return Msb(binary, engine, patience)


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """An environment with a home folder of its own, for images."""
    return {**os.environ, "MSB_HOME": str(tmp_path_factory.mktemp("home"))}


@pytest.fixture(scope="session")
def busybox(tmp_path_factory):
    """A small root for tests that leave it as it is."""
    return copy_tree(make_root("busybox"), tmp_path_factory.mktemp("root") / "busybox")


@pytest.fixture(scope="session")
def erofs(busybox, tmp_path_factory):
    """The small root as an EROFS image, made by mkfs.erofs."""
    image = tmp_path_factory.mktemp("image") / "busybox.raw"
    made = subprocess.run(["mkfs.erofs", image, busybox], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return image


@pytest.fixture
def own_root(tmp_path):
    """A small root for one test to change; removed after it."""
    root = copy_tree(make_root("busybox"), tmp_path / "root")
    yield root
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="session")
def debian(tmp_path_factory):
    """Debian 12 with apt, git, gcc; tests share it and keep to folders of their own."""
    root = make_root("debian")
    if os.environ.get("MSB_TEST_DISPOSABLE"):
        yield root
        return
    copy = copy_tree(root, tmp_path_factory.mktemp("root") / "debian")
    yield copy
    shutil.rmtree(copy, ignore_errors=True)


@pytest.fixture(autouse=True)
def nothing_left(msb):
    """Whatever a test started is gone after it, passed or failed; a process that outlived its msb is a failure."""
    yield
    left = msb.reap()
    assert not left, f"processes outlived their msb: {left}"
