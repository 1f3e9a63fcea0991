"""The fork servers: `ct-zygote` for programs that are executed, one interpreter for each runtime that forks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import anyio
import structlog
from anyio.abc import TaskGroup, TaskStatus

from constellation.base.errors import ConstellationError
from constellation.comet.namespace.leftovers import process_start
from constellation.comet.namespace.memory import proportional_bytes
from constellation.comet.runtimes.recipe import Start
from constellation.comet.runtimes.registry import Installed
from constellation.native import libexec_path
from constellation.native.zygote import Spawned, Zygote

_log = structlog.get_logger()
_EXEC = "exec"


class ForkServers:
    """Starts each fork server when it is first needed, and again when it has died.

    Each one's pid is recorded in `record_dir`, for the start after a kill of comet.
    """

    def __init__(self, tasks: TaskGroup, *, record_dir: Path, on_exit: Callable[[Spawned], None]) -> None:
        self._tasks, self._record_dir, self._on_exit = tasks, record_dir, on_exit
        self._running: dict[str, Zygote] = {}
        self._locks: dict[str, anyio.Lock] = {}

    async def of(self, installed: Installed) -> Zygote:
        """Return the fork server of a runtime, running.

        Raises:
            ZygoteGone: it does not come up.
        """
        if installed.runtime.start is Start.EXEC:
            return await self.executor()
        name = _name_of(installed)
        zygote = self._alive(name)
        if zygote is not None:  # what it was started with is made only for a start
            return zygote
        env = {**installed.runtime.env, **installed.runtime.server_env}
        return await self._named(name, installed.runtime.argv(installed.interpreter), env)

    async def executor(self) -> Zygote:
        """Return the one that runs nobody's interpreter, running.

        Raises:
            ZygoteGone: it does not come up.
        """
        return await self._named(_EXEC, (str(libexec_path("ct-zygote")),), None)

    def _alive(self, name: str) -> Zygote | None:
        zygote = self._running.get(name)
        return None if zygote is None or zygote.gone.is_set() else zygote

    async def _named(self, name: str, argv: Sequence[str], env: Mapping[str, str] | None) -> Zygote:
        zygote = self._alive(name)
        if zygote is not None:
            return zygote
        async with self._locks.setdefault(name, anyio.Lock()):
            zygote = self._alive(name)
            if zygote is not None:
                return zygote
            zygote = Zygote(argv, name=name, env=env, on_exit=self._on_exit)
            with anyio.CancelScope(shield=True):  # half a start would leave a process that nobody holds; it is bounded
                await self._tasks.start(self._keep, zygote)
            self._running[name] = zygote
            return zygote

    async def keep(self, wanted: Sequence[Installed], *, memory_bytes: int) -> int:
        """Run the fork servers of these runtimes, within `memory_bytes` of proportional set size together.

        One that is not wanted ends once nothing that it started lives. Returns what is left of the memory.
        """
        names = {_name_of(installed) for installed in wanted}
        for name, zygote in list(self._running.items()):
            if name not in names and zygote.is_idle and not zygote.gone.is_set():
                del self._running[name]
                zygote.stop_nowait()
                _log.info("template.released", runtime=name)
        for installed in wanted:
            held_bytes = await anyio.to_thread.run_sync(self._held_bytes)
            if held_bytes >= memory_bytes:
                _log.warning("template.over_memory", runtime=installed.runtime.id, held_bytes=held_bytes)
                return 0
            try:
                await self.of(installed)
            except ConstellationError as error:  # the next instance tries again, and its caller hears of it
                _log.warning("template.failed", runtime=installed.runtime.id, error=str(error))
        return max(0, memory_bytes - await anyio.to_thread.run_sync(self._held_bytes))

    def _held_bytes(self) -> int:
        return sum(proportional_bytes(pid, with_children=False) for pid in self.pids.values())

    async def _keep(self, zygote: Zygote, *, task_status: TaskStatus[None]) -> None:
        record = _Record(self._record_dir / f"{zygote.name}.json", zygote, task_status)
        try:
            await zygote.run(task_status=record)
        except ConstellationError as error:
            if not record.is_started:
                raise
            _log.warning("zygote.failed", zygote=zygote.name, error=str(error))
        else:
            _log.warning("zygote.ended", zygote=zygote.name)
        finally:
            record.path.unlink(missing_ok=True)

    @property
    def pids(self) -> dict[str, int]:
        """Name -> pid of each that runs: their memory is the platform's, not a function's."""
        return {name: zygote.pid for name, zygote in self._running.items() if not zygote.gone.is_set()}

    def stop_nowait(self) -> None:
        for zygote in self._running.values():
            zygote.stop_nowait()


def _name_of(installed: Installed) -> str:
    """One fork server for each runtime that forks, one for all that are executed."""
    return installed.runtime.id if installed.runtime.start is Start.FORK else _EXEC


class _Record(TaskStatus[None]):
    """Writes a fork server's record at the moment it is usable."""

    def __init__(self, path: Path, zygote: Zygote, task_status: TaskStatus[None]) -> None:
        self.path = path
        self.is_started = False
        self._zygote, self._status = zygote, task_status

    def started(self, value: None = None) -> None:
        pid = self._zygote.pid
        self.path.write_text(json.dumps({"pid": pid, "start": process_start(pid)}))
        self.is_started = True
        self._status.started(value)
