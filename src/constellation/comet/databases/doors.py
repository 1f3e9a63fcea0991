"""Sockets of instances: a directory each, which its sandbox shows, with a listening socket a database.

Who connects is known by the socket: only the sandbox that has the directory can reach it, so nothing that a guest says
decides whose sessions these are.
"""

from __future__ import annotations

import secrets
import shutil
import socket
from collections import Counter as Count
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
import structlog
from anyio import to_thread
from anyio.abc import TaskGroup, TaskStatus

from constellation.base.clock import Clock
from constellation.base.ids import uuid7
from constellation.base.statedir import make_private
from constellation.comet.databases.conversation import Ended
from constellation.comet.databases.denials import Denials
from constellation.comet.databases.meters import DatabaseMeters
from constellation.comet.databases.rates import Rate
from constellation.comet.databases.session import CancelKey, Session, first_packet, new_cancel_key, parameters_of
from constellation.comet.databases.unix import UnixStream, accept, listen_unix
from constellation.comet.databases.upstream import LoginRefused, Server, Upstream
from constellation.comet.databases.wire import CancelRequest, Refused, Startup, error
from constellation.nova.domain.database import SOCKET_NAME, DatabaseLogin, DatabaseSize, Networks
from constellation.nova.domain.function import Function
from constellation.nova.store.databases import DatabaseRequest

log = structlog.get_logger()

UNGREETED = 8  # chosen: connections of one socket that have not said who they are
REPAIR_EVERY_S = 10.0  # chosen: a function that changes its own role's password keeps nobody busy
_DIR_MODE = 0o755  # for the sandbox that it is shown to: what is above it is closed

Repair = Callable[[Function, str], Awaitable[None]]
Key = tuple[str, str, str]
SizeOf = Callable[[str, str, str], Awaitable[DatabaseSize | None]]


@dataclass(eq=False, slots=True)
class _Door:
    """One database of one instance."""

    function: Function
    login: DatabaseLogin
    key: Key
    connections: int = 0  # those that have not said who they are too
    sessions_count: int = 0  # those that are about to log in too
    sessions: dict[CancelKey, Upstream] = field(default_factory=dict)


class Doors:
    """Every socket of this plane's instances. Usable inside `run`."""

    def __init__(
        self,
        directory: Path,
        *,
        clock: Clock,
        meters: DatabaseMeters,
        record: Callable[[DatabaseRequest], None],
        repair: Repair,
        size_of: SizeOf,
        allowed: Networks,
        max_sessions: int,
    ) -> None:
        """Touch nothing yet.

        Args:
            directory: for the sockets; what is in it is removed first.
            record: keeps a line of the log.
            repair: has a role on its server as it should be.
            size_of: how full a database of a tenant and namespace is; None: it has no size.
            allowed: networks that servers may be in although this host is.
            max_sessions: of all databases together.
        """
        self._directory, self._clock, self._meters, self._record = directory, clock, meters, record
        self._repair, self._size_of = repair, size_of
        self._allowed, self._max_sessions = allowed, max_sessions
        self._tasks: TaskGroup | None = None
        self._open: dict[Path, list[anyio.CancelScope]] = {}
        self._sessions: Count[Key] = Count()
        self._rates: dict[Key, Rate] = {}
        self._repaired_s: dict[Key, float] = {}

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; what a killed run left is removed first."""
        await to_thread.run_sync(self._prepare)
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                task_status.started()
                await anyio.sleep_forever()
        finally:
            self._tasks = None
            shutil.rmtree(self._directory, ignore_errors=True)

    def _prepare(self) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)
        make_private(self._directory)

    async def open(self, function: Function, logins: Iterable[DatabaseLogin]) -> Path:
        """Return a directory with a socket for each database; they serve until `close_nowait`."""
        assert self._tasks is not None
        directory = self._directory / secrets.token_hex(16)
        directory.mkdir(mode=_DIR_MODE)
        directory.chmod(_DIR_MODE)
        scopes = self._open[directory] = []
        try:
            for login in logins:
                listener = listen_unix(directory / login.name, SOCKET_NAME)
                scopes.append(anyio.CancelScope())
                key = (function.tenant, function.namespace, login.name)
                self._tasks.start_soon(self._serve, scopes[-1], _Door(function, login, key), listener)
        except BaseException:
            self.close_nowait(directory)
            raise
        return directory

    def close_nowait(self, directory: Path) -> None:
        """End every session of an instance that is gone, and its sockets."""
        for scope in self._open.pop(directory, ()):
            scope.cancel()
        shutil.rmtree(directory, ignore_errors=True)

    async def _serve(self, scope: anyio.CancelScope, door: _Door, listener: socket.socket) -> None:
        with listener, scope:
            async with anyio.create_task_group() as tasks:
                await accept(listener, tasks, partial(self._welcome, door))

    async def _welcome(self, door: _Door, guest: UnixStream) -> None:
        async with guest:
            if door.connections >= door.login.limits.instance_sessions + UNGREETED:
                self._meters.refused("connections")
                return
            door.connections += 1
            try:
                first, rest = await first_packet(guest)
                if isinstance(first, CancelRequest):
                    await self._cancel(door, CancelKey(first.pid, first.key))
                else:
                    await self._begin(door, guest, first, rest)
            except Refused as refusal:
                self._meters.refused(refusal.code)
                with suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
                    await guest.send(error(refusal.code, refusal.text, severity="FATAL"))
            except (OSError, TimeoutError, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                return
            except Exception as failure:  # the supervision point of one session
                log.exception("database.session_failed", function=door.function.name, reason=type(failure).__name__)
            finally:
                door.connections -= 1

    async def _begin(self, door: _Door, guest: UnixStream, first: Startup, rest: bytes) -> None:
        parameters = parameters_of(first, name=door.login.name)
        self._count(door)
        server: Upstream | None = None
        session: Session | None = None
        cancel_key = new_cancel_key()
        upstream = Server(door.login.address, allowed=self._allowed)
        try:
            server = await self._logged_in(door, upstream, parameters)
            door.sessions[cancel_key] = server
            session = Session(
                guest,
                server,
                limits=door.login.limits,
                rate=self._rate_of(door),
                now_s=self._clock.monotonic_s,
                on_end=partial(self._ended, door, cancel_key.key.hex()),
                cancel=partial(upstream.cancel, server.pid, server.key),
                explained=Denials(door.login.name, partial(self._size_of, *door.key)).explained,
            )
            await session.run(first, rest, cancel_key)
        finally:
            door.sessions.pop(cancel_key, None)
            if server is not None:
                with anyio.CancelScope(shield=True):
                    if session is not None and not session.is_at_rest:  # it would go on without anybody who waits
                        await upstream.cancel(server.pid, server.key)
                    await server.aclose()
            self._uncount(door)

    def _count(self, door: _Door) -> None:
        """Let a session in. Raises `Refused`: there are as many as there may be."""
        limits = door.login.limits
        bounds = (
            (door.sessions_count, limits.instance_sessions, "this instance"),
            (self._sessions[door.key], limits.max_sessions, f"the database {door.login.name}"),
            (self._sessions.total(), self._max_sessions, "this node"),
        )
        for count, most, whose in bounds:
            if count >= most:
                raise Refused("53300", f"{whose} has {most} sessions, as many as it may")
        door.sessions_count += 1
        self._sessions[door.key] += 1
        self._meters.sessions(self._sessions.total())

    def _uncount(self, door: _Door) -> None:
        door.sessions_count -= 1
        self._sessions[door.key] -= 1
        if self._sessions[door.key] <= 0:
            del self._sessions[door.key]
            self._rates.pop(door.key, None)
        self._meters.sessions(self._sessions.total())

    def _rate_of(self, door: _Door) -> Rate:
        """What the sessions of a database share; the limits of the newest instance count."""
        per_s = float(door.login.limits.statements_per_s)
        rate = self._rates.get(door.key)
        if rate is None or rate.per_s != per_s:
            rate = self._rates[door.key] = Rate(per_s, now_s=self._clock.monotonic_s)
        return rate

    async def _logged_in(self, door: _Door, server: Server, parameters: dict[str, str]) -> Upstream:
        limits = door.login.limits
        given = {
            "application_name": "",
            **parameters,
            "statement_timeout": str(round(limits.statement_timeout_s * 1000)),
            "idle_in_transaction_session_timeout": str(round(limits.idle_transaction_s * 1000)),
            "client_connection_check_interval": "5000",
        }
        given["application_name"] = f"{door.function.name} {given['application_name']}".strip()[:63]
        try:
            return await server.log_in(given)
        except LoginRefused:
            now_s = self._clock.monotonic_s()
            if now_s - self._repaired_s.get(door.key, -REPAIR_EVERY_S) < REPAIR_EVERY_S:
                raise Refused("28000", "the database server refuses the functions' role") from None
            self._repaired_s = {k: at for k, at in self._repaired_s.items() if now_s - at < REPAIR_EVERY_S}
            self._repaired_s[door.key] = now_s
        log.warning("database.role_repaired", tenant=door.function.tenant, database=door.login.name)
        await self._repair(door.function, door.login.name)
        try:
            return await server.log_in(given)
        except LoginRefused:
            raise Refused("28000", "the database server refuses the functions' role") from None

    async def _cancel(self, door: _Door, key: CancelKey) -> None:
        """End what a session of this very socket does; a key of any other is unknown here."""
        server = door.sessions.get(key)
        if server is not None:
            await Server(door.login.address, allowed=self._allowed).cancel(server.pid, server.key)

    def _ended(self, door: _Door, session: str, ended: Ended) -> None:
        self._meters.statement(ended.outcome, rows=ended.rows)
        function = door.function
        began_ms = int((self._clock.now().timestamp() - ended.took_s) * 1000)
        self._record(
            DatabaseRequest(
                tenant=function.tenant,
                namespace=function.namespace,
                database=door.login.name,
                id=uuid7(began_ms),
                function_name=function.name,
                function_version=str(function.live_version),
                session=session,
                statement=ended.statement,
                outcome=ended.outcome.value,
                code=ended.code,
                rows=ended.rows,
                bytes=ended.bytes,
                duration_ms=round(ended.took_s * 1000, 3),
            )
        )
