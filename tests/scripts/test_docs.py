# SPDX-License-Identifier: Apache-2.0
"""Documents that name tests: the tests are there."""
import pathlib
import re

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
TEXT = (SOURCE / "docs/networking-tests.md").read_text()
FILE = r"[\w/]+_(?:test|fuzz)\.c|(?:tests/\w+/)?test_\w+\.py"


def find(name):
    """The path of a test file; a Python file without a folder is one of tests/net."""
    return SOURCE / (name if "/" in name else f"tests/net/{name}")


def named():
    """(file, test) for each test a table names behind its file, and for `FILE TEST` in prose; (file, None) for the file."""
    for file, test in re.findall(rf"`({FILE}) (\w+)`", TEXT):
        yield file, test
    for line in TEXT.splitlines():
        file = None
        for match in re.finditer(rf"({FILE})|`(\w+)`", line.rpartition(" | ")[2] if line.startswith("|") else ""):
            file = match[1] or file
            yield file, match[2]


def defines(path, test):
    call = rf"\bcmocka_unit_test\w*\({test}\b" if path.suffix == ".c" else rf"^\s*def {test}\("
    return re.search(call, path.read_text(), re.MULTILINE)


@pytest.mark.parametrize("file,test", sorted(set(named()), key=str))
def test_network(file, test):
    assert file, f"no file is named in front of {test}"
    path = find(file)
    assert path.is_file(), f"there is no {path.relative_to(SOURCE)}"
    assert not test or defines(path, test), f"{file} has no test '{test}'"


def test_something_is_named():
    assert len(set(named())) > 100
