"""The supervisor's own process: planes up in order, kept up, down in reverse order."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import structlog
from anyio.abc import TaskGroup
from grpclib.health.v1.health_grpc import HealthStub
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from constellation.base.errors import ConstellationError
from constellation.base.statedir import make_private
from constellation.rpc.channel import PlaneChannel
from constellation.supervisor.errors import PlaneFailed
from constellation.supervisor.keeper import IsReady, Keeper
from constellation.supervisor.output import PlaneLog
from constellation.supervisor.plan import PlanePlan
from constellation.supervisor.record import PlatformRecord, myself, remove_record, write_record
from constellation.supervisor.stop import stop_postgres, stop_sandboxes

log = structlog.get_logger()

_START_LIMIT_S = 90.0  # chosen: a first start of nova makes a database
_STOP_LIMIT_S = 15.0  # comet drains for 10 s
_HEALTH_S = 2.0
# Planes that need nothing of each other are waited for together.
_GROUPS = (("nova",), ("comet",), ("corona", "nebula", "aurora"), ("zenith",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """What `up` says when all planes are ready. `admin_key`: only at the very first start."""

    urls: Sequence[str]
    admin_key: str | None


@contextmanager
def sole_supervisor(data_dir: Path) -> Iterator[bool]:
    """Yield whether this process is now the one supervisor of a data directory; the kernel keeps count."""
    fd = os.open(make_private(data_dir / "run") / "supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(fd)


class Supervisor:
    """Runs one platform. `show`: where the planes' output goes besides their logs; None: nowhere."""

    def __init__(
        self,
        plans: Sequence[PlanePlan],
        *,
        data_dir: Path,
        urls: list[str],
        auth: str,
        has_embedded_postgres: bool,
        show: Callable[[bytes], None] | None,
    ) -> None:
        self._data_dir = data_dir
        self._has_embedded_postgres = has_embedded_postgres
        self._keepers = [
            Keeper(
                plan,
                log=PlaneLog(data_dir / "logs" / f"{plan.name}.log", plane=plan.name, show=show),
                is_ready=_health_of(data_dir / "run" / f"{plan.name}.sock"),
                on_change=self._write,
                start_limit_s=_START_LIMIT_S,
                stop_limit_s=_STOP_LIMIT_S,
            )
            for plan in plans
        ]
        self._record = PlatformRecord(
            state="starting",
            urls=urls,
            auth=auth,
            supervisor=myself(),
            has_embedded_postgres=has_embedded_postgres,
            planes=[keeper.record for keeper in self._keepers],
        )

    @property
    def admin_key(self) -> str | None:
        """The administrator's key when nova has just made one."""
        return self._keepers[0].log.key

    async def run(self, announce: Callable[[Started], None]) -> None:
        """Run the platform until SIGINT or SIGTERM; a second one hurries the stop.

        Raises:
            PlaneFailed: a plane did not become ready; the others are stopped again.
        """
        stop, hurry = anyio.Event(), anyio.Event()
        failure: PlaneFailed | None = None
        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as starting:
                tasks.start_soon(_watch_signals, stop, hurry, starting)
                try:
                    for group in _GROUPS:
                        await self._start(group, tasks)
                    self._set("running")
                    announce(Started(urls=self._record.urls, admin_key=self.admin_key))
                except PlaneFailed as error:
                    failure = error
            if failure is None:
                await stop.wait()
            self._set("stopping")
            for keeper in reversed(self._keepers):
                with anyio.CancelScope(shield=True):
                    await keeper.stop(hurry=hurry)
            tasks.cancel_scope.cancel()
        for keeper in self._keepers:
            keeper.log.close()
        try:
            await stop_sandboxes(self._data_dir)
            if self._has_embedded_postgres:
                await stop_postgres(self._data_dir)
        finally:
            remove_record(self._data_dir)
        if failure is not None:
            raise failure

    async def _start(self, group: Sequence[str], tasks: TaskGroup) -> None:
        failures: list[PlaneFailed] = []

        async def start(keeper: Keeper) -> None:
            try:
                await tasks.start(keeper.run)
            except PlaneFailed as error:
                failures.append(error)

        async with anyio.create_task_group() as waiting:
            for keeper in self._keepers:
                if keeper.record.name in group:
                    waiting.start_soon(start, keeper)
        if failures:
            raise failures[0]

    def _set(self, state: str) -> None:
        self._record.state = state
        self._write()

    def _write(self) -> None:
        try:
            write_record(self._data_dir, self._record)
        except OSError as error:  # a full disk makes `status` stale, and must not stop a plane's restart
            log.warning("record.not_written", reason=str(error))


async def _watch_signals(stop: anyio.Event, hurry: anyio.Event, starting: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
        async for _ in received:
            if stop.is_set():
                hurry.set()
            stop.set()
            starting.cancel()


def _health_of(path: Path) -> IsReady:
    async def is_ready() -> bool:
        channel = PlaneChannel(name=path.stem, service_token="", path=path)
        try:
            reply = await channel.unary(
                HealthStub(channel.grpc).Check, HealthCheckRequest(), metadata={}, timeout_s=_HEALTH_S
            )
        except ConstellationError:
            return False
        finally:
            channel.close()
        return bool(reply.status == HealthCheckResponse.SERVING)

    return is_ready
