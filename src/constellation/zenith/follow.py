"""Follows nova's numbered stream of changes, and knows for how long it has been cut off from it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Protocol

import anyio
import structlog
from anyio.abc import TaskStatus

from constellation.base.backoff import backoff_s
from constellation.base.clock import Clock
from constellation.base.errors import Unavailable
from constellation.zenith.control import ChangeLine, ControlPlane

log = structlog.get_logger()

_SILENCE_S = 12.0  # nova pings every 5 s: two missed and some
_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 2.0


class Cache(Protocol):
    """What must forget when something changes."""

    def forget(self, change: ChangeLine) -> None: ...

    def forget_everything(self) -> None: ...


class Freshness(Protocol):
    def check(self) -> None:
        """Raise `Unavailable` when what is cached may no longer be believed."""
        ...


class ChangeFollower:
    """Keeps caches honest. `check` is the rule of how long they may be believed without nova."""

    def __init__(
        self,
        *,
        control: ControlPlane,
        caches: Sequence[Cache],
        clock: Clock,
        cache_ttl_s: float,
        on_word: Callable[[float], None] | None = None,
    ) -> None:
        self._on_word = on_word  # told until when the cache may be believed
        self._control, self._caches, self._clock, self._cache_ttl_s = control, tuple(caches), clock, cache_ttl_s
        self.heard = anyio.Event()  # set by nova's first word
        self._heard_at_s: float | None = None
        self._seq: int | None = None

    def check(self) -> None:
        """Raise `Unavailable` when what is cached may no longer be believed."""
        if self._heard_at_s is None:
            raise Unavailable("nova", reason="the gateway has not reached it yet")
        silent_s = self._clock.monotonic_s() - self._heard_at_s
        if silent_s > self._cache_ttl_s:
            raise Unavailable("nova", reason=f"the gateway has been cut off from it for {silent_s:.0f} s")

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Follow until cancelled; reconnects with back-off, resuming after the last number seen."""
        task_status.started()
        failed = 0
        while True:
            seen = self._seq
            try:
                async with self._control.changes(after=self._seq, silence_s=_SILENCE_S) as lines:
                    async for line in lines:
                        failed = 0
                        self._take(line)
                reason = "it ended the stream"
            except Unavailable as error:
                reason = str(error)
            failed += 1
            if failed == 1 or failed % 30 == 0:
                log.warning("changes.cut_off", reason=reason, seq=seen, attempts=failed)
            await anyio.sleep(
                backoff_s(failed, base_s=_FIRST_WAIT_S, cap_s=_LONGEST_WAIT_S, jitter=random.random())  # noqa: S311  # spreads retries
            )

    def _take(self, line: ChangeLine) -> None:
        if line.kind == "hello":
            log.info("changes.followed", seq=line.seq, after=self._seq)
            if self._seq is None or line.seq < self._seq:
                # Ours is the first word, or the numbers began anew: nothing cached can be trusted to be current.
                for cache in self._caches:
                    cache.forget_everything()
                self._seq = line.seq
        elif line.kind != "ping":
            for cache in self._caches:
                cache.forget(line)
            self._seq = line.seq
        self._heard_at_s = self._clock.monotonic_s()
        if self._on_word is not None:
            self._on_word(self._heard_at_s + self._cache_ttl_s)
        self.heard.set()


class Believed:
    """Whether all that is cached may be believed."""

    def __init__(self, *parts: Freshness) -> None:
        self._parts = parts

    def check(self) -> None:
        for part in self._parts:
            part.check()
