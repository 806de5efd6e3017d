# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the layer tests. They run as root: unpacking devices and mounting images needs it.

Environment:
  MSB_LAYERTOOL  the program under test (default: out/asan/tests/layers/layertool of this checkout)
"""
import os
import pathlib
import sys

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
sys.path += [str(SOURCE / "tests/common"), str(SOURCE / "tests/image")]

from judges import Tool  # noqa: E402 (needs the path)


@pytest.fixture(scope="session")
def tool():
    binary = os.environ.get("MSB_LAYERTOOL", str(SOURCE / "out/asan/tests/layers/layertool"))
    assert os.access(binary, os.X_OK), f"no layertool at {binary} (scripts/build asan)"
    assert os.geteuid() == 0, "these tests unpack and mount as root"
    return Tool(binary)
