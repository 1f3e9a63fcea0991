"""What the functions have of a runtime that are container images: ct-guest asks their server by HTTP."""

from __future__ import annotations

from pathlib import Path

from constellation.comet.backend.contract import RuntimeUnavailable
from constellation.comet.runtimes.recipe import Contained, Interpreter, Runtime, Start
from constellation.nova.domain.runtimes import IMAGE


def _nowhere(_: Path | None) -> Interpreter:
    raise RuntimeUnavailable(IMAGE.id, reason="an image runs in containers alone")


RUNTIME = Runtime(
    info=IMAGE,
    start=Start.EXEC,
    find=_nowhere,
    argv=lambda _: (),
    prefixes=lambda _: (),
    contained=Contained(argv=(), sources=()),
    hello=None,
)
