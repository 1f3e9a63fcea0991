"""Comet's unix socket lets nobody in whom its TCP port would not."""

from __future__ import annotations

import json

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from constellation.aurora.observability.plane import socket_path
from constellation.base.errors import ConstellationError
from constellation.rpc.channel import PlaneChannel
from constellation.rpc.near import near_path
from constellation.wire.gen import nova_pb2
from constellation.wire.gen.nova_grpc import NovaServiceStub

from .conftest import SERVICE_TOKEN, running

pytestmark = [pytest.mark.anyio, pytest.mark.postgres, pytest.mark.sandbox]


@pytest.fixture
async def comet(database, tmp_path):
    async with running(database, tmp_path / "state", is_native=True) as made:
        support = made.plane.backends[0].support()
        if not support.available:
            pytest.skip(support.reason)
        yield made


def _near(comet, *, service_token: str) -> PlaneChannel:
    path = near_path(socket_path(comet.context.state_dir, "comet").parent, comet.address)
    return PlaneChannel(name="comet", service_token=service_token, path=path)


async def test_a_call_over_the_unix_socket_is_served_in_c_as_over_tcp(comet):
    await comet.deploy("f", "def handler(event, context):\n    return event\n")
    request = nova_pb2.InvokeRequest(function="f", payload=b"[1]")
    channel = _near(comet, service_token=SERVICE_TOKEN)
    try:
        reply = await channel.unary(
            NovaServiceStub(channel.grpc).Invoke, request, metadata=comet.metadata(), timeout_s=60
        )
    finally:
        channel.close()
    assert json.loads(reply.output) == [1]
    taken = comet.context.registry.get_sample_value("constellation_port_taken_total")
    near = comet.context.registry.get_sample_value("constellation_port_accepted_near_total")
    assert (taken, near) == (1, 1)


@pytest.mark.parametrize(
    "metadata", [{}, {"authorization": "Bearer guess"}, {"authorization": f"Bearer {SERVICE_TOKEN}"}]
)
async def test_a_caller_on_the_unix_socket_says_who_it_is(comet, metadata):
    channel = _near(comet, service_token="guess")
    try:
        with pytest.raises((GRPCError, ConstellationError)) as refused:
            await NovaServiceStub(channel.grpc).Invoke(nova_pb2.InvokeRequest(function="f"), metadata=metadata)
    finally:
        channel.close()
    assert refused.value.status is Status.UNAUTHENTICATED
