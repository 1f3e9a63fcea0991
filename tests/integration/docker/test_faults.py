"""What happens when comet is killed, and when the daemon is not there, silent, or comes later."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import pytest

from constellation.comet.backend.contract import SandboxStartFailed
from constellation.comet.docker import door
from constellation.testing.sandboxes import running_docker

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox, pytest.mark.slow]

IDLE = "def handler(event, context):\n    return event\n"
# A comet's worth of backend: one instance that does not hear of its comet's end, then it waits to be killed.
COMET = """
import sys
from pathlib import Path
import anyio
from constellation.base.ids import uuid7
from constellation.comet.backend.contract import Call, InstanceSpec
from constellation.comet.docker.settings import DockerSettings
from constellation.testing.dockerd import IMAGE
from constellation.testing.sandboxes import running_docker

run_dir, platform, socket, code_dir = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])

async def main():
    settings = DockerSettings(run_dir=run_dir, platform=platform, socket=socket, images={"python": IMAGE}, uid_base=1_600_000)
    async with running_docker(settings) as backend:
        instance = await backend.create(InstanceSpec(
            tenant="t", namespace="n", function_id=uuid7(), function_name="f", function_version="1",
            runtime="python", handler="main.handler", code_dir=code_dir), timeout_s=30)
        await instance.init(timeout_s=20)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(instance.invoke, Call(request_id=uuid7(), payload=b"null", timeout_s=600))
            await anyio.sleep(0.2)
            print("ready", flush=True)

anyio.run(main)
"""


def _json(body: bytes, status: int = 200) -> bytes:
    head = f"HTTP/1.1 {status} Yes\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


@asynccontextmanager
async def _answering(place: Path, answer: bytes) -> AsyncIterator[None]:
    """Listen there and say the same to every request."""

    async def serve(stream) -> None:
        async with stream:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):  # the look whether somebody listens
                await stream.receive()
                await stream.send(answer)

    async with anyio.create_task_group() as tasks, await anyio.create_unix_listener(place) as listener:
        tasks.start_soon(listener.serve, serve)
        yield
        tasks.cancel_scope.cancel()


def _readiness(comet: subprocess.Popen[str]) -> bool:
    assert comet.stdout is not None
    return any(line == "ready\n" for line in comet.stdout)


def _names(daemon) -> list[str]:
    return [name for each in daemon.get("/containers/json?all=true").json() for name in each["Names"]]


async def test_a_killed_comet_leaves_nothing_after_the_next_start(dockerd, settings, spec, daemon, tmp_path):
    busy = spec("import time\ndef handler(event, context):\n    time.sleep(600)\n")
    mine = settings(dockerd)
    other = "another-platform-of-this-host"
    comets = []
    for platform, run_dir in ((mine.platform, mine.run_dir), (other, tmp_path / "other")):
        words = [sys.executable, "-c", COMET, run_dir, platform, dockerd, busy.code_dir]
        comet = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)
        comets.append(comet)
    try:
        for comet in comets:
            assert await anyio.to_thread.run_sync(_readiness, comet)
        assert len(_names(daemon)) == 2
        comets[0].kill()
        comets[0].wait()
        async with running_docker(mine) as backend:
            [left] = _names(daemon)  # the other platform's
            instance = await backend.create(spec(IDLE), timeout_s=30)
            await instance.destroy()
            assert _names(daemon) == [left]
    finally:
        for comet in comets:
            comet.kill()
            comet.wait()
            comet.stdout.close()
    async with running_docker(settings(dockerd, platform=other, run_dir=tmp_path / "other")):
        assert _names(daemon) == []


async def test_a_daemon_that_stops_answering_costs_the_call_its_time_and_leaves_nothing(
    dockerd, settings, spec, daemon
):
    pid = int((dockerd.parent / "pid").read_text())
    mine = settings(dockerd, probe_s=0.5, look_s=0.2, call_s=2.0, destroy_s=0.5)
    async with running_docker(mine) as backend:
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(SandboxStartFailed) as failed:
                await backend.create(spec(IDLE), timeout_s=1)
            assert "docker" in str(failed.value) or "no hello" in str(failed.value)
            with anyio.fail_after(20):
                while backend.support().available:
                    await anyio.sleep(0.02)
            assert "did not answer within 0.5 s" in backend.support().reason
            with pytest.raises(SandboxStartFailed, match=r"did not answer"):
                await backend.create(spec(IDLE), timeout_s=30)
        finally:
            os.kill(pid, signal.SIGCONT)
        with anyio.fail_after(30):
            while not backend.support().available or _names(daemon):
                await anyio.sleep(0.02)
        instance = await backend.create(spec(IDLE), timeout_s=30)
        await instance.init(timeout_s=20)
        await instance.destroy()


async def test_a_daemon_is_found_when_it_comes(dockerd, settings, tmp_path):
    place = tmp_path / "later.sock"
    async with running_docker(settings(place, look_s=0.05)) as backend:
        assert not backend.support().available
        assert f"{place} does not exist" in backend.support().reason
        place.symlink_to(dockerd)
        with anyio.fail_after(20):
            while not backend.support().available:
                await anyio.sleep(0.02)
        place.unlink()
        with anyio.fail_after(20):
            while backend.support().available:
                await anyio.sleep(0.02)


async def test_a_listener_that_says_nothing_is_said(settings, tmp_path):
    place = tmp_path / "silent.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        listener.listen(16)
        async with running_docker(settings(place, probe_s=0.3)) as backend:
            assert backend.support().reason == "the daemon did not answer within 0.3 s"
    assert "no daemon listens" in door.refusal(place)


@pytest.mark.parametrize(
    "answer",
    [b"220 mail\r\n", _json(b"[]"), _json(b"{}"), _json(b"nope"), _json(b'{"ApiVersion": "new"}'), _json(b'"', 500)],
    ids=["mail", "list", "empty", "text", "version", "error"],
)
async def test_something_else_behind_the_socket_is_said(settings, tmp_path, answer):
    place = tmp_path / "other.sock"

    async with _answering(place, answer), running_docker(settings(place)) as backend:
        assert not backend.support().available
        assert backend.support().reason.startswith("the daemon does not answer: docker: version: ")


async def test_a_daemon_that_is_too_old_is_said(settings, tmp_path):
    place = tmp_path / "old.sock"

    async with (
        _answering(place, _json(b'{"ApiVersion": "1.40", "Version": "19.03"}')),
        running_docker(settings(place)) as backend,
    ):
        assert backend.support().reason == "the daemon speaks API 1.40; 1.41 (Docker 20.10) is the least"


def test_a_socket_that_one_may_not_use_is_said(dockerd):
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom constellation.comet.docker import door\n"
        "os.setgid(65534); os.setgroups([]); os.setuid(65534)\nprint(door.refusal(Path(sys.argv[1])))"
    )
    if os.geteuid() != 0:
        pytest.skip("to be another user takes root")
    open_dir = Path("/tmp")
    place = open_dir / f"constellation-refused-{os.getpid()}.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        try:
            place.chmod(0o600)
            listener.listen(1)
            done = subprocess.run([sys.executable, "-c", script, place], capture_output=True, text=True, check=True)
        finally:
            place.unlink()
    assert "permission denied for uid 65534" in done.stdout
