"""A comet over a real socket, with a real database and real sandboxes (or the fake backend), inside the test's loop."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from constellation.aurora.observability.plane import PlaneContext, new_context, socket_path
from constellation.base.address import Address, parse_address
from constellation.base.ids import RequestId, uuid7
from constellation.base.sockets import listen_tcp
from constellation.comet.app import ExecutionPlane, execution_plane, servicer
from constellation.comet.builds.contract import Builder
from constellation.comet.port import serving_port
from constellation.native.h2 import Ports
from constellation.native.reactor import Reactor
from constellation.nova.config.sections import PlatformSettings, Settings
from constellation.nova.domain.access import ROLE_PERMISSIONS, Identity, Role
from constellation.nova.domain.function import Function
from constellation.nova.domain.identity import mint
from constellation.nova.store.functions import Functions
from constellation.nova.store.pool import Database, connect
from constellation.rpc.caller import Caller
from constellation.rpc.channel import PlaneChannel
from constellation.rpc.metadata import CallContext
from constellation.rpc.near import listening_near
from constellation.rpc.server import Guarded
from constellation.testing.fake_backend import FakeBackend, Script
from constellation.wire.gen import nova_pb2
from constellation.wire.gen.nova_grpc import NovaServiceStub

KEY, SERVICE_TOKEN = "key", "service-token"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer of a data-plane route."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True, kw_only=True)
class Comet:
    """A running comet and a client of it."""

    plane: ExecutionPlane
    context: PlaneContext
    address: Address
    functions: Functions  # as nova writes them
    channel: PlaneChannel
    is_native: bool
    stub: NovaServiceStub = field(init=False)

    def __post_init__(self) -> None:
        self.stub = NovaServiceStub(self.channel.grpc)

    def token(
        self, *, tenant: str = "default", namespace: str = "default", role: Role = Role.ADMIN, **more: Any
    ) -> str:
        identity = Identity(
            tenant=tenant,
            namespace=namespace,
            subject="apikey:test",
            permissions=ROLE_PERMISSIONS[role],
            is_platform_admin=False,
            expires_at_s=int(self.context.clock.now().timestamp()) + 600,
            **more,
        )
        token = mint(KEY.encode(), identity)
        if self.is_native:  # so that every call that can be is served in C, from the first one on
            context = CallContext(request_id=RequestId(uuid7()))
            self.plane.lane.learn(Caller(identity=identity, token=token, context=context))
        return token

    def metadata(self, *, context: CallContext | None = None, **identity: Any) -> dict[str, str]:
        return self.channel.metadata(
            token=self.token(**identity), context=context or CallContext(request_id=RequestId(uuid7()))
        )

    async def deploy(self, name: str, code: str, *, tenant: str = "default", **fields: Any) -> Function:
        """Create the function or give it new code and settings, as nova would."""
        files = {"main.py": code.encode()}
        found = await self.functions.try_get(tenant, "default", name)
        if found is not None:
            return await self.functions.update(replace(found, **fields), files=files)
        row = Function(
            tenant=tenant,
            namespace="default",
            name=name,
            id=uuid7(),
            runtime="python",
            handler="main.handler",
            **({"memory_mb": 64, "max_replicas": 4} | fields),
        )
        return await self.functions.create(row, files)

    async def invoke(
        self,
        name: str,
        event: Any = None,
        *,
        payload: bytes | None = None,
        timeout_ms: int = 0,
        context: CallContext | None = None,
        deadline_s: float = 60.0,
        **identity: Any,
    ) -> Any:
        request = nova_pb2.InvokeRequest(
            function=name, payload=json.dumps(event).encode() if payload is None else payload, timeout_ms=timeout_ms
        )
        return await self.channel.unary(
            self.stub.Invoke, request, metadata=self.metadata(context=context, **identity), timeout_s=deadline_s
        )

    async def output(self, name: str, event: Any = None, **more: Any) -> Any:
        reply = await self.invoke(name, event, **more)
        assert not reply.error, reply.error
        return json.loads(reply.output)

    async def stream(self, name: str, event: Any = None, *, context: CallContext | None = None, **identity: Any) -> Any:
        """The messages of a streamed answer, to its end."""
        request = nova_pb2.InvokeRequest(function=name, payload=json.dumps(event).encode())
        metadata = self.metadata(context=context, **identity)
        async with self.channel.open(self.stub.InvokeStream, metadata=metadata, timeout_s=60) as stream:
            await stream.send_message(request, end=True)
            return [message async for message in stream]

    async def http(
        self,
        method: str,
        path: str,
        *,
        query: str = "",
        body: Any = None,
        headers: dict[str, str] | None = None,
        **identity: Any,
    ) -> Reply:
        async with self.open(method, path, query=query, body=body, headers=headers, **identity) as stream:
            head = await stream.recv_message()
            parts = [part.body async for part in stream]
            await stream.recv_trailing_metadata()
        return Reply(
            status=head.status,
            headers={h.name.lower(): h.value.decode() for h in head.headers},
            body=head.body + b"".join(parts),
        )

    def open(
        self,
        method: str,
        path: str,
        *,
        query: str = "",
        body: Any = None,
        headers: dict[str, str] | None = None,
        **identity: Any,
    ) -> AbstractAsyncContextManager[Any]:
        """Begin a data-plane request; the block receives its messages."""
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        request = nova_pb2.ProxyHTTPRequest(
            method=method,
            path=path,
            query=query.encode(),
            headers=[nova_pb2.Header(name=n, value=v.encode()) for n, v in (headers or {}).items()],
            body=data,
        )
        return self._open(request, identity)

    @asynccontextmanager
    async def _open(self, request: Any, identity: dict[str, Any]) -> AsyncIterator[Any]:
        metadata = self.metadata(**identity)
        async with self.channel.open(self.stub.ProxyHTTP, metadata=metadata, timeout_s=60) as stream:
            await stream.send_message(request, end=True)
            yield stream


async def eventually(check: Callable[[], Any], *, within_s: float = 10.0) -> Any:
    """Return what `check` returns as soon as it is true."""
    with anyio.fail_after(within_s):
        while True:
            found = await check()
            if found:
                return found
            await anyio.sleep(0.02)


@asynccontextmanager
async def turning(reactor: Reactor) -> AsyncIterator[None]:
    with reactor.turning():
        yield


@asynccontextmanager
async def listening(sockets: Path, listener: socket.socket) -> AsyncIterator[socket.socket | None]:
    with listening_near(sockets, listener) as near:
        yield near


@asynccontextmanager
async def running(
    database: Any,
    state_dir: Path,
    *,
    settings: Settings | None = None,
    script: Script | None = None,
    is_native: bool = False,
    builder: Builder | None = None,
) -> AsyncIterator[Comet]:
    """Run a comet; with a `script` its instances are fakes, which only the Python servers reach."""
    settings = settings or Settings()
    context = new_context(
        "comet", PlatformSettings(), state_dir=state_dir, service_token=SERVICE_TOKEN, identity_key=KEY
    )
    dsn = database.dsn("comet")
    listener, address = listen_tcp(parse_address("127.0.0.1:0"))
    backend = FakeBackend(script) if script else None
    reactor = Reactor()
    async with (
        turning(reactor),
        listening(socket_path(state_dir, "comet").parent, listener) if is_native else nullcontext() as near,
        connect(dsn, application="comet") as db,
        connect(database.dsn("owner"), application="nova") as nova,
        execution_plane(context, settings, reactor, db=db, dsn=dsn, backend=backend, builder=builder) as plane,
        serving_port(
            context,
            [Guarded(servicer(context, plane), context.verifier)],
            listener=listener,
            near=near,
            ports=Ports(reactor) if is_native else None,
            lane=plane.lane,
        ),
    ):
        channel = PlaneChannel(name="comet", service_token=SERVICE_TOKEN, address=address)
        try:
            yield Comet(
                plane=plane,
                context=context,
                address=address,
                functions=Functions(nova),
                channel=channel,
                is_native=is_native,
            )
        finally:
            channel.close()


@pytest.fixture(params=[True, False], ids=["native", "python"])
async def comet(request, database, tmp_path) -> AsyncIterator[Comet]:
    """A comet with real sandboxes, its port served by C and by Python."""
    async with running(database, tmp_path / "state", is_native=request.param) as made:
        support = made.plane.backends[0].support()
        if not support.available:
            pytest.skip(support.reason)
        yield made


@pytest.fixture
async def thin(database, tmp_path) -> AsyncIterator[Comet]:
    """A comet whose instances are fakes that echo."""
    async with running(database, tmp_path / "state", script=Script()) as made:
        yield made


__all__ = ["Comet", "Database", "Reply", "eventually", "running"]
