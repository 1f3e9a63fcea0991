from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from constellation.nova.domain.sandbox import FROM, IDLE, SUSPENDED, Due, OnIdle, Sandbox, SandboxState, due

NOW = datetime(2030, 1, 1, tzinfo=UTC)
BOX = Sandbox(
    tenant="t", namespace="n", id=UUID(int=1), template="python", state=SandboxState.RUNNING, reason="", memory_mb=64,
    cpu_millis=1000, disk_mb=64, processes=64, idle_timeout_s=60.0, on_idle=OnIdle.PAUSE, env={}, ports=(),
    forked_from=None, node="a", generation=1, created_at=NOW, used_at=NOW, expires_at=NOW + timedelta(hours=1),
    ended_at=None,
)  # fmt: skip
MINUTE = timedelta(seconds=60)


@pytest.mark.parametrize(
    ("change", "now", "is_busy", "expected"),
    [
        ({}, NOW + MINUTE - timedelta(microseconds=1), False, (Due.NOTHING, "")),
        ({}, NOW + MINUTE, False, (Due.PAUSE, IDLE)),
        ({}, NOW + MINUTE, True, (Due.NOTHING, "")),
        ({"on_idle": OnIdle.REMOVE}, NOW + MINUTE, False, (Due.REMOVE, "nobody used it")),
        ({"idle_timeout_s": 0.0}, NOW + 30 * MINUTE, False, (Due.NOTHING, "")),
        ({"state": SandboxState.PAUSED}, NOW + MINUTE, False, (Due.NOTHING, "")),
        ({"state": SandboxState.PAUSED}, NOW + 60 * MINUTE, False, (Due.REMOVE, "its time was over")),
        ({}, NOW + 60 * MINUTE, True, (Due.REMOVE, "its time was over")),
        ({"state": SandboxState.CREATING}, NOW + 60 * MINUTE, False, (Due.NOTHING, "")),
        ({"state": SandboxState.ENDING}, NOW + 60 * MINUTE, False, (Due.NOTHING, "")),
    ],
)
def test_time_asks_for_what_was_agreed(change, now, is_busy, expected):
    assert due(replace(BOX, **change), now=now, used_at=NOW, is_busy=is_busy) == expected


@pytest.mark.parametrize(
    ("change", "now", "is_suspended", "expected"),
    [
        ({}, NOW, True, (Due.PAUSE, SUSPENDED)),
        ({"on_idle": OnIdle.REMOVE}, NOW + MINUTE, True, (Due.PAUSE, SUSPENDED)),
        ({"state": SandboxState.PAUSED, "reason": SUSPENDED}, NOW, True, (Due.NOTHING, "")),
        ({"state": SandboxState.PAUSED, "reason": SUSPENDED}, NOW + MINUTE, False, (Due.RESUME, "")),
        ({"state": SandboxState.PAUSED, "reason": ""}, NOW, False, (Due.NOTHING, "")),  # a person paused it
        ({"state": SandboxState.PAUSED, "reason": ""}, NOW, True, (Due.NOTHING, "")),
        (
            {"state": SandboxState.PAUSED, "reason": SUSPENDED},
            NOW + 60 * MINUTE,
            True,
            (Due.REMOVE, "its time was over"),
        ),
        ({"state": SandboxState.CREATING}, NOW, True, (Due.NOTHING, "")),
    ],
)
def test_a_sandbox_stands_still_while_its_tenant_is_suspended(change, now, is_suspended, expected):
    for is_busy in (False, True):
        box = replace(BOX, **change)
        assert due(box, now=now, used_at=NOW, is_busy=is_busy, is_suspended=is_suspended) == expected


def test_only_a_pause_for_being_idle_ends_by_itself():
    paused = replace(BOX, state=SandboxState.PAUSED)
    assert not paused.is_waking
    assert replace(paused, reason=IDLE).is_waking
    assert not replace(paused, reason=SUSPENDED).is_waking
    assert not replace(BOX, reason=IDLE).is_waking


def test_nothing_comes_back_from_its_end():
    for sources in FROM.values():
        assert SandboxState.ENDED not in sources
    assert SandboxState.ENDING not in FROM[SandboxState.RUNNING] + FROM[SandboxState.PAUSED]
