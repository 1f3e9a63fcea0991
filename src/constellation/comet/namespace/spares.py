"""Ready-made sandboxes: complete, in their namespaces and control groups, their workers waiting for `init`.

A spare has served nobody; `take_nowait` gives it to one function version of one tenant, for good. What is taken is made
anew at once, a few at a time, but not while a caller waits for a sandbox or for the first answer from it: both would
want the same cores, and the same locks of the kernel.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import structlog
from anyio.abc import TaskGroup

from constellation.base.errors import ConstellationError
from constellation.comet.namespace.memory import proportional_bytes
from constellation.comet.namespace.sandboxes import Sandbox
from constellation.comet.runtimes.recipe import Runtime, Start
from constellation.comet.runtimes.registry import Installed
from constellation.native.zygote import Spawned

_log = structlog.get_logger()

# Chosen: a function's usual burst (its `max_replicas` is 5 or so). One of Python costs 2 MiB, of a program 0.2 MiB
_READY = 6
_READY_DEAR = 2  # chosen: one of Node costs 43 MiB
_SHAPES = 3  # chosen: of one runtime; the least recently used makes room for the next
_AT_A_TIME = 2  # chosen: one a core of a small host; more only contend
_QUIET_S = 0.005  # chosen: what a taken sandbox needs to load a small function and answer
_PAUSE_S = 1.0  # chosen: after one that could not be made, or that did not live


def is_cheap(runtime: Runtime) -> bool:
    """Whether one that waits holds hardly more than its namespaces."""
    return runtime.start is Start.FORK or runtime.is_program


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What can not be changed once a sandbox is made; 0 for what can."""

    installed: Installed
    memory_mb: int = 0
    processes: int = 0
    is_wired: bool = False  # its instances have a network


class Spares:
    """The spares of one backend. `make` and `destroy` end with the backend's task group."""

    def __init__(
        self,
        tasks: TaskGroup,
        *,
        make: Callable[[Shape], Coroutine[Any, Any, Sandbox]],
        destroy: Callable[[Sandbox], Coroutine[Any, Any, None]],
    ) -> None:
        self._tasks, self._make, self._destroy = tasks, make, destroy
        self._ready: dict[Shape, deque[Sandbox]] = {}  # least recently used first
        self._making: dict[Shape, int] = {}
        self._leaving = 0  # sandboxes of shapes that are not kept any more, until they are gone
        self._cost_bytes: dict[Shape, int] = {}
        self._callers = 0
        self._refill_at: asyncio.TimerHandle | None = None
        self._budget_bytes = 0
        self._is_open = True

    @contextmanager
    def caller(self) -> Iterator[None]:
        """Nothing is refilled while a block is entered, and a moment after: somebody waits for what it makes."""
        self._callers += 1
        if self._refill_at is not None:
            self._refill_at.cancel()
            self._refill_at = None
        try:
            yield
        finally:
            self._callers -= 1
            if not self._callers and self._is_open:
                self._refill_at = asyncio.get_running_loop().call_later(_QUIET_S, self._after_callers)

    def take_nowait(self, shape: Shape) -> Sandbox | None:
        """Return a spare, which is the caller's from now on, or None; of a kept runtime, the shape is kept from now on."""
        if all(shape.installed is not kept.installed for kept in self._ready):
            return None
        ready = self._ready.pop(shape, None)
        if ready is None:
            of_runtime = [kept for kept in self._ready if kept.installed is shape.installed]
            if len(of_runtime) >= _SHAPES:
                self._drop(of_runtime[0])
        self._ready[shape] = ready if ready is not None else deque()
        while ready:
            sandbox = ready.popleft()
            if sandbox.is_alive:
                return sandbox
            self._tasks.start_soon(self._bury, sandbox)
        return None

    async def release(self, unwanted: Collection[Installed]) -> None:
        """Let go of the spares of these runtimes; when it returns none is left, so that their fork servers can end."""
        gone = [shape for shape in self._ready if shape.installed in unwanted]
        async with anyio.create_task_group() as tasks:
            for shape in gone:
                for sandbox in self._ready.pop(shape):
                    tasks.start_soon(self._destroy, sandbox)
        while any(shape.installed in unwanted for shape in self._making):  # noqa: ASYNC110 (bounded: a spawn is)
            await anyio.sleep(0.005)

    def keep(self, shapes: Collection[Shape], *, budget_bytes: int) -> None:
        """Hold spares of these shapes' runtimes, within a bound of memory."""
        self._budget_bytes = budget_bytes
        for shape in shapes:
            if all(kept.installed is not shape.installed for kept in self._ready):
                self._ready[shape] = deque()
        while self._held_bytes > budget_bytes and any(self._ready.values()):
            largest = max(self._ready, key=lambda each: len(self._ready[each]) * self._cost_bytes.get(each, 0))
            self._let_go(self._ready[largest].pop())
        self._refill()

    def exited_nowait(self, spawned: Spawned) -> None:
        """A process ended; if it is a spare's, the spare is taken away."""
        for ready in self._ready.values():
            for sandbox in ready:
                if sandbox.spawned is spawned:
                    ready.remove(sandbox)
                    self._tasks.start_soon(self._bury, sandbox)
                    return

    def end_wired(self) -> None:
        """End those whose network is lost; others take their places."""
        for ready in self._ready.values():
            for sandbox in ready:
                if sandbox.attachment is not None:
                    sandbox.spawned.kill_nowait()

    async def close(self) -> None:
        """Destroy every spare, and make none any more."""
        self._is_open = False
        if self._refill_at is not None:
            self._refill_at.cancel()
        left = [sandbox for ready in self._ready.values() for sandbox in ready]
        self._ready.clear()
        async with anyio.create_task_group() as tasks:
            for sandbox in left:
                tasks.start_soon(self._destroy, sandbox)

    async def settled(self) -> None:
        """Wait until as many are there as shall be, and no more. For tests and benches, which bound the wait."""
        while self._leaving or any(self._making.values()) or self._wanted() is not None:  # noqa: ASYNC110
            await anyio.sleep(0.005)

    @property
    def count(self) -> int:
        return sum(map(len, self._ready.values()))

    @property
    def _held_bytes(self) -> int:
        return sum(
            (len(ready) + self._making.get(shape, 0)) * self._cost_bytes.get(shape, 0)
            for shape, ready in self._ready.items()
        )

    def _drop(self, shape: Shape) -> None:
        for sandbox in self._ready.pop(shape):
            self._let_go(sandbox)

    def _let_go(self, sandbox: Sandbox) -> None:
        self._leaving += 1
        self._tasks.start_soon(self._leave, sandbox)

    async def _leave(self, sandbox: Sandbox) -> None:
        try:
            await self._destroy(sandbox)
        finally:
            self._leaving -= 1

    def _wanted(self) -> Shape | None:
        for shape, ready in reversed(self._ready.items()):
            # One of each shape at first: what it costs is not known before
            making, cost_bytes = self._making.get(shape, 0), self._cost_bytes.get(shape)
            most = 1 if cost_bytes is None else _READY if is_cheap(shape.installed.runtime) else _READY_DEAR
            if len(ready) + making < most and self._held_bytes + (cost_bytes or 1) <= self._budget_bytes:
                return shape
        return None

    def _after_callers(self) -> None:
        self._refill_at = None
        self._refill()

    def _refill(self) -> None:
        is_quiet = not self._callers and self._refill_at is None
        while self._is_open and is_quiet and sum(self._making.values()) < _AT_A_TIME:
            shape = self._wanted()
            if shape is None:
                return
            self._making[shape] = self._making.get(shape, 0) + 1
            self._tasks.start_soon(self._add, shape)

    async def _add(self, shape: Shape) -> None:
        sandbox: Sandbox | None = None
        try:
            sandbox = await self._make(shape)
            if shape not in self._cost_bytes:
                self._cost_bytes[shape] = await anyio.to_thread.run_sync(proportional_bytes, sandbox.spawned.pid)
            if self._is_open and shape in self._ready and sandbox.spawned.status is None:
                self._ready[shape].append(sandbox)
                sandbox = None
        except ConstellationError as error:  # the next instance is made for its caller, who hears of it
            _log.warning("spare.failed", runtime=shape.installed.runtime.id, error=str(error))
            await anyio.sleep(_PAUSE_S)
        finally:
            if sandbox is not None:
                await self._destroy(sandbox)
            self._making[shape] -= 1
            if not self._making[shape]:
                del self._making[shape]
        self._refill()

    async def _bury(self, sandbox: Sandbox) -> None:
        _log.warning("spare.died", pid=sandbox.spawned.pid, status=str(sandbox.spawned.status))
        await self._destroy(sandbox)
        await anyio.sleep(_PAUSE_S)
        self._refill()
