"""The short form of `make simulate`."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # ten programs are compiled: on a busy machine, minutes
NATIVE = Path(__file__).parents[2] / "native"


def _make(*words: str) -> str:
    done = subprocess.run(["make", "-C", str(NATIVE), *words], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_histories_keep_every_invariant_and_meet_every_state_with_every_event() -> None:
    told = _make("simulate", "SEEDS=8000", "EVENTS=200", "JOBS=1")
    assert "8000 seeds of 200 events from 1: clean; 0 pairs of state and event not met" in told


def test_planted_bugs_are_found() -> None:
    told = _make("plants")
    assert told.count("found: ") == 10
    assert "NOT FOUND" not in told
