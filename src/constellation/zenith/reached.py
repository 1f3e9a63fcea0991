"""How functions are reached by their URLs: asked of nova once, then known until something changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import anyio

from constellation.base.clock import Clock
from constellation.base.errors import Overloaded
from constellation.zenith.control import ChangeLine, ReachedFunction

Key = tuple[str, str, str]  # tenant, namespace, name

_CAPACITY = 10_000  # chosen: functions in use by their URLs on one gateway; an entry is about 1 KiB
_ABSENT_CAPACITY = 10_000
_ABSENT_TTL_S = 5.0  # chosen: spares nova whoever tries names; a new function never waits (change stream)
_QUESTIONS_AT_ONCE = 16
_QUESTION_WAIT_S = 5.0


class Directory(Protocol):
    """Where that is looked up: nova."""

    async def function_url(self, tenant: str, namespace: str, name: str) -> ReachedFunction | None: ...


@dataclass(slots=True)
class _Asking:
    """Those who want the same answer: one asks, the others wait."""

    lock: anyio.Lock = field(default_factory=anyio.Lock)
    users: int = 0


class ReachedFunctions:
    """The cache; `ChangeFollower` tells it what is no longer true, and how long it may be believed."""

    def __init__(self, *, directory: Directory, clock: Clock) -> None:
        self._directory, self._clock = directory, clock
        self._known: dict[Key, ReachedFunction] = {}
        self._absent: dict[Key, float] = {}  # until when
        self._asking: dict[Key, _Asking] = {}
        self._questions = anyio.CapacityLimiter(_QUESTIONS_AT_ONCE)
        self._generation = 0  # answers that were asked for in an older one are not kept

    async def find(self, key: Key) -> ReachedFunction | None:
        """Return how a function is reached, None when there is none.

        Raises:
            Unavailable: nova is needed for this and can not be reached.
            Overloaded: too many ask nova.
        """
        known = self._known.get(key)
        if known is not None or self._is_absent(key):
            return known
        asking = self._asking.setdefault(key, _Asking())
        asking.users += 1
        try:
            with anyio.move_on_after(2 * _QUESTION_WAIT_S):
                async with asking.lock:
                    known = self._known.get(key)
                    if known is not None or self._is_absent(key):
                        return known
                    return await self._ask(key)
            raise Overloaded("questions to nova", limit=_QUESTIONS_AT_ONCE)
        finally:
            asking.users -= 1
            if asking.users == 0:
                del self._asking[key]

    def forget(self, change: ChangeLine) -> None:
        """Drop what a change may have made untrue."""
        if change.kind == "function":
            self._generation += 1
            key = (change.tenant, change.namespace, change.name)
            self._known.pop(key, None)
            self._absent.pop(key, None)
        elif change.kind == "tenant":
            self._generation += 1
            self._known = {key: known for key, known in self._known.items() if key[0] != change.tenant}
            self._absent = {key: until_s for key, until_s in self._absent.items() if key[0] != change.tenant}

    def forget_everything(self) -> None:
        self._generation += 1
        self._known.clear()
        self._absent.clear()

    def _is_absent(self, key: Key) -> bool:
        return self._absent.get(key, 0.0) > self._clock.monotonic_s()

    async def _ask(self, key: Key) -> ReachedFunction | None:
        generation = self._generation
        async with self._questions:
            found = await self._directory.function_url(*key)
        if generation != self._generation:
            return found
        if found is not None:
            while len(self._known) >= _CAPACITY:
                del self._known[next(iter(self._known))]
            self._known[key] = found
            return found
        while len(self._absent) >= _ABSENT_CAPACITY:
            del self._absent[next(iter(self._absent))]
        self._absent[key] = self._clock.monotonic_s() + _ABSENT_TTL_S
        return None
