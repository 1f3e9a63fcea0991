"""What is held ready follows what is deployed, within a bound of memory."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path

import anyio
import pytest
from structlog.testing import capture_logs

from constellation.base.errors import Unavailable
from constellation.base.ids import uuid7
from constellation.comet.backend.contract import Call, InstanceSpec
from constellation.comet.namespace.memory import proportional_bytes
from constellation.comet.namespace.settings import NamespaceSettings
from constellation.comet.templates import TemplateKeeper
from constellation.testing.fake_backend import FakeBackend
from constellation.testing.sandboxes import running_backend

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox]

MEMORY = 256 << 20


async def test_a_host_that_can_not_preload_says_why_once(tmp_path):
    settings = NamespaceSettings(run_dir=tmp_path / "run", group="none", use_cgroups=False)
    with capture_logs() as logs:
        async with running_backend(settings) as backend:
            assert "control groups for memory and pids" in backend.support().preload_reason
            said = [line for line in logs if line["event"] == "backend.preload"]
            assert [line["reason"] for line in said] == [backend.support().preload_reason]


def _names(backend):
    return {path.stem for path in backend._settings.run_dir.glob("*.json")}


async def _becomes(backend, names):
    with anyio.fail_after(20):
        while _names(backend) != names:
            await anyio.sleep(0.02)


async def test_templates_follow_what_is_used(backend):
    await backend.keep_templates({"python", "node"}, memory_bytes=MEMORY)
    await _becomes(backend, {"python", "exec"})
    await backend.keep_templates({"node", "cobol"}, memory_bytes=MEMORY)
    await _becomes(backend, {"exec"})
    await backend.keep_templates((), memory_bytes=MEMORY)
    await _becomes(backend, set())


async def test_no_template_is_added_over_the_bound(backend):
    await backend.keep_templates({"python"}, memory_bytes=0)
    assert _names(backend) == set()
    await backend.keep_templates({"node", "python"}, memory_bytes=1)  # room for the first alone
    assert _names(backend) == {"exec"}


def _spares(backend):
    return [sandbox for ready in backend._spares._ready.values() for sandbox in ready]


async def _ready(backend, runtimes=("python",), memory_bytes=MEMORY):
    await backend.keep_templates(set(runtimes), memory_bytes=memory_bytes)
    with anyio.fail_after(30):
        await backend.templates_ready()
    return _spares(backend)


@contextlib.asynccontextmanager
async def _instance(backend, tmp_path, source="def handler(event, context):\n    return event\n", **fields):
    code_dir = tmp_path / uuid7().hex
    code_dir.mkdir()
    code_dir.chmod(0o755)
    (code_dir / "main.py").write_text(source)
    (code_dir / "main.js").write_text("exports.handler = (event) => event;\n")
    given = {"tenant": "acme", "namespace": "prod", "function_name": "f", "function_version": "1", "runtime": "python"}
    spec = InstanceSpec(function_id=uuid7(), handler="main.handler", code_dir=code_dir, **(given | fields))
    instance = await backend.create(spec, timeout_s=30)
    try:
        await instance.init(timeout_s=20)
        yield instance
    finally:
        await instance.destroy()


async def _ask(instance, event=None):
    outcome = await instance.invoke(Call(request_id=uuid7(), payload=json.dumps(event).encode(), timeout_s=20))
    assert outcome.error is None, outcome.error
    return json.loads(outcome.output)


@pytest.mark.parametrize("runtime", ["python", "node"])
async def test_a_start_takes_a_template_and_another_is_made(backend, tmp_path, runtime):
    ready = await _ready(backend, [runtime])
    assert ready
    async with _instance(backend, tmp_path, runtime=runtime) as instance:
        assert instance.pid in {sandbox.spawned.pid for sandbox in ready}
        assert await _ask(instance, 5) == 5
        assert len(await _ready(backend, [runtime])) == len(ready)


async def test_each_template_is_one_instance_for_ever(backend, tmp_path):
    ready = {sandbox.spawned.pid for sandbox in await _ready(backend)}
    pids = set()
    for number in range(len(ready) + 2):  # more than there are
        async with _instance(backend, tmp_path, tenant=f"t{number}") as instance:
            pids.add((instance.pid, await _ask(instance, number)))
    assert len(pids) == len(ready) + 2


async def test_a_template_has_the_limits_of_its_function(backend, tmp_path):
    source = (
        "import os, resource\n"
        "def handler(event, context):\n"
        "    tmp = os.statvfs('/tmp')\n"
        "    return [resource.getrlimit(resource.RLIMIT_NPROC)[0], tmp.f_blocks * tmp.f_frsize, context.memory_limit_mb]\n"
    )
    ready = {sandbox.spawned.pid for sandbox in await _ready(backend)}
    async with _instance(backend, tmp_path, source, memory_mb=70, max_pids=9, tmp_mb=5) as instance:
        assert instance.pid in ready
        assert await _ask(instance) == [9, 5 << 20, 70]
        leaf = instance.slot.leaf
        if leaf is not None and backend.support().limits["memory"] == "cgroup v1":
            (limit,) = [Path(d, leaf.name, "memory.limit_in_bytes") for d in leaf._support.dirs if "memory" in d]
            assert int(limit.read_text()) == 70 << 20


async def test_a_rehearsal_leaves_no_trace(backend, tmp_path):
    source = (
        "import gc, os, sys\n"
        "def handler(event, context):\n"
        "    return [os.listdir('/tmp'), sorted(set(map(str, sys.path_importer_cache))), sys.path[:2], sorted(sys.modules)]\n"
    )
    seen = []
    for runtimes in ((), ("python",)):
        await _ready(backend, runtimes)
        async with _instance(backend, tmp_path, source) as instance:
            seen.append(await _ask(instance))
    assert seen[0] == seen[1]
    assert seen[1][0] == []


async def test_an_instance_is_as_if_its_interpreter_had_just_started(backend, tmp_path):
    source = (
        "import os, random, sys, threading\n"
        "def handler(event, context):\n"
        "    read, write = os.pipe()\n"
        "    if os.fork() == 0:\n"
        "        os.write(write, repr(random.random()).encode())\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
        "    return {\n"
        "        'native_id': threading.main_thread().native_id - threading.get_native_id(),\n"
        "        'is_child_alike': os.read(read, 64).decode() == repr(random.random()),\n"
        "        'modules': [name for name in sys.modules if name.startswith(('hello', 'worker', 'rehearsal'))],\n"
        "        'places': [str(place) for place in (*sys.path, *sys.path_importer_cache) if 'runtimes' in str(place)],\n"
        "    }\n"
    )
    async with _instance(backend, tmp_path, source) as instance:
        assert await _ask(instance) == {"native_id": 0, "is_child_alike": False, "modules": [], "places": []}


async def test_a_slot_is_empty_at_once_when_its_instance_is_destroyed(backend, tmp_path):
    source = (
        "import os, time\n"
        "def handler(event, context):\n"
        "    for _ in range(3):\n"
        "        if os.fork() == 0:\n"
        "            os.setsid()\n"
        "            os.fork()\n"
        "            time.sleep(1000)\n"
    )
    async with _instance(backend, tmp_path, source) as instance:
        leaf = instance.slot.leaf
        if leaf is None:
            pytest.skip("no control groups on this host")
        await _ask(instance)
    assert leaf.kill() == 0


async def test_a_template_that_died_serves_nobody(backend, tmp_path):
    ready = await _ready(backend)
    for sandbox in ready:
        os.kill(sandbox.spawned.pid, signal.SIGKILL)
    with anyio.fail_after(20):
        while any(sandbox.is_alive for sandbox in ready):  # of one that dies later, its caller hears
            await anyio.lowlevel.checkpoint()
    async with _instance(backend, tmp_path) as instance:
        assert instance.pid not in {sandbox.spawned.pid for sandbox in ready}
        assert await _ask(instance, 1) == 1
    again = await _ready(backend)
    assert len(again) == len(ready)
    assert not set(again) & set(ready)


async def test_templates_of_a_killed_fork_server_are_replaced(backend, tmp_path):
    ready = await _ready(backend)
    os.kill(json.loads((backend._settings.run_dir / "python.json").read_text())["pid"], signal.SIGKILL)
    with anyio.fail_after(20):
        while any(sandbox.spawned.status is None for sandbox in ready):
            await anyio.sleep(0.01)
    async with _instance(backend, tmp_path) as instance:
        assert await _ask(instance, 1) == 1
    assert len(await _ready(backend)) == len(ready)


async def test_templates_count_in_the_memory(backend):
    all_of_them = len(await _ready(backend))
    zygotes = sum(proportional_bytes(pid, with_children=False) for pid in backend._servers.pids.values())
    assert all_of_them > 2
    few = await _ready(backend, memory_bytes=zygotes + 2 * max(backend._spares._cost_bytes.values()))
    assert len(few) < all_of_them
    assert await _ready(backend, memory_bytes=1) == []


async def test_a_size_that_is_asked_for_gets_templates_of_its_own(backend, tmp_path):
    await _ready(backend, ["node"])
    if "node" not in backend.runtimes.installed:
        pytest.skip("there is no node here")
    async with _instance(backend, tmp_path, runtime="node", memory_mb=200):
        ready = await _ready(backend, ["node"])
    async with _instance(backend, tmp_path, runtime="node", memory_mb=200) as instance:
        assert instance.pid in {sandbox.spawned.pid for sandbox in ready}
        assert await _ask(instance, 7) == 7


class _Functions:
    def __init__(self):
        self.answers = [("python",), Unavailable("the database", reason="it was killed"), ("node", "python")]

    async def list_runtimes(self):
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class _Always:
    async def wait(self, *, within_s):
        return True


async def test_an_absent_database_changes_nothing():
    backend, functions = FakeBackend(), _Functions()
    keeper = TemplateKeeper(functions, backend, memory_bytes=MEMORY)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            await tasks.start(keeper.run, contextlib.nullcontext(_Always()))
            while len(functions.answers) > 1:
                await anyio.sleep(0.01)
            while backend.templates != {"node", "python"}:
                await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
