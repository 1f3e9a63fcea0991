"""Wake-ups from the database: LISTEN on a connection of its own, outside every pool.

A notification carries nothing and may be lost with the connection, so a wake-up only ever means "look again";
after a reconnect everybody is woken. A slow safety poll is the caller's, through the time limit of `wait`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import anyio
import asyncpg
from anyio.abc import TaskStatus

from constellation.nova.store.pool import (
    CONNECT_TIMEOUT_S,
    RETRY_CONNECT_S,
    DatabaseUnavailable,
    session_settings,
    translated,
)

CHECK_S = 30.0  # chosen: how soon a dead TCP peer is noticed; a closed socket is noticed at once
_CHECK_LIMIT_S = 5.0


class Wakeup:
    """One waiter for one channel. Wake-ups that come while it is not waiting are kept as one."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def wake_nowait(self) -> None:
        self._event.set()

    async def wait(self, *, within_s: float) -> bool:
        """Wait for a wake-up; False when none came within `within_s` seconds, which is the time for a safety poll."""
        with anyio.move_on_after(within_s):
            await self._event.wait()
        woken = self._event.is_set()
        self._event = anyio.Event()
        return woken


class Listener:
    """Listens to channels while `run` runs. Waiters may come and go at any time."""

    def __init__(self, dsn: str, *, application: str, channels: Sequence[str], check_s: float = CHECK_S) -> None:
        self._dsn, self._application, self._channels = dsn, application, tuple(channels)
        self._check_s = check_s
        self._waiters: dict[str, set[Wakeup]] = {channel: set() for channel in channels}

    @contextmanager
    def subscribe(self, channel: str) -> Iterator[Wakeup]:
        """Hand out a waiter for one of the channels. Subscribe first, then read, then wait: so nothing is missed."""
        wakeup = Wakeup()
        self._waiters[channel].add(wakeup)
        try:
            yield wakeup
        finally:
            self._waiters[channel].discard(wakeup)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Listen until cancelled, connecting again whenever the connection is lost. Started means listening."""
        is_first = True
        while True:
            try:
                with translated():
                    connection = await self._connect()
            except DatabaseUnavailable:
                await anyio.sleep(RETRY_CONNECT_S)
                continue
            try:
                if is_first:
                    task_status.started()
                    is_first = False
                for channel in self._channels:
                    self._wake_nowait(channel)
                await self._until_lost(connection)
            finally:
                connection.terminate()

    async def _connect(self) -> asyncpg.Connection:
        connection = await asyncpg.connect(
            self._dsn,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=CONNECT_TIMEOUT_S,
            server_settings=session_settings(f"{self._application} listener", statement_timeout_s=CONNECT_TIMEOUT_S),
        )
        try:
            for channel in self._channels:
                await connection.add_listener(channel, self._on_notify)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _until_lost(self, connection: asyncpg.Connection) -> None:
        lost = anyio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        while not lost.is_set() and not connection.is_closed():
            with anyio.move_on_after(self._check_s):
                await lost.wait()
                return
            try:
                with anyio.fail_after(_CHECK_LIMIT_S), translated(connection):
                    await connection.execute("SELECT 1")
            except (TimeoutError, DatabaseUnavailable):
                return

    def _on_notify(self, _connection: object, _pid: int, channel: str, _payload: object) -> None:
        self._wake_nowait(channel)

    def _wake_nowait(self, channel: str) -> None:
        for wakeup in self._waiters[channel]:
            wakeup.wake_nowait()
