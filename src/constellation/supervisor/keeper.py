"""Keeps one plane alive: starts it, waits until it is ready, starts it again when it dies."""

from __future__ import annotations

import math
import random
import signal
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import suppress

import anyio
from anyio import to_thread
from anyio.abc import Process as AnyioProcess
from anyio.abc import TaskStatus

from constellation.base.backoff import backoff_s
from constellation.supervisor.errors import PlaneFailed
from constellation.supervisor.output import PlaneLog
from constellation.supervisor.plan import PlanePlan
from constellation.supervisor.record import PlaneRecord, Process, process_of

IsReady = Callable[[], Awaitable[bool]]

_READY_POLL_S = 0.05
_SETTLED_S = 10.0  # a plane that ran for so long did not die of its start: it is started again at once
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 15.0  # chosen: a plane that can not start (a full disk) is retried for ever, not in a frenzy
_ABANDONED_S = 5.0  # chosen: a start that is called off
_PIPE_BYTES = 64 << 10


class Keeper:
    """`on_change` is told after every change of the record; `is_ready` asks the plane's own health."""

    def __init__(
        self,
        plan: PlanePlan,
        *,
        log: PlaneLog,
        is_ready: IsReady,
        on_change: Callable[[], None],
        start_limit_s: float,
        stop_limit_s: float,
    ) -> None:
        self._plan, self.log, self._is_ready, self._on_change = plan, log, is_ready, on_change
        self._start_limit_s, self._stop_limit_s = start_limit_s, stop_limit_s
        self.record = PlaneRecord(name=plan.name, state="starting", address=plan.address, process=None)
        self._process: AnyioProcess | None = None
        self._returncode: int | None = None
        self._is_stopping = self._is_late = False

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep the plane running until `stop`; started means ready for the first time.

        Raises:
            PlaneFailed: it ended, or was not ready in time, before it was ready for the first time.
        """
        crashes, was_ready = 0, False
        try:
            while not self._is_stopping:
                began_s = anyio.current_time()
                is_ready = await self._run_once(None if was_ready else task_status)
                was_ready = was_ready or is_ready
                if self._is_stopping:
                    break
                if not was_ready:
                    raise self._failure(
                        f"was not ready within {self._start_limit_s:g} s"
                        if self._is_late
                        else f"ended with {self._ending()} before it was ready"
                    )
                crashes = 1 if anyio.current_time() - began_s >= _SETTLED_S else crashes + 1
                wait_s = self._wait_s(crashes)
                self._set("restarting", None)
                self.log.note(f"{self._plan.name} ended with {self._ending()}; starting it again in {wait_s:.1f} s")
                await anyio.sleep(wait_s)
        finally:
            self._set("stopped", None)

    async def stop(self, *, hurry: anyio.Event) -> None:
        """End the plane: SIGTERM, then SIGKILL after its time or as soon as there is `hurry`. Waits until it is gone."""
        self._is_stopping = True
        process = self._process
        if process is not None:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            with anyio.move_on_after(self._stop_limit_s):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_cancel_when, hurry, tasks.cancel_scope)
                    await process.wait()
                    tasks.cancel_scope.cancel()
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _run_once(self, task_status: TaskStatus[None] | None) -> bool:
        """Run one process to its end; return whether it became ready."""
        process = await anyio.open_process(
            self._plan.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(self._plan.env),
            start_new_session=True,  # the terminal's Ctrl-C is ours to pass on, in reverse order
        )
        self._process = process
        self._set("starting", process_of(process.pid))
        is_ready = False
        try:
            async with anyio.create_task_group() as tasks:

                async def announce() -> None:
                    nonlocal is_ready
                    limit_s = math.inf if task_status is None else self._start_limit_s
                    with anyio.move_on_after(limit_s) as late:
                        while not await self._is_ready():  # noqa: ASYNC110  # another process has no event of ours
                            await anyio.sleep(_READY_POLL_S)
                    if late.cancelled_caught:
                        self._is_late = True
                        process.kill()
                        return
                    is_ready = True
                    self._set("running", process_of(process.pid))
                    if task_status is not None:
                        task_status.started()

                tasks.start_soon(announce)
                tasks.start_soon(self._keep_output, process)
                await process.wait()
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await _end(process)
                await self._last_output(process)
                await process.aclose()
            self._process, self._returncode = None, process.returncode
        return is_ready

    async def _keep_output(self, process: AnyioProcess) -> None:
        assert process.stdout is not None
        with suppress(anyio.EndOfStream, anyio.ClosedResourceError):
            while True:
                chunk = await process.stdout.receive(_PIPE_BYTES)
                await to_thread.run_sync(self.log.write, chunk)

    async def _last_output(self, process: AnyioProcess) -> None:
        """Read what is left in the pipe; a child of the plane that holds it open may not hold us up."""
        with anyio.move_on_after(0.2):
            await self._keep_output(process)
        self.log.flush()

    def _set(self, state: str, process: Process | None) -> None:
        self.record.state, self.record.process = state, process
        self._on_change()

    def _wait_s(self, crashes: int) -> float:
        if crashes == 1:
            return 0.0
        return backoff_s(crashes - 1, base_s=_FIRST_WAIT_S, cap_s=_LONGEST_WAIT_S, jitter=random.random())  # noqa: S311  # spreads restarts

    def _ending(self) -> str:
        code = self._returncode
        if code is None:
            return "no status"
        if code >= 0:
            return f"status {code}"
        return signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"

    def _failure(self, reason: str) -> PlaneFailed:
        return PlaneFailed(self._plan.name, reason, said=list(self.log.last), log=self.log.path)


async def _end(process: AnyioProcess) -> None:
    """End a process that is in nobody's hands any more; one that has ended already is only buried."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.send_signal(number)
        with anyio.move_on_after(_ABANDONED_S):
            await process.wait()
            return


async def _cancel_when(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
