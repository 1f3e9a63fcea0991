from __future__ import annotations

import pytest

from constellation.comet.namespace.nurseries import missing

GROUPS = {"memory": "cgroup v2", "cpu": "none", "pids": "cgroup v1"}


@pytest.mark.parametrize(
    ("changes", "is_root", "says"),
    [
        ({}, True, ""),
        ({}, False, "it needs root"),
        ({"memory": "rlimit"}, True, "it needs control groups for memory"),
        ({"memory": "rlimit", "pids": "none"}, False, "it needs root and control groups for memory and pids"),
    ],
)
def test_what_a_host_lacks_is_named(changes, is_root, says):
    assert missing(GROUPS | changes, is_root=is_root) == says


def test_a_host_that_is_not_known_lacks_all():
    assert missing({}, is_root=True) == "it needs control groups for memory and pids"
