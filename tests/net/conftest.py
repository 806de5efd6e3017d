# SPDX-License-Identifier: Apache-2.0
"""The network stack without a guest: where it can run, and as many open files as it may have."""
import resource

import pytest

import world


def pytest_configure(config):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def pytest_collection_modifyitems(items):
    reason = world.why_not()
    if reason:
        for item in items:
            item.add_marker(pytest.mark.skip(reason="impossible here: " + reason))
