"""Ways to make the platform stand still: a wait in the kernel, into which one function leads the loop that serves all."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from constellation.base.ids import uuid7
from constellation.comet.backend.contract import Call, CallTimeout, InstanceDied, InstanceSpec
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
    time.sleep(0.05)  # the other threads sleep by now: nobody has the interpreter between the two calls
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
# Whoever receives a descriptor closes it: of a pipe that is held, or of a socket that lingers over what nobody takes.
SEND_DESCRIPTOR = """
import os, socket, struct, threading, time

def held_pipe(until):
    out_fd, in_fd = os.pipe()
    ours, theirs = socket.socketpair()
    threading.Thread(target=os.splice, args=(theirs.fileno(), in_fd, 1), daemon=True).start()
    threading.Thread(target=lambda: (time.sleep(until - time.time()), ours.send(b'x')), daemon=True).start()
    time.sleep(0.2)
    return out_fd, (in_fd, ours, theirs)

def lingering_socket(until):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    listener.bind(('127.0.0.1', 0))
    listener.listen()
    end = socket.create_connection(listener.getsockname())
    end.setblocking(False)
    try:
        while True:
            end.send(bytes(65536))
    except BlockingIOError:
        pass
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, int(until - time.time())))
    return end.detach(), listener

kept = []

def handler(event, context):
    fd, more = globals()[event['what']](event['until'])
    kept.append(more)
    try:
        with socket.socket(fileno=os.dup(3)) as channel:
            socket.send_fds(channel, [b'x'], [fd])
    except PermissionError:
        return 'refused'
    os.close(fd)
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


async def _answer(instance: NamespaceInstance, event: object) -> object:
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


@pytest.mark.parametrize("what", ["held_pipe", "lingering_socket"])
async def test_a_descriptor_that_is_sent_holds_nobody(what, backend, tmp_path):
    hostile = await _started(backend, tmp_path / "hostile", SEND_DESCRIPTOR)
    other = await _started(backend, tmp_path / "other", NEIGHBOUR)
    until = time.time() + HELD_S
    try:
        with suppress(InstanceDied, CallTimeout):  # where the kernel lets it through, it is ended for it
            assert await _answer(hostile, {"what": what, "until": until}) == "refused"
        for number in range(10):
            assert await _answer(other, str(number)) == str(number)
        assert time.time() < until
    finally:
        await hostile.destroy()
        await other.destroy()
