"""Nurseries: sandboxes that have imported one function's packages, from which its instances are forked.

A nursery runs its tenant's code, so nothing that it says is believed further than it concerns that function: whose
process it gives us is asked of the kernel, and whether a process has ended too. It never holds anybody up: an instance
that can not be forked starts the ordinary way, and the reason is logged.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

import anyio
import structlog
from anyio.abc import TaskGroup

from constellation.base.errors import ConstellationError
from constellation.comet.namespace.memory import proportional_bytes
from constellation.comet.namespace.nursery import Nursery, Stock
from constellation.comet.namespace.sandboxes import Sandbox
from constellation.native.zygote import Spawned, Zygote

_log = structlog.get_logger()
_IDLE_S = 600.0  # chosen: without an instance alive or asked for
_LOOK_S = 30.0
_RETRY_S = 60.0  # chosen: until imports that failed are tried again; an update of the code is tried at once
_SPARES = 2  # chosen: of each, as of a runtime that is executed; a burst forks the rest as it comes
_QUIET_S = 0.02  # chosen: what an instance needs to load a function and answer; after that spares are made
_FAILED = 256  # chosen: failures that are remembered


def missing(limits: Mapping[str, str], *, is_root: bool) -> str:
    """Return what a host lacks for nurseries, "" when nothing.

    Those who share a host uid need a control group each to be told apart by.
    """
    groups = [name for name in ("memory", "pids") if not limits.get(name, "").startswith("cgroup")]
    lacks = [] if is_root else ["root"]
    if groups:
        lacks.append(f"control groups for {' and '.join(groups)}")
    return f"it needs {' and '.join(lacks)}" if lacks else ""


class Nurseries:
    """The nurseries of one backend. `make` and `destroy` end with the backend's task group."""

    def __init__(
        self,
        tasks: TaskGroup,
        *,
        make: Callable[[Stock], Coroutine[Any, Any, Sandbox]],
        branch: Callable[[Nursery], Coroutine[Any, Any, Sandbox]],
        destroy: Callable[[Sandbox], Coroutine[Any, Any, None]],
        furnisher: Callable[[], Awaitable[Zygote]],
        on_exit: Callable[[Spawned], None],
    ) -> None:
        self._tasks, self._make, self._branch, self._destroy = tasks, make, branch, destroy
        self._furnisher, self._on_exit = furnisher, on_exit
        self._kept: dict[Stock, Nursery] = {}  # least recently used first; those that are not ready yet among them
        self._failed: dict[Stock, float] = {}  # until when it is not tried again
        self._budget_bytes = 0
        self._is_open = True

    def get_nowait(self, stock: Stock) -> Nursery | None:
        """Return the function's nursery if it is ready; else see to it that there will be one."""
        if anyio.current_time() < self._failed.get(stock, -math.inf):
            return None
        nursery = self._kept.pop(stock, None)
        if nursery is not None:
            self._kept[stock] = nursery
            nursery.used_at_s = anyio.current_time()
            return nursery if nursery.is_ready else None
        if self._is_open:
            for other in [other for other in self._kept if other.function_id == stock.function_id]:
                self._end_if_idle(other)
            self._shrink(below_bytes=self._budget_bytes)
            if self.held_bytes < self._budget_bytes:
                self._kept[stock] = nursery = Nursery(stock, furnisher=self._furnisher, on_exit=self._on_exit)
                self._tasks.start_soon(self._run, nursery)
            else:
                self._fail(stock, f"no room within {self._budget_bytes} bytes for templates")
        return None

    def take_nowait(self, nursery: Nursery) -> Sandbox | None:
        """Return a child that is ready, which is the caller's from now on, or None; another is made a moment later."""
        if not nursery.is_refilling:
            nursery.is_refilling = True
            self._tasks.start_soon(self._refill, nursery)
        while nursery.spares:
            sandbox = nursery.spares.popleft()
            if sandbox.is_alive:
                return sandbox
            self._tasks.start_soon(self._destroy, sandbox)
        return None

    def refuse_nowait(self, nursery: Nursery, reason: str) -> None:
        """Fork from it no more for a while: it gave no child, and may never; those that it has live on."""
        if not nursery.is_ended:
            self._fail(nursery.stock, reason)
            if self._kept.get(nursery.stock) is nursery:
                self._end_if_idle(nursery.stock)

    def keep(self, budget_bytes: int) -> int:
        """Hold nurseries within a bound of memory; return what they leave of it."""
        self._budget_bytes = budget_bytes
        self._shrink(below_bytes=budget_bytes + 1)
        return max(0, budget_bytes - self.held_bytes)

    async def run(self) -> None:
        """End those that nobody has used for a while, until cancelled."""
        while True:
            await anyio.sleep(_LOOK_S)
            before_s = anyio.current_time() - _IDLE_S
            for stock in [stock for stock, each in self._kept.items() if each.used_at_s < before_s]:
                self._end_if_idle(stock)

    async def settled(self) -> None:
        """Wait until each is ready or has failed. For tests and benches, which bound the wait."""
        while any(not each.is_ready or each.is_refilling for each in self._kept.values()):  # noqa: ASYNC110
            await anyio.sleep(0.005)

    async def close(self) -> None:
        """End every nursery, and with it what is left of its instances; make none any more."""
        self._is_open = False
        for nursery in self._kept.values():
            nursery.end_nowait()
        while self._kept:  # noqa: ASYNC110 (bounded: the backend's stop is)
            await anyio.sleep(0.002)

    @property
    def held_bytes(self) -> int:
        return sum(nursery.cost_bytes for nursery in self._kept.values())

    @property
    def ready(self) -> tuple[Nursery, ...]:
        return tuple(nursery for nursery in self._kept.values() if nursery.is_ready)

    def _shrink(self, *, below_bytes: int) -> None:
        for stock in list(self._kept):
            if self.held_bytes < below_bytes:
                return
            self._end_if_idle(stock)

    def _end_if_idle(self, stock: Stock) -> None:
        if self._kept[stock].is_idle:
            self._kept.pop(stock).end_nowait()

    def _fail(self, stock: Stock, reason: str) -> None:
        _log.warning(
            "nursery.failed", tenant=stock.tenant, function=str(stock.function_id), modules=stock.modules, reason=reason
        )
        self._failed.pop(stock, None)
        while len(self._failed) >= _FAILED:
            del self._failed[next(iter(self._failed))]
        self._failed[stock] = anyio.current_time() + _RETRY_S

    async def _refill(self, nursery: Nursery) -> None:
        try:
            await anyio.sleep(_QUIET_S)
            while nursery.is_ready and len(nursery.spares) < _SPARES:
                if self.held_bytes + (nursery.spare_bytes or 1) > self._budget_bytes:
                    return
                sandbox = await self._branch(nursery)
                if not nursery.spare_bytes:
                    pid = sandbox.spawned.pid
                    nursery.spare_bytes = await anyio.to_thread.run_sync(proportional_bytes, pid)
                if nursery.is_ready:
                    nursery.spares.append(sandbox)
                else:
                    await self._destroy(sandbox)
        except (ConstellationError, OSError) as error:  # the next instance is forked for its caller
            self.refuse_nowait(nursery, str(error))
        finally:
            nursery.is_refilling = False
            if self._is_open:  # while it made one, it could not be ended for want of room
                self._shrink(below_bytes=self._budget_bytes + 1)

    async def _run(self, nursery: Nursery) -> None:
        stock, sandbox = nursery.stock, None
        try:
            sandbox = await self._make(stock)
            await nursery.start(sandbox)
            nursery.own_bytes = await anyio.to_thread.run_sync(proportional_bytes, sandbox.spawned.pid)
            _log.info("nursery.ready", function=str(stock.function_id), modules=stock.modules, bytes=nursery.cost_bytes)
            nursery.is_ready = nursery.is_refilling = True
            self._tasks.start_soon(self._refill, nursery)
            self._shrink(below_bytes=self._budget_bytes + 1)
            await nursery.serve()
        except (ConstellationError, OSError) as error:
            self._fail(stock, str(error))
        finally:
            nursery.is_ready = False
            if sandbox is not None:
                await self._destroy(sandbox)
            nursery.bury_nowait()
            while nursery.spares:
                await self._destroy(nursery.spares.popleft())
            if self._kept.get(stock) is nursery:
                del self._kept[stock]
