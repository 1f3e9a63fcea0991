from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from constellation.nova.domain.function import CapacityPolicy, Function
from constellation.nova.domain.version import MAX_COMPARED_BYTES, FileChange, FileState, file_changes, setting_changes

FUNCTION = Function(
    tenant="t",
    namespace="n",
    name="f",
    id=UUID(int=1),
    runtime="python",
    handler="main.handler",
    env={"A": "1", "B": "2"},
)


def test_settings_that_differ_are_named_with_both_values() -> None:
    other = replace(
        FUNCTION,
        memory_mb=256,
        env={"A": "1", "C": "3"},
        capacity=CapacityPolicy(max_inflight=7),
        halted=True,
        version=9,
        live_version=4,
    )
    found = [(each.field, each.before, each.after) for each in setting_changes(FUNCTION, other)]
    assert found == [
        ("capacity.max_inflight", 0, 7),
        ("env.B", "2", None),
        ("env.C", None, "3"),
        ("memory_mb", 128, 256),
    ]
    assert setting_changes(FUNCTION, FUNCTION) == ()


def test_files_that_differ_are_shown_line_by_line_where_that_is_possible() -> None:
    before = {"a.py": b"x = 1\ny = 2\n", "same": b"s", "gone": b"g\n", "data": b"\xff\x00"}
    after = {"a.py": b"x = 1\ny = 3\n", "same": b"s", "new": b"n\n", "data": b"\xff\x01"}
    changed, data, gone, new = file_changes(before, after)
    assert (changed.path, changed.state) == ("a.py", FileState.CHANGED)
    assert changed.diff == "--- a.py\n+++ a.py\n@@ -1,2 +1,2 @@\n x = 1\n-y = 2\n+y = 3"
    assert data == FileChange(path="data", state=FileState.CHANGED, diff=None)
    assert (gone.path, gone.state, new.path, new.state) == ("gone", FileState.REMOVED, "new", FileState.ADDED)
    assert "-g" in (gone.diff or "")
    (long,) = file_changes({"long": b""}, {"long": b"x" * (MAX_COMPARED_BYTES + 1)})
    assert long.diff is None
