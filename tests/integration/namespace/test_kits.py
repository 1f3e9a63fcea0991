"""What workers share that each host makes once, and the virtual machines that wait ready with it."""

from __future__ import annotations

import contextlib
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from constellation.base.ids import uuid7
from constellation.comet.backend.contract import Call, InstanceSpec, SandboxStartFailed
from constellation.comet.builds.kits import Kits
from constellation.comet.builds.toolchain import Toolchain, Tools
from constellation.comet.namespace.settings import NamespaceSettings
from constellation.comet.runtimes import recipe
from constellation.comet.runtimes.java import machine
from constellation.comet.runtimes.recipe import Kit
from constellation.comet.runtimes.registry import Installed, Registry
from constellation.testing.sandboxes import running_backend

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox, pytest.mark.slow]
MEMORY = 512 << 20
SOURCE = """
import constellation.Context;
import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

class Main {
    static int calls;

    static Object handler(Object event, Context context) throws Exception {
        List<String> threads = new ArrayList<>();
        for (Thread each : Thread.getAllStackTraces().keySet()) if (!each.isDaemon()) threads.add(each.getName());
        return Map.of("event", event, "calls", ++calls, "heap", Runtime.getRuntime().maxMemory() >> 20, "threads", threads,
            "tmp", new File("/tmp").list(), "path", System.getProperty("java.class.path"), "env", System.getenv("COLOR"),
            "kit", Files.isWritable(Path.of("/run/kit")) || new File("/run/kit/worker.jar").delete(),
            "loader", ClassLoader.getSystemClassLoader().getResource("note.txt") != null);
    }
}
"""


@pytest.fixture(scope="module")
def code_dir(tmp_path_factory):
    """A function as javac leaves it: the worker's classes are no part of it."""
    if "java" not in Registry.find().installed:
        pytest.skip("there is no JDK")
    source, code = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("code")
    (source / "Main.java").write_text(SOURCE)
    flags = ("-nowarn", "-implicit:none", "-sourcepath", str(machine.HERE), "-d", str(source))
    subprocess.run(["javac", *flags, str(source / "Main.java")], check=True)
    (source / "note.txt").write_text("of the function\n")
    subprocess.run(["jar", "-cf", str(code / "function.jar"), "-C", str(source), "."], check=True)
    code.chmod(0o755)
    return code


@pytest.fixture(scope="module")
def kit_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("kits")  # made by the first test, found by the others


@pytest.fixture
async def backend(tmp_path, kit_dir):
    settings = NamespaceSettings(
        run_dir=tmp_path / "run", group=f"constellation-k{tmp_path.name[-6:]}", kit_dir=kit_dir
    )
    async with running_backend(settings) as backend:
        if not backend.support().available:
            pytest.skip(backend.support().reason)
        yield backend


async def _ready(backend):
    await backend.keep_templates({"java", "kotlin"}, memory_bytes=MEMORY)
    with anyio.fail_after(120):
        await backend.templates_ready()
    return {sandbox.spawned.pid for ready in backend._spares._ready.values() for sandbox in ready}


@contextlib.asynccontextmanager
async def _instance(backend, code_dir, **fields):
    given = {"tenant": "acme", "namespace": "prod", "function_name": "f", "function_version": "1", "runtime": "java"}
    given |= {"handler": "Main.handler", "env": {"COLOR": "blue"}}
    instance = await backend.create(
        InstanceSpec(function_id=uuid7(), code_dir=code_dir, **(given | fields)), timeout_s=60
    )
    try:
        await instance.init(timeout_s=20)
        yield instance
    finally:
        await instance.destroy()


async def _ask(instance, event):
    outcome = await instance.invoke(Call(request_id=uuid7(), payload=json.dumps(event).encode(), timeout_s=20))
    assert outcome.error is None, outcome.error
    return json.loads(outcome.output)


def _machine_of(instance):
    """The virtual machine is the child of ct-guest, which is first in its sandbox."""
    return Path(f"/proc/{instance.pid}/task/{instance.pid}/children").read_text().split()[0]


@pytest.mark.parametrize("is_ready", [False, True], ids=["made", "template"])
async def test_a_machine_is_as_if_it_had_just_started(backend, code_dir, is_ready):
    ready = await _ready(backend) if is_ready else set()
    async with _instance(backend, code_dir, memory_mb=128) as instance:
        assert (instance.pid in ready) is is_ready
        told = await _ask(instance, [1])
        assert told.pop("heap") in range(70, 77)  # six tenths, less one survivor space
        assert told == {
            "event": [1], "calls": 1, "threads": ["main"], "tmp": [], "env": "blue", "kit": False,
            "path": "/run/kit/worker.jar:/code/function.jar", "loader": True,
        }  # fmt: skip
        assert (
            "/worker.jsa" in Path(f"/proc/{_machine_of(instance)}/maps").read_text()
        )  # classes are mapped, not loaded


async def test_each_machine_is_one_tenants_for_ever(backend, code_dir):
    ready = await _ready(backend)
    assert len(ready) == 2  # of both languages, for their worker is one
    seen = set()
    for tenant in ("acme", "umbrella", "acme"):
        ready = await _ready(backend)
        async with _instance(backend, code_dir, tenant=tenant, memory_mb=128) as instance:
            assert instance.pid in ready
            assert (await _ask(instance, tenant))["calls"] == 1
            seen.add((instance.pid, _machine_of(instance)))
        assert not await _ready(backend) & {pid for pid, _ in seen}
    assert len(seen) == 3


async def test_another_size_has_its_own_heap_and_then_machines_of_its_own(backend, code_dir):
    usual = await _ready(backend)
    async with _instance(backend, code_dir, memory_mb=200) as instance:
        assert instance.pid not in usual
        assert (await _ask(instance, 1))["heap"] in range(110, 121)
        ready = await _ready(backend)
    async with _instance(backend, code_dir, memory_mb=200) as instance:
        assert instance.pid in ready - usual
        assert (await _ask(instance, 1))["heap"] in range(110, 121)


async def test_a_kit_that_can_not_be_made_is_told_and_tried_again(backend, tmp_path):
    directory = tmp_path / "recipe"
    directory.mkdir()
    tmp_path.chmod(0o755)
    directory.chmod(0o755)
    script = directory / "kit.sh"
    script.write_text("echo the compiler is broken; exit 3\n")
    tools = Toolchain(runtime="lisp", recipe=directory, programs=(), asked=lambda _: Tools(version="1"))
    kit = Kit(name="lisp", toolchain=lambda _: tools, mark=lambda _: "1")
    interpreter = recipe.Interpreter(path=Path("/bin/sh"), version="1")
    lisp = Installed(runtime=replace(machine.runtime(machine.JAVA, hello=script), kit=kit), interpreter=interpreter)
    (tmp_path / "kits" / "lisp-0-old").mkdir(parents=True)
    async with anyio.create_task_group() as tasks:
        kits = Kits(tasks, Registry({"lisp": lisp}, {}), tmp_path / "kits", backend.lend)
        with pytest.raises(SandboxStartFailed, match="the compiler is broken"):
            await kits.of(lisp)
        assert list((tmp_path / "kits").iterdir()) == []
        script.write_text("echo made > /run/kit/made; echo once >> /build/out/made\n")
        kits.start_nowait([lisp])
        with anyio.fail_after(30):
            path = await kits.of(lisp)
    assert (path / "made").read_text() == "made\nonce\n"
    assert (path / "made").stat().st_mtime == 0
