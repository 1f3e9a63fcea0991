"""The function is an executable named bootstrap."""

from __future__ import annotations

from pathlib import Path

from constellation.comet.runtimes.program import program
from constellation.nova.domain.runtimes import PROVIDED

RUNTIME = program(PROVIDED, Path(__file__).parent)
