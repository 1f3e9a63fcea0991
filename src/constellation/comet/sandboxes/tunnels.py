"""Connections into a sandbox: to a program with or without a terminal, to a port. Bytes both ways, as fast as either takes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from urllib.parse import parse_qsl
from uuid import UUID

import anyio

from constellation.base.errors import InvalidRequest, NotFound, RouteNotFound
from constellation.comet.sandboxes.frames import CONTROL, DATA, END, ERROR
from constellation.comet.sandboxes.layout import HOME
from constellation.comet.sandboxes.link import AgentGone, AgentLink, asking
from constellation.comet.sandboxes.machines import Machines, Use
from constellation.comet.sandboxes.programs import Program, shell, started
from constellation.nova.domain.access import Identity, authorize
from constellation.routes.reading import number_of
from constellation.routes.registry import ROUTES, Match, RouteTable
from constellation.routes.route import Transport

_TABLE = RouteTable([route for route in ROUTES if route.transport in (Transport.TERMINAL, Transport.PORT)])
_QUERY_FIELDS = 16
LEAVE_S = 60.0  # chosen: what is on its way when the inner end has said all has so long to be taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What goes one way at a time."""

    data: bytes = b""
    error: bytes = b""
    control: bytes = b""
    end: bool = False


class Tunnel:
    """One connection. The last piece that comes has `end`."""

    def __init__(self, link: AgentLink) -> None:
        self._link = link

    async def send(self, piece: Piece) -> None:
        try:
            if piece.control:
                await self._link.send(CONTROL, piece.control[:4096])
            if piece.data:
                await self._link.send(DATA, piece.data)
            if piece.end:
                await self._link.send(END)
        except AgentGone:
            return  # what it has said before is still to be heard

    async def receive(self) -> Piece:
        try:
            kind, body = await self._link.receive()
        except AgentGone:  # the server there was reset, or all ended: there is no more either way
            return Piece(end=True)
        match kind:
            case _ if kind == DATA:
                return Piece(data=body)
            case _ if kind == ERROR:
                return Piece(error=body)
            case _ if kind == CONTROL:  # how the program ended: its last word
                return Piece(control=body, end=True)
            case _ if kind == END:
                return Piece(end=True)
            case _:
                raise AgentGone("it says what makes no sense")


class Tunnels:
    """Opens what a route of a tunnel names, for who may."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines

    def open(self, identity: Identity, path: str, query: bytes) -> AbstractAsyncContextManager[Tunnel]:
        """Connect to what the path names.

        Raises:
            RouteNotFound, Forbidden, InvalidRequest; and in the block's beginning NotFound, StateConflict, SandboxRefused.
        """
        found = next((m for method in ("GET", "POST") if isinstance(m := _TABLE.match(method, path), Match)), None)
        if found is None:
            raise RouteNotFound(path[:200])
        authorize(identity, found.route.permission)
        try:
            sandbox_id = UUID(found.params["id"])
        except ValueError as error:
            raise InvalidRequest("id must be a UUID", field="id") from error
        if found.route.transport is Transport.TERMINAL:
            return self._terminal(identity, sandbox_id, _query(query))
        port = found.params["port"]
        if not port.isascii() or not port.isdigit() or len(port) > 5:
            raise InvalidRequest("port must be a number from 1 to 65535", field="port")
        return self._port(identity, sandbox_id, int(port))

    @asynccontextmanager
    async def _terminal(self, identity: Identity, sandbox_id: UUID, query: Mapping[str, str]) -> AsyncIterator[Tunnel]:
        command, has_terminal = query.get("command"), query.get("tty", "1") in ("1", "true")
        rows = number_of(query, "rows", default=24, low=1, high=10_000)
        columns = number_of(query, "columns", default=80, low=1, high=10_000)
        program = Program(
            argv=shell(command),
            cwd=query.get("cwd", HOME),
            size=(rows, columns) if has_terminal else None,
        )
        async with self._using(identity, sandbox_id) as use, started(use, program) as running:
            yield Tunnel(running.link)

    @asynccontextmanager
    async def _port(self, identity: Identity, sandbox_id: UUID, port: int) -> AsyncIterator[Tunnel]:
        async with self._using(identity, sandbox_id) as use:
            if port not in use.sandbox.ports:
                raise NotFound("exposed port", str(port))
            async with asking(use.socket, {"op": "connect", "port": port}) as link:
                await link.answer()
                yield Tunnel(link)

    def _using(self, identity: Identity, sandbox_id: UUID) -> AbstractAsyncContextManager[Use]:
        return self._machines.using(identity.tenant, identity.namespace, sandbox_id)


def _query(raw: bytes) -> Mapping[str, str]:
    try:
        found = dict(parse_qsl(raw.decode("ascii"), errors="strict", max_num_fields=_QUERY_FIELDS))
    except ValueError as error:
        raise InvalidRequest("the query can not be read") from error
    if any("\0" in value for value in found.values()):
        raise InvalidRequest("the query must not contain a NUL")
    return found


async def relay(tunnel: Tunnel, *, inwards: AsyncIterator[Piece], outwards: Callable[[Piece], Awaitable[None]]) -> None:
    """Pass pieces both ways until the inner end has said all, or the outer one is gone."""
    async with anyio.create_task_group() as tasks:

        async def pass_in() -> None:
            async for piece in inwards:
                await tunnel.send(piece)
            tasks.cancel_scope.cancel()  # hung up

        tasks.start_soon(pass_in)
        piece = Piece()
        while not piece.end:
            piece = await tunnel.receive()
            await outwards(piece)
        # Were we to end the call now, what is on its way could be dropped with it: the outer end leaves first.
        tasks.cancel_scope.deadline = anyio.current_time() + LEAVE_S
