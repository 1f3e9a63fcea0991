"""Aurora as a process beside real planes, missing ones, and ones that hang."""

from __future__ import annotations

import socket
import subprocess
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from constellation.aurora.observability.collect import PLANES
from constellation.aurora.observability.plane import new_context, socket_path, telemetry
from constellation.base.sockets import listen_unix
from constellation.nova.config.sections import PlatformSettings
from tests.integration.workers.rig import IDENTITY_KEY, SERVICE_TOKEN, eventually
from tests.tools import promtool

pytestmark = [pytest.mark.anyio, pytest.mark.postgres, pytest.mark.slow]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@asynccontextmanager
async def _others(platform, *planes):
    """Planes in this process that answer aurora."""
    async with AsyncExitStack() as stack:
        for plane in planes:
            context = new_context(
                plane,
                PlatformSettings(node="n1"),
                state_dir=platform.state_dir,
                service_token=SERVICE_TOKEN,
                identity_key=IDENTITY_KEY,
            )
            await stack.enter_async_context(telemetry(context))
        yield


@pytest.fixture
async def aurora(platform):
    port = _free_port()
    platform.start("aurora", "--listen", f"127.0.0.1:{port}", config={"aurora": {"collect_timeout": "500ms"}})
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:

        async def answers():
            try:
                return (await client.get("/metrics")).status_code == 200
            except httpx.ConnectError:
                return False

        await eventually(answers, platform)
        yield client


def _up(text: str) -> dict[str, float]:
    return {
        sample.labels["plane"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "constellation_plane_up"
    }


async def test_whole_node_is_one_clean_exposition(platform, aurora, comet):
    async with comet.serving() as address:
        platform.start("nebula", "--comet-grpc", str(address))
        platform.start("corona", "--comet-grpc", str(address))
        async with _others(platform, "nova", "comet", "zenith"):

            async def all_up():
                answer = await aurora.get("/metrics")
                return answer if set(_up(answer.text).values()) == {1.0} else None

            answer = await eventually(all_up, platform)
            health = await aurora.get("/health")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    text = answer.text
    for plane in PLANES:
        assert f'plane="{plane}"' in text
    assert text.count("# TYPE process_cpu_seconds_total counter") == 1
    assert "constellation_async_jobs_claimed_total{" in text
    assert "constellation_schedule_lateness_seconds_bucket{" in text
    checked = subprocess.run([promtool(), "check", "metrics"], input=text, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert (health.status_code, health.json()["status"]) == (200, "ok")
    assert health.json()["planes"]["nebula"] == {"status": "up"}


async def test_missing_planes_are_down_and_the_rest_is_served(platform, aurora):
    async with _others(platform, "nova"):
        metrics = await aurora.get("/metrics")
        health = await aurora.get("/health")
    assert _up(metrics.text) == {"nova": 1, "aurora": 1, "comet": 0, "corona": 0, "nebula": 0, "zenith": 0}
    assert (health.status_code, health.json()["status"]) == (503, "degraded")
    assert health.json()["planes"]["nova"] == {"status": "up"}
    assert health.json()["planes"]["comet"]["status"] == "down"
    assert health.json()["planes"]["comet"]["reason"]


async def test_plane_that_hangs_costs_no_more_than_the_deadline(platform, aurora):
    with listen_unix(socket_path(platform.state_dir, "comet")):  # connections are taken by the kernel and never read
        with anyio.fail_after(10):
            metrics = await aurora.get("/metrics")
            health = await aurora.get("/health")
    assert _up(metrics.text)["comet"] == 0
    assert _up(metrics.text)["aurora"] == 1
    assert health.json()["planes"]["comet"]["status"] == "down"


async def test_plane_that_comes_back_is_up_again(platform, aurora):
    for _ in range(2):
        async with _others(platform, "nova"):
            assert _up((await aurora.get("/metrics")).text)["nova"] == 1


async def test_house_is_kept_with_auroras_own_role(platform, aurora):
    async def kept():
        return "constellation_housekeeping_runs_total{node=" in (await aurora.get("/metrics")).text

    await eventually(kept, platform)
    text = (await aurora.get("/metrics")).text
    assert 'outcome="succeeded"' in text
    assert 'outcome="failed"' not in text


async def test_wrong_paths_and_methods_are_problems(aurora):
    missing = await aurora.get("/nothing")
    assert (missing.status_code, missing.json()["code"]) == (404, "route_not_found")
    assert missing.headers["content-type"] == "application/problem+json"
    wrong = await aurora.post("/metrics")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method_not_allowed")
    assert "GET" in wrong.headers["allow"]


async def test_taken_port_is_one_clear_line(platform):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = platform.start("aurora", "--listen", f"127.0.0.1:{taken.getsockname()[1]}")
        await anyio.to_thread.run_sync(process.wait)
    assert process.returncode == 1
    assert "can not listen on" in platform.log()
    assert "Traceback" not in platform.log()
