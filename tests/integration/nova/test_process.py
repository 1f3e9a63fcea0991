"""The command itself: first start, second start, kills, and the end."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import httpx
import pytest
from anyio.abc import Process

from constellation.nova.domain.access import ANY, ROLE_PERMISSIONS, Role
from constellation.nova.domain.grants import Principal
from constellation.nova.domain.identity import identity_of, mint
from constellation.nova.store.embedded import EmbeddedPostgres

pytestmark = [pytest.mark.anyio, pytest.mark.postgres, pytest.mark.slow]

ADMIN = Principal.with_role(Role.ADMIN, subject="test", tenant=ANY, namespace=ANY)


@dataclass(slots=True, kw_only=True)
class Plane:
    """A running nova and what it printed so far."""

    process: Process
    http: httpx.AsyncClient
    state_dir: Path
    output: list[str] = field(default_factory=list)

    def headers(self) -> dict[str, str]:
        identity = identity_of(ADMIN, tenant="default", namespace="default", now_s=4_000_000_000)
        key = (self.state_dir / "identity.key").read_bytes()
        token = (self.state_dir / "service.token").read_text()
        return {"authorization": f"Bearer {token}", "nova-identity": mint(key, identity)}

    @property
    def text(self) -> str:
        return "".join(self.output)


def command(state_dir: Path, http: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "constellation.nova.main",
        "daemon",
        "--http",
        http,
        "--state-dir",
        str(state_dir),
        "--log-level",
        "info",
    ]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@asynccontextmanager
async def running(state_dir: Path):
    """Run nova until the block ends; then it must end by itself on SIGTERM, unless it is gone already."""
    port = free_port()
    async with (
        await anyio.open_process(command(state_dir, f"127.0.0.1:{port}"), stderr=subprocess.STDOUT) as process,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as client,
        anyio.create_task_group() as tasks,
    ):
        plane = Plane(process=process, http=client, state_dir=state_dir)
        ready, ended = anyio.Event(), anyio.Event()

        async def read() -> None:
            async for piece in process.stdout:
                plane.output.append(piece.decode())
                if "nova.ready" in plane.text:
                    ready.set()
            ready.set()
            ended.set()

        tasks.start_soon(read)
        try:
            with anyio.fail_after(60):
                await ready.wait()
            assert process.returncode is None, plane.text
            yield plane
            if process.returncode is None:
                process.terminate()
                with anyio.fail_after(15):
                    await process.wait()
                assert process.returncode == 0, plane.text
            with anyio.fail_after(10):  # PostgreSQL lives on and must not hold nova's output open
                await ended.wait()
        finally:
            if process.returncode is None:
                process.kill()
            tasks.cancel_scope.cancel()


@pytest.fixture
async def state_dir(tmp_path):
    directory = tmp_path / "state"
    yield directory
    await EmbeddedPostgres(directory).stop()


async def until(check, *, within_s: float = 20.0):
    """Repeat until `check` returns something true, and return that."""
    with anyio.fail_after(within_s):
        while True:
            found = await check()
            if found:
                return found
            await anyio.sleep(0.05)


async def test_a_first_start_makes_an_administrator_and_hello_python_once(state_dir):
    async with running(state_dir) as nova:
        shown = re.findall(r"sk_[A-Za-z0-9]+", nova.text)
        assert len(shown) == 1
        body = {"kind": "presented", "credential": shown[0]}
        me = await nova.http.post("/internal/authenticate", json=body, headers=nova.headers())
        assert (me.json()["subject"], me.json()["tenant"], me.json()["namespace"]) == ("platform-key:admin", "*", "*")
        assert me.json()["grants"][0]["permissions"] == sorted(ROLE_PERMISSIONS[Role.ADMIN])
        code = (await nova.http.get("/functions/hello-python/code", headers=nova.headers())).json()["code"]
        scope: dict[str, object] = {}
        exec(code, scope)
        assert scope["handler"]({"name": "Ada"}, None) == {"message": "Hello, Ada!"}
        health = await nova.http.get("/internal/health", headers=nova.headers())
        assert health.json()["status"] == "ok"
        for name in ("service.token", "identity.key", "comet.dsn", "run/nova.sock"):
            assert (state_dir / name).stat().st_mode & 0o077 == 0
        assert (await nova.http.delete("/functions/hello-python", headers=nova.headers())).status_code == 200
    async with running(state_dir) as nova:
        assert "sk_" not in nova.text
        assert (await nova.http.get("/functions", headers=nova.headers())).json()["items"] == []


async def test_a_second_nova_in_one_state_directory_is_refused(state_dir):
    async with running(state_dir) as nova:
        done = await anyio.run_process(command(state_dir, "127.0.0.1:0"), check=False, stderr=subprocess.STDOUT)
        assert done.returncode == 1
        said = done.stdout.decode()
        assert f"nova runs in {state_dir} already (pid {nova.process.pid})" in said
        assert "Traceback" not in said
        assert (await nova.http.get("/internal/health", headers=nova.headers())).status_code == 200
        taken = nova.http.base_url.port
        other = state_dir.with_name("other")
        done = await anyio.run_process(command(other, f"127.0.0.1:{taken}"), check=False, stderr=subprocess.STDOUT)
        assert done.returncode == 1
        assert f"can not listen on 127.0.0.1:{taken}" in done.stdout.decode()


async def test_traffic_goes_on_after_postgres_is_killed(state_dir):
    async with running(state_dir) as nova:
        statuses: set[tuple[int, str]] = set()
        stop = anyio.Event()
        headers = nova.headers()

        async def traffic() -> None:
            while not stop.is_set():
                answer = await nova.http.get("/functions/hello-python", headers=headers)
                statuses.add((answer.status_code, answer.headers["content-type"]))
                await anyio.sleep(0.01)

        async def write(name: str) -> bool:
            body = {"name": name, "runtime": "python", "code": "def handler(e, c): pass\n"}
            return (await nova.http.post("/functions", json=body, headers=headers)).status_code == 201

        async with (
            nova.http.stream("GET", "/internal/changes", headers=headers) as stream,
            anyio.create_task_group() as tasks,
        ):
            lines = stream.aiter_lines()
            assert "hello" in await anext(lines)
            for _ in range(4):
                tasks.start_soon(traffic)
            postgres = EmbeddedPostgres(state_dir)
            killed = postgres.pid
            os.kill(killed, signal.SIGKILL)
            await until(lambda: write("after-the-kill"))
            assert postgres.pid != killed
            stop.set()
            with anyio.fail_after(20):
                while "after-the-kill" not in await anext(lines):
                    continue
        allowed = {(200, "application/json"), (503, "application/problem+json")}
        assert statuses <= allowed
        assert (200, "application/json") in statuses
        assert "request.broke" not in nova.text
        port = nova.http.base_url.port
    # The server that nova started outlives it and holds nothing of it.
    assert EmbeddedPostgres(state_dir).pid == postgres.pid
    socket.create_server(("127.0.0.1", port)).close()


async def test_a_killed_nova_comes_back_to_what_it_had(state_dir):
    async with running(state_dir) as nova:
        body = {"name": "kept", "runtime": "python", "code": "def handler(e, c): pass\n"}
        assert (await nova.http.post("/functions", json=body, headers=nova.headers())).status_code == 201
        postgres = EmbeddedPostgres(state_dir).pid
        token = (state_dir / "service.token").read_text()
        nova.process.kill()
        await nova.process.wait()
    async with running(state_dir) as nova:
        assert (await nova.http.get("/functions/kept", headers=nova.headers())).status_code == 200
        assert EmbeddedPostgres(state_dir).pid == postgres
        assert (state_dir / "service.token").read_text() == token


async def test_it_stops_at_once_though_somebody_follows_its_changes(state_dir):
    async with (
        running(state_dir) as nova,
        nova.http.stream("GET", "/internal/changes", headers=nova.headers()) as stream,
    ):
        lines = stream.aiter_lines()
        await anext(lines)
        nova.process.terminate()
        with anyio.fail_after(8):  # under the drain: the stream is ended, not waited for
            await nova.process.wait()
        assert nova.process.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--http", "nowhere"], "'nowhere' is not HOST:PORT"),
        (["--log-level", "loud"], "platform.log_level"),
        (["--config", "/nonexistent.json"], "can not be read"),
        (["--surprise"], "No such option"),
    ],
)
async def test_bad_arguments_are_refused_in_one_line(tmp_path, arguments, said):
    base = [sys.executable, "-m", "constellation.nova.main", "daemon", "--state-dir", str(tmp_path / "state")]
    done = await anyio.run_process([*base, *arguments], check=False, stderr=subprocess.STDOUT)
    assert done.returncode in (1, 2)
    text = done.stdout.decode()
    assert said in text
    assert "Traceback" not in text
