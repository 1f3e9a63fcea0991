"""Changes of a row that another change may overtake."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from constellation.base.errors import VersionConflict

T = TypeVar("T")
_ATTEMPTS = 5  # chosen: nobody is overtaken this often in a row but by a fault


async def until_written(change: Callable[[], Awaitable[T]]) -> T:
    """Run a change that reads its row anew each time, and again when another one overtook it.

    Raises:
        VersionConflict: it was overtaken in each of five attempts.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return await change()
        except VersionConflict:
            continue
    return await change()
