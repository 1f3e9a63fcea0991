"""A gateway and a comet on one machine: calls take the unix socket of the comet that serves the address, and no other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import anyio
import httpx
import pytest

from constellation.aurora.observability.plane import new_context, socket_path
from constellation.base.address import Address
from constellation.base.sockets import listen_tcp, listen_unix
from constellation.native.h2 import Port, Ports
from constellation.native.reactor import Reactor
from constellation.nova.config.sections import PlatformSettings
from constellation.rpc.near import listening_near, near_path
from constellation.rpc.server import Guarded, serving
from constellation.testing.comet import FakeComet
from constellation.testing.gateway import SERVICE_TOKEN, GatewayRig, gateway_rig

pytestmark = pytest.mark.anyio


@dataclass(slots=True, kw_only=True)
class Comet:
    fake: FakeComet
    port: Port
    address: Address
    socket: Path


@asynccontextmanager
async def comet(state_dir: Path, *, port: int = 0, is_near: bool = True) -> AsyncIterator[Comet]:
    """Run a comet whose port is C's, with the socket beside it; its functions are Python's."""
    sockets = socket_path(state_dir, "comet").parent
    verifier = new_context(
        "comet", PlatformSettings(), state_dir=state_dir, service_token=SERVICE_TOKEN, identity_key="identity-key"
    ).verifier
    fake, behind, reactor = FakeComet(), sockets / "comet-grpc.sock", Reactor()

    async def name(_payload: bytes) -> bytes:
        return f'"{state_dir.name}"'.encode()

    fake.functions["name"] = name
    listener, address = listen_tcp(Address("127.0.0.1", port))
    path = near_path(sockets, address)
    assert path is not None
    with reactor.turning(), listener, listening_near(sockets, listener) if is_near else nullcontext() as near:
        async with (
            serving([Guarded(fake, verifier)], listener=listen_unix(behind)),
            Ports(reactor).serving([listener, *([near] if near else [])], behind, linger_s=0.1) as served,
        ):
            yield Comet(fake=fake, port=served, address=address, socket=path)


@asynccontextmanager
async def gateway(settings, state_dir: Path, at: Address) -> AsyncIterator[tuple[GatewayRig, httpx.AsyncClient]]:
    async with (
        gateway_rig(settings, state_dir=state_dir, comet_at=at) as rig,
        httpx.AsyncClient(base_url=rig.url, trust_env=False, timeout=20) as http,
    ):
        yield rig, http


async def called(rig: GatewayRig, http: httpx.AsyncClient) -> str:
    """Call until C has answered one, and return what it answered."""
    assert rig.parts.lane is not None
    before = rig.parts.lane.edge.counts.called
    with anyio.fail_after(10):
        while True:
            answer = await http.post("/functions/name/invoke", json=None)
            if answer.status_code == 200 and rig.parts.lane.edge.counts.called > before:
                return str(answer.json()["output"])
            await anyio.sleep(0.01)


async def test_calls_take_the_socket_of_the_comet_beside(settings, tmp_path):
    async with comet(tmp_path) as near, gateway(settings, tmp_path, near.address) as (rig, http):
        assert await called(rig, http) == tmp_path.name
        assert near.port.counts().accepted_near == 1
        [*_, (_, caller)] = near.fake.calls
        assert caller.identity.subject  # who calls is said as over TCP


async def test_without_a_socket_calls_take_the_address(settings, tmp_path):
    async with comet(tmp_path, is_near=False) as far, gateway(settings, tmp_path, far.address) as (rig, http):
        assert await called(rig, http) == tmp_path.name
        listen_unix(far.socket).close()  # as a killed comet leaves it
        async with gateway(settings, tmp_path, far.address) as (later, through):
            assert await called(later, through) == tmp_path.name
        assert far.port.counts().accepted_near == 0


async def test_two_platforms_side_by_side_do_not_meet(settings, tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    async with comet(ours) as own, comet(theirs) as other:
        async with gateway(settings, ours, own.address) as (rig, http):
            assert await called(rig, http) == "ours"
        async with gateway(settings, ours, other.address) as (rig, http):  # our own comet is there, but is not meant
            assert await called(rig, http) == "theirs"
        assert (own.port.counts().accepted_near, other.port.counts().accepted_near) == (1, 0)


async def test_an_address_that_went_to_another_platform_is_the_others(settings, tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    async with comet(ours) as own:
        address = own.address
    listen_unix(own.socket).close()  # as if it had been killed
    async with comet(theirs, port=address.port) as other, gateway(settings, ours, address) as (rig, http):
        assert await called(rig, http) == "theirs"
        assert other.port.counts().accepted_near == 0


async def test_a_comet_that_comes_back_is_found_by_its_socket_and_one_without_by_its_address(settings, tmp_path):
    async with comet(tmp_path) as first:
        address = first.address
    async with gateway(settings, tmp_path, address) as (rig, http):
        for is_near in (True, False, True, True):
            async with comet(tmp_path, port=address.port, is_near=is_near) as again:
                assert await called(rig, http) == tmp_path.name
                assert again.port.counts().accepted_near == int(is_near)
            assert (await http.post("/functions/name/invoke", json=None)).status_code == 503
