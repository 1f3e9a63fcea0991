"""The function's handler is the command to run."""

from __future__ import annotations

from pathlib import Path

from constellation.comet.runtimes.program import program
from constellation.nova.domain.runtimes import CUSTOM

RUNTIME = program(CUSTOM, Path(__file__).parent)
