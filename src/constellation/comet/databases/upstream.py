"""The other end of a session: a connection to the server, logged in as the functions' role."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field

import anyio
from anyio.abc import ByteStream
from anyio.streams.tls import TLSStream

from constellation.comet.databases.scram import MECHANISM, Scram, ServerUntrue
from constellation.comet.databases.unix import connect_unix
from constellation.comet.databases.wire import (
    FROM_SERVER,
    Piece,
    Refused,
    Splitter,
    cancel_request,
    error_fields,
    message,
    startup,
    tls_request,
)
from constellation.nova.domain.database import Networks, ServerAddress, may_connect
from constellation.nova.store.server_tls import context_for

CONNECT_S = 10.0  # chosen: a server that does not let us in by then is away
CANCEL_S = 5.0
CHUNK_BYTES = 64 << 10
MAX_MESSAGE_BYTES = 1 << 30  # the server's own bound of a message
LOGIN_REFUSED = frozenset({"28P01", "28000"})  # the role is not there, or has another password


class LoginRefused(Exception):
    """The server does not let the functions' role in: somebody changed it."""


@dataclass(slots=True)
class Upstream:
    """A session on the server, right after its login."""

    stream: ByteStream
    splitter: Splitter
    pid: int = 0
    key: bytes = field(default=b"", repr=False)
    greeting: bytes = b""  # what the guest is to get of it: parameters and notices

    async def aclose(self) -> None:
        """Close at once: the server rolls back and ends the session."""
        await anyio.aclose_forcefully(self.stream)


class Server:
    """Where sessions of one database are opened. Holds the password."""

    def __init__(self, address: ServerAddress, *, allowed: Networks) -> None:
        self._address, self._allowed = address, allowed

    async def log_in(self, parameters: dict[str, str]) -> Upstream:
        """Open a session with these parameters; user and database are the address's.

        Raises:
            LoginRefused: the role is refused.
            Refused: as the guest is to be told.
        """
        address = self._address
        stream: ByteStream | None = None
        try:
            with anyio.fail_after(CONNECT_S):
                stream = await self._connected()
                session = Upstream(stream, Splitter(FROM_SERVER, max_bytes=MAX_MESSAGE_BYTES))
                await stream.send(startup({**parameters, "user": address.user, "database": address.database}))
                await self._logged_in(session)
        except BaseException as error:
            if stream is not None:
                with anyio.CancelScope(shield=True):
                    await anyio.aclose_forcefully(stream)
            if isinstance(error, OSError | TimeoutError | anyio.EndOfStream | anyio.BrokenResourceError | ssl.SSLError):
                raise Refused("08006", "the database server can not be reached") from error
            if isinstance(error, ServerUntrue):
                raise Refused("08006", f"the database server can not be trusted: {error}") from error
            raise
        return session

    async def cancel(self, pid: int, key: bytes) -> None:
        """Ask for the end of what a session does; nothing tells whether it came through."""
        try:
            with anyio.fail_after(CANCEL_S):
                stream = await self._connected()
                try:
                    await stream.send(cancel_request(pid, key))
                    while True:  # the server closes when it has passed it on
                        await stream.receive(CHUNK_BYTES)
                finally:
                    await anyio.aclose_forcefully(stream)
        except (OSError, TimeoutError, anyio.EndOfStream, anyio.BrokenResourceError, ssl.SSLError, Refused):
            return

    async def _connected(self) -> ByteStream:
        address = self._address
        if address.host.startswith("/"):
            return await connect_unix(f"{address.host}/.s.PGSQL.{address.port}")
        places = [str(found[4][0]) for found in await anyio.getaddrinfo(address.host, address.port)]
        place = next((each for each in places if may_connect(each, self._allowed)), None)
        if place is None:
            raise Refused("08001", "the database server is where none may be")
        stream: ByteStream = await anyio.connect_tcp(place, address.port)
        context = context_for(address.tls)
        if context is None:
            return stream
        try:
            await stream.send(tls_request())
            is_spoken = await stream.receive(1) == b"S"
            if is_spoken:
                return await TLSStream.wrap(
                    stream,
                    server_side=False,
                    hostname=address.host,
                    ssl_context=context,
                    standard_compatible=False,
                )
        except BaseException:
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(stream)
            raise
        await anyio.aclose_forcefully(stream)
        raise Refused("08001", "the database server speaks no TLS")

    async def _logged_in(self, session: Upstream) -> None:
        scram: Scram | None = None
        is_proven = False
        while True:
            for piece in session.splitter.feed(await session.stream.receive(CHUNK_BYTES)):
                body = piece.body
                match chr(piece.kind):
                    case "R":
                        kind, said = int.from_bytes(body[:4]), body[4:]
                        if kind == 10 and MECHANISM in said.split(b"\0") and scram is None:
                            scram = Scram(self._address.password)
                            first = scram.first()
                            await session.stream.send(message("p", MECHANISM + b"\0" + len(first).to_bytes(4) + first))
                        elif kind == 11 and scram is not None:
                            await session.stream.send(message("p", scram.final(said)))
                        elif kind == 12 and scram is not None:
                            scram.check(said)
                            is_proven = True
                        elif kind != 0 or not is_proven:  # 0 without proof: it let us in without asking who we are
                            raise ServerUntrue("it does not ask for SCRAM-SHA-256")
                    case "K":
                        session.pid, session.key = int.from_bytes(body[:4]), body[4:]
                    case "S":
                        session.greeting += piece.raw
                    case "E":
                        _refuse(piece)
                    case "Z":
                        if not is_proven:
                            raise ServerUntrue("it begins without a login")
                        return
                    case _:
                        pass  # notices, and the protocol's version: they concern us alone


def _refuse(piece: Piece) -> None:
    said = error_fields(piece.body)
    code = said.get("C", "08004")
    if code in LOGIN_REFUSED:
        raise LoginRefused
    if code == "53300":
        raise Refused(code, "the database server has no session left for this database")
    raise Refused(code, f"the database server lets nobody in: {said.get('M', '')[:200]}")
