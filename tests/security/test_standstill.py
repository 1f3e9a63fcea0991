"""Ways to make the platform stand still: a wait in the kernel, into which one function leads the loop that serves all."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from constellation.base.ids import uuid7
from constellation.comet.backend.contract import Call, InstanceDied, InstanceSpec
from constellation.comet.namespace.backend import NamespaceBackend
from constellation.comet.namespace.instance import NamespaceInstance
from constellation.comet.namespace.settings import NamespaceSettings, group_name
from constellation.testing.sandboxes import running_backend

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox, pytest.mark.slow]

HELD_S = 5  # a loop that is held would see the end of it first

# splice(2) and sendfile(2) keep the pipe's lock while they wait for a socket to which nothing comes.
HOLD_OUTPUT = f"""
import os, socket, threading, time
ours, theirs = socket.socketpair()

def held():
    how = os.environ['HOW']
    os.write(1, b'before\\n')
    if how == 'splice':
        os.splice(theirs.fileno(), 1, 4096)
    elif how == 'sendfile':
        os.sendfile(1, theirs.fileno(), None, 4096)

thread = threading.Thread(target=held, daemon=True)

def end():
    time.sleep({HELD_S})
    ours.close()

def handler(event, context):
    if event == 'hold':
        thread.start()
        threading.Thread(target=end, daemon=True).start()
        time.sleep(0.2)
    return thread.is_alive()
"""
NEIGHBOUR = "def handler(event, context):\n    print(event)\n    return event\n"


@pytest.fixture(scope="module")
async def backend(anyio_backend, tmp_path_factory) -> AsyncIterator[NamespaceBackend]:
    data_dir = tmp_path_factory.mktemp("platform")
    settings = NamespaceSettings(run_dir=data_dir / "run", group=group_name(data_dir))
    async with running_backend(settings) as made:
        if not made.support().available:
            pytest.skip(made.support().reason)
        yield made


async def _started(backend: NamespaceBackend, code_dir: Path, source: str, **env: str) -> NamespaceInstance:
    code_dir.mkdir()
    code_dir.chmod(0o755)
    (code_dir / "main.py").write_text(source)
    instance = await backend.create(
        InstanceSpec(
            tenant=code_dir.name, namespace="prod", function_id=uuid7(), function_name="f", function_version="1",
            runtime="python", handler="main.handler", code_dir=code_dir, env=env,
        ),
        timeout_s=30,
    )  # fmt: skip
    await instance.init(timeout_s=20)
    return instance


async def _answer(instance: NamespaceInstance, event: str) -> object:
    outcome = await instance.invoke(Call(request_id=uuid7(), payload=json.dumps(event).encode(), timeout_s=20))
    assert outcome.error is None, outcome.error
    return json.loads(outcome.output)


@pytest.mark.parametrize("how", ["splice", "sendfile"])
async def test_output_that_is_held_holds_nobody_else(how, backend, tmp_path):
    hostile = await _started(backend, tmp_path / "hostile", HOLD_OUTPUT, HOW=how)
    other = await _started(backend, tmp_path / "other", NEIGHBOUR)
    try:
        assert await _answer(hostile, "hold") is True
        for number in range(10):
            assert await _answer(other, str(number)) == str(number)
        assert await _answer(hostile, "still?") is True
    finally:
        await hostile.destroy()
        await other.destroy()


async def test_a_function_that_goes_on_holding_its_output_is_ended(backend, tmp_path):
    source = HOLD_OUTPUT.replace(f"time.sleep({HELD_S})", "time.sleep(60)")
    hostile = await _started(backend, tmp_path / "hostile", source, HOW="splice")
    try:
        assert await _answer(hostile, "hold") is True
        with anyio.fail_after(20):
            await hostile.died.wait()
        with pytest.raises(InstanceDied, match="an output that is held"):
            await _answer(hostile, "again")
    finally:
        await hostile.destroy()
