"""What happens when comet or a fork server is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import anyio
import pytest

from constellation.base.ids import uuid7
from constellation.comet.backend.contract import Call, InstanceDied, InstanceSpec
from constellation.comet.namespace.settings import NamespaceSettings, group_name
from constellation.testing.sandboxes import running_backend

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox, pytest.mark.slow]

SOURCE = "import subprocess\ndef handler(event, context):\n    subprocess.Popen(['sleep', event])\n    return 1\n"

# A comet's worth of backend: two instances with grandchildren, then it waits to be killed.
COMET = """
import json, sys
from pathlib import Path
import anyio
from constellation.base.ids import uuid7
from constellation.comet.backend.contract import Call, InstanceSpec
from constellation.comet.namespace.settings import NamespaceSettings, group_name
from constellation.testing.sandboxes import running_backend

data_dir, code_dir, seconds, use_cgroups = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4] == "True"

async def main():
    settings = NamespaceSettings(run_dir=data_dir / "run", group=group_name(data_dir), use_cgroups=use_cgroups)
    async with running_backend(settings) as backend:
        for runtime in ("python", "node"):
            instance = await backend.create(InstanceSpec(
                tenant="t", namespace="n", function_id=uuid7(), function_name="f", function_version="1",
                runtime=runtime, handler="main.handler", code_dir=code_dir), timeout_s=30)
            await instance.init(timeout_s=20)
            await instance.invoke(Call(request_id=uuid7(), payload=json.dumps(seconds).encode(), timeout_s=20))
        await backend.keep_templates({"python", "node"}, memory_bytes=1 << 30)
        await backend.templates_ready()
        print("ready", flush=True)
        await anyio.sleep(600)

anyio.run(main)
"""


def _code(directory: Path) -> Path:
    directory.mkdir()
    directory.chmod(0o755)
    (directory / "main.py").write_text(SOURCE)
    (directory / "main.js").write_text(
        "exports.handler = (s) => { require('node:child_process').spawn('sleep', [s]); return 1 };"
    )
    return directory


def _processes_with(marker: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[:2] == [b"sleep", marker.encode()]:
                found.append(int(entry.name))
    return found


async def _gone(marker: str) -> None:
    with anyio.fail_after(20):
        while _processes_with(marker):
            await anyio.sleep(0.01)


def _spec(code_dir: Path) -> InstanceSpec:
    return InstanceSpec(
        tenant="t", namespace="n", function_id=uuid7(), function_name="f", function_version="1", runtime="python",
        handler="main.handler", code_dir=code_dir,
    )  # fmt: skip


@pytest.mark.parametrize("use_cgroups", [True, False])
@pytest.mark.parametrize("is_frozen", [False, True], ids=["servers-run", "servers-frozen"])
async def test_a_killed_comet_leaves_nothing_after_the_next_start(tmp_path, use_cgroups, is_frozen):
    code_dir, seconds = _code(tmp_path / "code"), f"98765.{uuid4().int % 10**9}"
    comet = subprocess.Popen(
        [sys.executable, "-c", COMET, tmp_path, code_dir, seconds, str(use_cgroups)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    servers: list[int] = []
    try:
        assert comet.stdout is not None
        while (line := comet.stdout.readline()) != "ready\n":
            if not line:
                pytest.skip("this host can not make sandboxes")
        assert len(_processes_with(seconds)) == 2
        records = list((tmp_path / "run").glob("*.json"))
        assert {r.stem for r in records} == {"python", "exec"}
        if is_frozen:  # fork servers that can not notice the death of their comet
            servers = [int(r.read_text().split(":")[1].split(",")[0]) for r in records]
            for pid in servers:
                os.kill(pid, signal.SIGSTOP)
    finally:
        comet.kill()
        comet.communicate()
    settings = NamespaceSettings(run_dir=tmp_path / "run", group=group_name(tmp_path), use_cgroups=use_cgroups)
    async with running_backend(settings) as backend:
        await _gone(seconds)
        assert not [pid for pid in servers if Path(f"/proc/{pid}/cwd").exists()]
        instance = await backend.create(_spec(code_dir), timeout_s=30)
        await instance.init(timeout_s=20)
        await instance.destroy()
    left = [d for d in Path("/sys/fs/cgroup").glob(f"**/{group_name(tmp_path)}") if d.is_dir()]
    assert left == []


def _fork_server(tmp_path: Path) -> int:
    return int((tmp_path / "run/python.json").read_text().split(":")[1].split(",")[0])


async def test_a_killed_fork_server_ends_its_instances_and_is_replaced(tmp_path):
    code_dir, seconds = _code(tmp_path / "code"), f"98765.{uuid4().int % 10**9}"
    settings = NamespaceSettings(run_dir=tmp_path / "run", group=group_name(tmp_path))
    async with running_backend(settings) as backend:
        if not backend.support().available:
            pytest.skip(backend.support().reason)
        instance = await backend.create(_spec(code_dir), timeout_s=30)
        await instance.init(timeout_s=20)
        await instance.invoke(Call(request_id=uuid7(), payload=f'"{seconds}"'.encode(), timeout_s=20))
        server = _fork_server(tmp_path)
        os.kill(server, signal.SIGKILL)
        with anyio.fail_after(10):
            await instance.died.wait()
        with pytest.raises(InstanceDied):
            await instance.invoke(Call(request_id=uuid7(), payload=b"1", timeout_s=20))
        await instance.destroy()
        await _gone(seconds)
        again = await backend.create(_spec(code_dir), timeout_s=30)
        await again.init(timeout_s=20)
        assert (await again.invoke(Call(request_id=uuid7(), payload=b'"0"', timeout_s=20))).output == b"1"
        await again.destroy()


async def test_the_backend_ends_what_its_user_forgot(tmp_path):
    code_dir, seconds = _code(tmp_path / "code"), f"98765.{uuid4().int % 10**9}"
    settings = NamespaceSettings(run_dir=tmp_path / "run", group=group_name(tmp_path))
    async with running_backend(settings) as backend:
        if not backend.support().available:
            pytest.skip(backend.support().reason)
        instance = await backend.create(_spec(code_dir), timeout_s=30)
        await instance.init(timeout_s=20)
        await instance.invoke(Call(request_id=uuid7(), payload=f'"{seconds}"'.encode(), timeout_s=20))
    assert instance.died.is_set()
    assert _processes_with(seconds) == []
    assert not list((tmp_path / "run").iterdir())


async def test_a_slot_comes_back_when_what_is_in_it_ends_late(tmp_path):
    code_dir = _code(tmp_path / "code")
    settings = NamespaceSettings(run_dir=tmp_path / "run", group=group_name(tmp_path), destroy_s=0)
    async with running_backend(settings) as backend:
        if not backend.support().available:
            pytest.skip(backend.support().reason)
        instance = await backend.create(_spec(code_dir), timeout_s=30)
        server = _fork_server(tmp_path)
        os.kill(server, signal.SIGSTOP)  # its note that the sandbox ended comes when it goes on
        await instance.destroy()
        assert instance.slot.number not in backend._slots._free
        os.kill(server, signal.SIGCONT)
        with anyio.fail_after(20):
            while instance.slot.number not in backend._slots._free:
                await anyio.sleep(0.005)


async def test_a_burst_of_starts_all_succeed(tmp_path):
    code_dir = _code(tmp_path / "code")
    settings = NamespaceSettings(run_dir=tmp_path / "run", group=group_name(tmp_path))
    answers = []
    async with running_backend(settings) as backend:
        if not backend.support().available:
            pytest.skip(backend.support().reason)

        async def once() -> None:
            instance = await backend.create(_spec(code_dir), timeout_s=60)
            await instance.init(timeout_s=60)
            answers.append((await instance.invoke(Call(request_id=uuid7(), payload=b'"0"', timeout_s=60))).output)
            await instance.destroy()

        began = time.monotonic()
        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(once)
        print(f"100 starts in {time.monotonic() - began:.2f} s")
    assert answers == [b"1"] * 100
