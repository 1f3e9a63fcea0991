"""Comet's port and every plane's socket speak the standard health and reflection services, and nothing else to strangers."""

from __future__ import annotations

import anyio
import pytest
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.health.v1.health_grpc import HealthStub
from grpclib.health.v1.health_pb2 import HealthCheckRequest
from grpclib.reflection.v1.reflection_grpc import ServerReflectionStub
from grpclib.reflection.v1.reflection_pb2 import ServerReflectionRequest

from constellation.wire.gen.nova_grpc import NovaServiceStub
from constellation.wire.gen.nova_pb2 import InvokeRequest
from constellation.wire.gen.telemetry_grpc import TelemetryStub
from constellation.wire.gen.telemetry_pb2 import MetricsRequest

pytestmark = pytest.mark.anyio
SERVING = 1
PLANES = ("nova", "comet", "corona", "nebula", "aurora", "zenith")


def _comet(platform):
    host, port = platform.planes()["comet"]["address"].rsplit(":", 1)
    return Channel(host, int(port))


def _comet_beside(platform):
    return Channel(path=str(platform.data_dir / "run" / f"comet-{platform.planes()['comet']['address']}.sock"))


@pytest.mark.parametrize("plane", PLANES)
async def test_every_plane_is_healthy_on_its_socket(platform, plane):
    with anyio.fail_after(10):
        async with Channel(path=str(platform.data_dir / "run" / f"{plane}.sock")) as channel:
            reply = await HealthStub(channel).Check(HealthCheckRequest())
    assert reply.status == SERVING


async def test_comet_lists_its_services(platform):
    with anyio.fail_after(10):
        async with _comet(platform) as channel:
            [reply] = await ServerReflectionStub(channel).ServerReflectionInfo(
                [ServerReflectionRequest(list_services="")]
            )
            health = await HealthStub(channel).Check(HealthCheckRequest())
    names = {service.name for service in reply.list_services_response.service}
    assert {"nova.v1.NovaService", "grpc.health.v1.Health"} <= names
    assert health.status == SERVING


async def test_calls_come_to_comet_by_its_unix_socket(platform):
    for _ in range(2):  # the first asks who calls
        assert platform.output("hello-python", {"name": "Ada"})
    token = (platform.data_dir / "service.token").read_text().strip()
    with anyio.fail_after(10):
        async with Channel(path=str(platform.data_dir / "run" / "comet.sock")) as channel:
            reply = await TelemetryStub(channel).Metrics(
                MetricsRequest(), metadata={"authorization": f"Bearer {token}"}
            )
    [line] = [
        line for line in reply.text.decode().splitlines() if line.startswith("constellation_port_accepted_near_total")
    ]
    assert float(line.split()[-1]) >= 1


@pytest.mark.parametrize("way", [_comet, _comet_beside])
@pytest.mark.parametrize("metadata", [{}, {"authorization": "Bearer guess"}])
async def test_a_stranger_on_comets_port_is_refused(platform, metadata, way):
    with anyio.fail_after(10):
        async with way(platform) as channel:
            with pytest.raises(GRPCError) as refused:
                await NovaServiceStub(channel).Invoke(InvokeRequest(function="hello-python"), metadata=metadata)
    assert refused.value.status is Status.UNAUTHENTICATED


async def test_the_service_token_alone_is_nobody(platform):
    token = (platform.data_dir / "service.token").read_text().strip()
    with anyio.fail_after(10):
        async with _comet(platform) as channel:
            with pytest.raises(GRPCError) as refused:
                await NovaServiceStub(channel).Invoke(
                    InvokeRequest(function="hello-python"), metadata={"authorization": f"Bearer {token}"}
                )
    assert refused.value.status is Status.UNAUTHENTICATED
