"""A guest's connection from its first byte to its last: the login is ours, then bytes pass under the limits."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio
from anyio.abc import ByteStream, TaskGroup

from constellation.comet.databases.conversation import Conversation, Ended
from constellation.comet.databases.rates import Rate
from constellation.comet.databases.upstream import CHUNK_BYTES, MAX_MESSAGE_BYTES, Upstream
from constellation.comet.databases.wire import (
    FROM_GUEST,
    FROM_SERVER,
    CancelRequest,
    Piece,
    Refused,
    Splitter,
    Startup,
    error,
    message,
    older_protocol,
    split_first,
)
from constellation.nova.domain.database import DatabaseLimits

STARTUP_S = 10.0  # chosen: a client says what it wants at once
SEND_S = 60.0  # chosen: a guest that takes nothing for so long has gone
TICK_S = 0.2  # chosen: how exactly limits of time hold
MAX_GUEST_MESSAGE_BYTES = 16 << 20  # chosen: a statement with its values
MAX_ENCRYPTION_ASKS = 2  # TLS, then GSSAPI: libpq asks for each once
# What a guest may set for itself when it begins, as it may later; all else of its first packet is left out.
PASSED_ON = frozenset(
    {
        "application_name",
        "client_encoding",
        "datestyle",
        "timezone",
        "intervalstyle",
        "extra_float_digits",
        "search_path",
    }
)
_MAX_VALUE_CHARS = 256
_FROM_SERVER = FROM_SERVER - frozenset(b"RKv")  # these belong to the login, which is over
_TERMINATE, _ERROR = b"XE"
_FLUSH = Piece(ord("H"), message("H"))


@dataclass(frozen=True, slots=True)
class CancelKey:
    """What a guest can end its own statement with; it knows nothing of the server's."""

    pid: int
    key: bytes


def new_cancel_key() -> CancelKey:
    return CancelKey(pid=int.from_bytes(os.urandom(4)) & 0x7FFF_FFFF, key=os.urandom(4))


async def first_packet(guest: ByteStream) -> tuple[Startup | CancelRequest, bytes]:
    """Return what a guest begins with, and what it sent behind that; wishes for encryption are answered with no.

    Raises:
        Refused: it is no client of PostgreSQL.
        TimeoutError: it takes too long.
    """
    held, asks = b"", 0
    with anyio.fail_after(STARTUP_S):
        while True:
            held += await guest.receive(CHUNK_BYTES)
            found = split_first(held)
            if found is None:
                continue
            first, rest = found
            if isinstance(first, Startup | CancelRequest):
                return first, rest
            asks += 1
            if asks > MAX_ENCRYPTION_ASKS:
                raise Refused("08P01", "encryption was refused before")
            await guest.send(b"N")
            held = rest


def parameters_of(first: Startup, *, name: str) -> dict[str, str]:
    """Return what of a guest's first packet the server gets. User and options are not among it.

    Raises:
        Refused: it wants another database, or replication.
    """
    given = {key.lower(): value for key, value in first.parameters.items()}
    if given.get("replication", "false").lower() not in ("", "false", "off", "no", "0"):
        raise Refused("0A000", "there is no replication here")
    wanted = given.get("database", "")
    if wanted not in ("", name, given.get("user")):
        raise Refused("3D000", f"this socket leads to the database {name} and to no other")
    return {key: value[:_MAX_VALUE_CHARS] for key, value in given.items() if key in PASSED_ON}


class Session:
    """Passes bytes between a guest and a server that are logged in."""

    def __init__(
        self,
        guest: ByteStream,
        server: Upstream,
        *,
        limits: DatabaseLimits,
        rate: Rate,
        now_s: Callable[[], float],
        on_end: Callable[[Ended], None],
        cancel: Callable[[], Awaitable[None]],
        explained: Callable[[Piece], Awaitable[Piece]],
    ) -> None:
        """Hold both ends.

        Args:
            rate: of statements, shared with other sessions of the database.
            on_end: told of each statement that came to an end.
            cancel: ends what the server does for this session.
            explained: what the guest gets in the place of what the server says.
        """
        self._guest, self._server, self._limits, self._rate = guest, server, limits, rate
        self._now_s, self._cancel, self._explained = now_s, cancel, explained
        self._conversation = Conversation(limits, now_s=now_s(), on_end=on_end)
        self._drained = anyio.Event()  # set when the server has answered something
        self._stirred = anyio.Event()  # set when the guest has asked something
        self._to_server = anyio.Lock()
        self._is_between = True  # what the server got last was a whole message

    @property
    def is_at_rest(self) -> bool:
        """The server does nothing for it, as far as we know."""
        return not self._conversation.is_busy

    async def run(self, first: Startup, rest: bytes, key: CancelKey) -> None:
        """Greet the guest and pass on until either end is gone, or a limit ends it."""
        older = older_protocol(first.options) if first.minor or first.options else b""
        greeting = message("R", bytes(4)) + self._server.greeting
        identity = message("K", key.pid.to_bytes(4) + key.key)
        try:
            await self._tell(older + greeting + identity + message("Z", b"I"))
            await self._pass_on(rest)
            self._conversation.cut("08006", now_s=self._now_s())
        except* Refused as group:
            refusal = _first_of(group)
            self._conversation.cut(refusal.code, now_s=self._now_s())
            with anyio.move_on_after(1.0):
                await self._guest.send(error(refusal.code, refusal.text, severity="FATAL"))
        except* (OSError, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, TimeoutError):
            self._conversation.cut("08006", now_s=self._now_s())

    async def _pass_on(self, rest: bytes) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._read_guest, rest, tasks)
            tasks.start_soon(self._read_server, tasks)
            tasks.start_soon(self._watch)

    async def _read_guest(self, rest: bytes, tasks: TaskGroup) -> None:
        splitter = Splitter(FROM_GUEST, max_bytes=MAX_GUEST_MESSAGE_BYTES)
        data = rest
        while True:
            for piece in splitter.feed(data) if data else ():
                await self._from_guest(piece)
                if piece.kind == _TERMINATE and piece.is_last:
                    return  # the server ends what it has in hand, and then the session
            try:
                data = await self._guest.receive(CHUNK_BYTES)
            except anyio.EndOfStream:
                tasks.cancel_scope.cancel()
                return

    async def _from_guest(self, piece: Piece) -> None:
        while self._conversation.is_full and piece.is_first:
            self._drained = anyio.Event()
            await self._drained.wait()
        statements = self._conversation.from_guest(piece, now_s=self._now_s())
        if statements:
            await self._rate.take(statements)
        self._stirred.set()
        async with self._to_server:
            self._is_between = piece.is_last
            passed_on = self._conversation.passed_on(piece)
            if passed_on:
                await self._server.stream.send(passed_on)

    async def _read_server(self, tasks: TaskGroup) -> None:
        splitter = Splitter(_FROM_SERVER, max_bytes=MAX_MESSAGE_BYTES)
        data = self._server.splitter.held
        while True:
            said: list[bytes] = []
            try:
                for piece in splitter.feed(data) if data else ():
                    answer = await self._explained(piece) if piece.kind == _ERROR else piece
                    said.append(self._conversation.from_server(answer, now_s=self._now_s()))
            finally:
                self._drained.set()
                if any(said):
                    await self._tell(b"".join(said))
            await self._heed(self._now_s())
            try:
                data = await self._server.stream.receive(CHUNK_BYTES)
            except anyio.EndOfStream:
                tasks.cancel_scope.cancel()
                return

    async def _tell(self, data: bytes) -> None:
        with anyio.fail_after(SEND_S):
            await self._guest.send(data)

    async def _watch(self) -> None:
        while True:
            if self._conversation.is_idle:
                self._stirred = anyio.Event()
                await self._stirred.wait()
            await anyio.sleep(TICK_S)
            await self._heed(self._now_s())

    async def _heed(self, now_s: float) -> None:
        wanted = self._conversation.tick(now_s=now_s)
        if wanted.is_cancel:
            await self._cancel()
        if wanted.is_flush and self._is_between and not self._to_server.locked():
            async with self._to_server:
                self._conversation.from_guest(_FLUSH, now_s=now_s)
                await self._server.stream.send(_FLUSH.raw)


def _first_of(group: BaseExceptionGroup[Refused]) -> Refused:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, Refused)
    return found
