"""One run of a durable execution: the right to write on its record, and how far this run has come along it."""

from __future__ import annotations

from dataclasses import dataclass

from constellation.base.errors import ConstellationError
from constellation.nova.domain.execution import Run


@dataclass(slots=True, eq=False)
class Turn:
    """Kept by the executor for the length of one run; the steps that the function takes move it on."""

    run: Run
    next_seq: int = 0
    recorded: int | None = None  # steps on record when this run began; None: it has taken none yet
    open_seq: int | None = None  # of the step whose function is running
    open_name: str = ""
    opened_s: float = 0.0
    is_busy: bool = False  # a step is being looked up or written
    is_suspended: bool = False  # it waits: whatever the handler does now, the run is over
    failure: ConstellationError | None = None  # what the run ends with, whatever the handler makes of it
