"""What every backend promises, with real sandboxes."""

from __future__ import annotations

import gc
import json
import os
import struct
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import anyio
import pytest

from constellation.comet.backend.contract import (
    CallTimeout,
    HandlerLoadFailed,
    InstanceDied,
    OutputInvalid,
    RuntimeUnavailable,
)
from tests.contract.programs import BROKEN, BROKEN_TYPE, ECHO, ENDLESS, FLOOD, IDLE, PIECES, SLEEPER, SLEEPS, STALLS

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox, pytest.mark.slow]


def processes_with(marker: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if marker.encode() in (entry / "cmdline").read_bytes():
                    found.append(entry.name)
            except OSError:
                continue
    return found


def marker() -> str:
    """Return a number of seconds to sleep that no other process has."""
    return f"98765.{uuid4().int % 10**9}"


@pytest.mark.parametrize("runtime", ECHO)
async def test_a_call_is_answered(rig, calls, runtime):
    async with rig.started(ECHO[runtime], runtime=runtime) as instance:
        for event in (b"1", b'{"a":[null,"\xe2\x98\x83"]}'):
            outcome = await instance.invoke(calls(event))
            assert json.loads(outcome.output) == {"got": json.loads(event)}
            assert outcome.error is None
            assert outcome.log.text.startswith("saw ")
            assert not outcome.log.truncated
            assert outcome.duration_ms > 0


async def test_six_mebibytes_go_in_and_come_out(rig, calls):
    async with rig.started(IDLE, memory_mb=256) as instance:
        event = b'"' + b"x" * ((6 << 20) - 2) + b'"'
        assert (await instance.invoke(calls(event))).output == event


async def test_raising_is_an_outcome(rig, calls):
    async with rig.started("def handler(event, context):\n    raise ValueError('no such thing')\n") as instance:
        for _ in range(2):
            outcome = await instance.invoke(calls())
            assert outcome.output is None
            error = json.loads(outcome.error)
            assert (error["type"], error["message"]) == ("ValueError", "no such thing")
            assert '"/code/main.py", line 2, in handler' in error["stack"]


RAW_FLOOD = (
    "import os\ndef handler(event, context):\n    for _ in range(5000): os.write(1, b'x' * 99 + b'\\n')\n    return 1\n"
)


@pytest.mark.parametrize("flood", [FLOOD, RAW_FLOOD], ids=["print", "descriptor"])
async def test_a_flood_of_output_is_cut_and_said_to_be(rig, calls, flood):
    async with rig.started(flood, log_limit_bytes=9999) as instance:
        for _ in range(2):
            outcome = await instance.invoke(calls())
            assert outcome.output == b"1"
            assert outcome.log.truncated
            assert 9000 < len(outcome.log.text) <= 9999


async def test_what_loading_printed_is_in_the_first_log(rig, calls):
    async with rig.started("import os\nprint('loading')\nos.write(2, b'raw')\n" + IDLE["python"]) as instance:
        assert set((await instance.invoke(calls())).log.text.split()) == {"loading", "raw"}
        assert (await instance.invoke(calls())).log.text == ""


# What the first call has left running prints once /code/go is there; the second one waits until it has
LATE = {
    "python": (
        "import os, threading, time\n"
        "def late():\n    while not os.path.exists('/code/go'): time.sleep(0.005)\n    print('late')\n"
        "def handler(event, context):\n    global thread\n    if event:\n        thread.join()\n"
        "    else:\n        thread = threading.Thread(target=late)\n        thread.start()\n    return 1\n"
    ),
    "python-async": (
        "import asyncio, os\n"
        "async def late():\n    while not os.path.exists('/code/go'): await asyncio.sleep(0.005)\n    print('late')\n"
        "async def handler(event, context):\n    global task\n    if event:\n        await task\n"
        "    else:\n        task = asyncio.create_task(late())\n    return 1\n"
    ),
    "node": (
        "const fs = require('node:fs');\nlet late;\n"
        "exports.handler = async (event) => {\n  if (event) { await late; return 1; }\n"
        "  late = new Promise((done) => { const timer = setInterval(() => {\n"
        "    if (!fs.existsSync('/code/go')) return;\n    clearInterval(timer); console.log('late'); done();\n"
        "  }, 5); });\n  return 1;\n};\n"
    ),
}


@pytest.mark.parametrize("kind", LATE)
async def test_what_a_call_left_running_prints_into_a_later_log(rig, calls, kind):
    async with rig.started(LATE[kind], runtime=kind.partition("-")[0], concurrency=2) as instance:
        assert (await instance.invoke(calls())).log.text == ""
        (instance.spec.code_dir / "go").touch()
        assert (await instance.invoke(calls(b"1"))).log.text == "late\n"


@pytest.mark.parametrize(
    ("runtime", "source", "cause"),
    [
        ("python", "import os\ndef handler(e, c):\n    print('bye')\n    os._exit(3)", "exit status 3"),
        ("python", "import sys\ndef handler(e, c):\n    print('bye')\n    sys.exit(3)", "exit status 3"),
        ("python", "import ctypes\ndef handler(e, c):\n    print('bye')\n    ctypes.string_at(0)", "signal 11"),
        ("node", "exports.handler = () => { console.log('bye'); process.exit(3) }", "exit status 3"),
        ("node", "exports.handler = () => { console.log('bye'); process.kill(process.pid, 9) }", "signal 9"),
    ],
)
async def test_an_ended_process_is_a_died_instance(rig, calls, runtime, source, cause):
    async with rig.started(source, runtime=runtime) as instance:
        with pytest.raises(InstanceDied) as died:
            await instance.invoke(calls())
        assert died.value.cause == cause
        assert died.value.log.text == "bye\n"
        assert instance.died.is_set()
        with pytest.raises(InstanceDied):
            await instance.invoke(calls())


async def test_an_error_outside_every_call_is_told_in_the_log(rig, calls):
    source = "exports.handler = () => new Promise(() => setTimeout(() => { throw new Error('adrift') }, 1));"
    async with rig.started(source, runtime="node") as instance:
        with pytest.raises(InstanceDied) as died:
            await instance.invoke(calls())
        assert died.value.cause == "exit status 1"
        assert "Error: adrift" in died.value.log.text


ALLOCATE = {
    "python": "def handler(event, context):\n    hold = []\n    while True:\n        hold.append(bytearray(8 << 20))\n",
    "python-shared": "import mmap, time\ndef handler(event, context):\n    hold = mmap.mmap(-1, 150 << 20)\n"
    "    for at in range(0, len(hold), 4096): hold[at] = 1\n    time.sleep(15)\n",
    "node": "exports.handler = () => { const hold = []; for (;;) hold.push(Buffer.alloc(8 << 20, 1)) };",
    "node-heap": "exports.handler = () => { const hold = []; for (;;) hold.push({ n: hold.length, s: [hold.length] }) };",
}


@pytest.mark.parametrize("kind", ALLOCATE)
async def test_allocating_without_end_is_out_of_memory(rig, calls, kind):
    async with rig.started(ALLOCATE[kind], runtime=kind.partition("-")[0], memory_mb=64) as instance:
        try:
            outcome = await instance.invoke(calls())
        except InstanceDied as died:
            assert died.cause == "out of memory"  # noqa: PT017 (either end is right, by what the host can enforce)
        else:
            assert json.loads(outcome.error)["type"] in ("MemoryError", "RangeError")


async def test_a_full_disk_costs_the_call_alone(rig, calls):
    source = (
        "def handler(event, context):\n"
        "    with open('/tmp/big', 'wb') as file:\n"
        "        for _ in range(64): file.write(bytes(1 << 20))\n"
    )
    async with rig.started(source, tmp_mb=8) as instance:
        assert "No space left" in json.loads((await instance.invoke(calls())).error)["message"]


async def test_a_fork_bomb_stays_in_its_sandbox(rig, calls):
    source = (
        "import os, time\n"
        "def handler(event, context):\n"
        "    while True:\n"
        "        try:\n            os.fork()\n        except OSError:\n            time.sleep(0.01)\n"
    )
    async with rig.started(source, max_pids=32) as instance, rig.started(IDLE) as neighbour:
        with pytest.raises((CallTimeout, InstanceDied)):
            await instance.invoke(calls(timeout_s=1.5))
        assert (await neighbour.invoke(calls(b"7"))).output == b"7"


async def test_the_whole_tree_is_dead_after_a_timeout(rig, calls):
    seconds = marker()
    source = (
        "import os, subprocess, time\n"
        "def handler(event, context):\n"
        f"    subprocess.Popen(['/bin/sh', '-c', 'setsid sleep {seconds} & trap \"\" TERM; sleep {seconds}'])\n"
        "    print('begun')\n    time.sleep(60)\n"
    )
    async with rig.started(source) as instance:
        with pytest.raises(CallTimeout) as late:
            await instance.invoke(calls(timeout_s=1))
        assert (late.value.phase, late.value.log.text) == ("run", "begun\n")
        with anyio.fail_after(10):
            await instance.died.wait()
        assert processes_with(seconds) == []


async def test_a_cancelled_call_ends_its_instance(rig, calls):
    seconds = marker()
    async with rig.started(f"import os\ndef handler(e, c):\n    os.system('sleep {seconds}')\n") as instance:
        with anyio.move_on_after(0.5):
            await instance.invoke(calls())
        with anyio.fail_after(10):
            await instance.died.wait()
        assert processes_with(seconds) == []


@pytest.mark.parametrize(
    ("act", "causes"),
    [
        ("os.closerange(0, 256)\n    time.sleep(60)", ("protocol: the worker closed its channel",)),
        ("os.write(3, b'\\xff' * 4096)\n    time.sleep(60)", ("protocol: ",)),
        ("os.write(3, bytes(4096))\n    time.sleep(60)", ("protocol: ",)),
        ("os.write(3, struct.pack('>IBBHI', 1, 5, 0, 0, 999) + b'1')\n    time.sleep(60)", ("protocol: ",)),
        ("os.write(3, struct.pack('>IBBHI', 1, 7, 0, 0, 1) + b'1')\n    time.sleep(60)", ("protocol: ",)),
        ("os.write(3, struct.pack('>IBBHI', 0, 3, 0, 0, 0))\n    time.sleep(60)", ("protocol: ",)),
    ],
    ids=["closes-and-stays", "rubbish", "zeros", "unknown-call", "chunk-of-no-stream", "second-ready"],
)
async def test_a_broken_channel_costs_the_instance(rig, calls, act, causes):
    async with rig.started(f"import os, struct, time\ndef handler(event, context):\n    {act}\n") as instance:
        with pytest.raises(InstanceDied) as died:
            await instance.invoke(calls())
        assert died.value.cause.startswith(causes)


async def test_a_worker_that_closed_its_channel_takes_no_other_call(rig, calls):
    source = "import os\ndef handler(event, context):\n    os.closerange(0, 256)\n    return 1\n"
    async with rig.started(source) as instance:
        with suppress(InstanceDied):  # its answer may have found another way
            assert (await instance.invoke(calls())).output == b"1"
        with anyio.fail_after(10):
            await instance.died.wait()
        with pytest.raises(InstanceDied):
            await instance.invoke(calls())


async def test_output_that_is_not_json_is_refused(rig, calls):
    forged = struct.pack(">IBBHI", 4, 5, 0, 0, 1) + b"nope"
    source = f"import os, time\ndef handler(event, context):\n    os.write(3, {forged!r})\n    time.sleep(60)\n"
    async with rig.started(source) as instance:
        with pytest.raises(OutputInvalid):
            await instance.invoke(calls())


@pytest.mark.parametrize("kind", SLEEPER)
async def test_of_many_calls_one_times_out_alone(rig, calls, kind):
    answers = []
    async with rig.started(SLEEPER[kind], runtime="wasm" if kind == "wasm" else "python", concurrency=4) as instance:

        async def ask(event: bytes) -> None:
            answers.append((await instance.invoke(calls(event))).output)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, b"0.8")
            tasks.start_soon(ask, b"0.9")
            with pytest.raises(CallTimeout):
                await instance.invoke(calls(b"30", timeout_s=0.3))
        assert answers == [b"0.8", b"0.9"]
        assert not instance.died.is_set()
        assert (await instance.invoke(calls(b"0"))).output == b"0"


async def test_calls_that_share_an_instance_have_room_within_its_memory(rig, calls):
    # each thread allocates at the same time: an allocator that maps much for each would meet the limit of addresses
    source = (
        "import threading\nTOGETHER = threading.Barrier(6)\ndef handler(event, context):\n    TOGETHER.wait(10)\n"
        "    return len(bytes(200_000).hex())\n"
    )
    outputs = []
    async with rig.started(source, concurrency=6, memory_mb=48) as instance:

        async def ask() -> None:
            outputs.append((await instance.invoke(calls(b"null"))).output)

        async with anyio.create_task_group() as tasks:
            for _ in range(6):
                tasks.start_soon(ask)
    assert outputs == [b"400000"] * 6


async def test_exit_ends_every_call_of_the_instance(rig, calls):
    source = (
        "import os, time\ndef handler(event, context):\n    time.sleep(event)\n    if event < 1:\n        os._exit(4)\n"
    )
    causes = []
    async with rig.started(source, concurrency=4) as instance:

        async def ask(event: bytes) -> None:
            with pytest.raises(InstanceDied) as died:
                await instance.invoke(calls(event))
            causes.append(died.value.cause)

        async with anyio.create_task_group() as tasks:
            for event in (b"20", b"20", b"0.3"):
                tasks.start_soon(ask, event)
    assert causes == ["exit status 4"] * 3


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_a_stream_arrives_in_pieces_and_tells_its_outcome(rig, calls, concurrency):
    async with rig.started(PIECES, concurrency=concurrency) as instance:
        for _ in range(2):
            async with instance.stream(calls(b"3")) as stream:
                pieces = [piece async for piece in stream]
            assert pieces == [b'{"i":0}', b'{"i":1}', b'{"i":2}']
            assert stream.outcome.output == b""
            assert stream.outcome.log.text == "go\n"


async def test_a_stream_that_fails_tells_the_error_after_its_pieces(rig, calls):
    async with (
        rig.started("def handler(event, context):\n    yield 'a'\n    raise ValueError('late')\n") as instance,
        instance.stream(calls()) as stream,
    ):
        assert [piece async for piece in stream] == [b"a"]
        assert json.loads(stream.outcome.error)["message"] == "late"


async def test_a_slow_reader_holds_the_handler_back(rig, calls):
    source = (
        "import time\ndef handler(event, context):\n"
        "    for _ in range(100): yield repr(time.monotonic()).ljust(1 << 16)\n"
    )
    async with rig.started(source) as instance, instance.stream(calls()) as stream:
        reader = aiter(stream)
        await anext(reader)
        await anyio.sleep(0.5)
        resumed = time.monotonic()
        stamps = [float(piece) async for piece in reader]
    assert len(stamps) == 99
    assert stamps[0] < resumed < stamps[-1]


async def test_leaving_a_stream_early_gives_the_call_up(rig, calls):
    async with rig.started(ENDLESS) as instance:
        async with instance.stream(calls()) as stream:
            await anext(aiter(stream))
        with anyio.fail_after(10):
            await instance.died.wait()
    async with rig.started(ENDLESS, concurrency=2) as instance:
        async with instance.stream(calls()) as stream:
            await anext(aiter(stream))
        assert (await instance.invoke(calls(b"5"))).output == b"5"


async def test_a_streams_timeout_ends_it(rig, calls):
    async with rig.started(STALLS) as instance, instance.stream(calls(timeout_s=1)) as stream:
        reader = aiter(stream)
        assert await anext(reader) == b"a"
        with pytest.raises(CallTimeout):
            await anext(reader)


async def test_state_lives_in_the_instance_and_nowhere_else(rig, calls):
    source = "import os\nseen = []\ndef handler(event, context):\n    seen.append(event)\n    open('/tmp/f', 'a').write('x')\n    return [len(seen), os.path.getsize('/tmp/f')]\n"
    async with rig.started(source) as one, rig.started(source) as other:
        assert [(await one.invoke(calls())).output for _ in range(2)] == [b"[1,1]", b"[2,2]"]
        assert (await other.invoke(calls())).output == b"[1,1]"


async def test_clones_do_not_share_their_randomness(rig, calls):
    source = (
        "import os, random, secrets, ssl, tempfile, uuid\n"
        "def handler(event, context):\n"
        "    return [random.random(), secrets.token_hex(8), str(uuid.uuid4()), os.urandom(8).hex(), ssl.RAND_bytes(8).hex(),\n"
        "            next(tempfile._get_candidate_names())]\n"
    )
    drawn = []
    for _ in range(4):
        async with rig.started(source) as instance:
            drawn.append(json.loads((await instance.invoke(calls())).output))
    for column in zip(*drawn, strict=True):
        assert len(set(column)) == 4


async def test_code_that_does_not_load_says_why(rig):
    instance = await rig.backend.create(rig.spec(BROKEN), timeout_s=30)
    try:
        with pytest.raises(HandlerLoadFailed) as failed:
            await instance.init(timeout_s=20)
        assert failed.value.error["type"] == BROKEN_TYPE[rig.runtime]
    finally:
        await instance.destroy()


async def test_code_that_does_not_finish_loading_is_ended(rig):
    instance = await rig.backend.create(rig.spec("import time\nprint('hm')\ntime.sleep(60)\n"), timeout_s=30)
    try:
        with pytest.raises(CallTimeout) as late:
            await instance.init(timeout_s=0.5)
        assert (late.value.phase, late.value.log.text) == ("init", "hm\n")
        with anyio.fail_after(10):
            await instance.died.wait()
    finally:
        await instance.destroy()


async def test_code_that_exits_while_loading_died(rig):
    instance = await rig.backend.create(rig.spec("import sys\nsys.exit(5)\n"), timeout_s=30)
    try:
        with pytest.raises(InstanceDied) as died:
            await instance.init(timeout_s=20)
        assert died.value.cause == "exit status 5"
    finally:
        await instance.destroy()


async def test_an_unknown_runtime_is_refused(rig):
    with pytest.raises(RuntimeUnavailable):
        await rig.backend.create(replace(rig.spec(IDLE), runtime="cobol"), timeout_s=30)


async def test_destroy_ends_calls_and_can_be_repeated(rig, calls):
    causes = []
    async with rig.started(SLEEPS) as instance:

        async def ask() -> None:
            with pytest.raises(InstanceDied) as died:
                await instance.invoke(calls())
            causes.append(died.value.cause)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await anyio.sleep(0.1)
            tasks.start_soon(instance.destroy)
            await instance.destroy()
        await instance.destroy()
        assert causes == ["destroyed"]
        assert instance.died.is_set()
        with pytest.raises(InstanceDied):
            await instance.invoke(calls())


async def test_a_create_that_is_cancelled_leaves_nothing(rig):
    before = await _traces(rig)
    for delay_s in (0, 0.0005, 0.001, 0.003, 0.01):
        with anyio.move_on_after(delay_s):
            instance = await rig.backend.create(rig.spec(IDLE), timeout_s=30)
            await instance.destroy()
    await _left(rig, before)


@pytest.mark.parametrize("runtime", ECHO)
async def test_nothing_is_left_behind(rig, calls, runtime):
    async with rig.started(ECHO[runtime], runtime=runtime) as instance:
        await instance.invoke(calls())
    before = await _traces(rig)
    for act in ("return", "raise", "destroy"):
        async with rig.started(ECHO[runtime], runtime=runtime) as instance:
            if act != "destroy":
                await instance.invoke(calls())
    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(_once, rig, calls, runtime)
    await _left(rig, before)


async def _once(rig, calls, runtime):
    async with rig.started(ECHO[runtime], runtime=runtime) as instance:
        await instance.invoke(calls())


async def _left(rig, before: dict[str, int]) -> None:
    """Wait until there is no more than there was before; what is on its way out takes a moment, what leaks stays.

    It may be less: something of the test before may have been on its way out when that was counted.
    """
    with anyio.move_on_after(10):
        while _more(await _traces(rig), before):
            await anyio.sleep(0.01)
    assert not _more(await _traces(rig), before)


def _more(after: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    return {what: after[what] - count for what, count in before.items() if after[what] > count}


async def _traces(rig) -> dict[str, int]:
    """Count what a sandbox costs the host, beside the templates: our descriptors, our descendants, mounts."""
    await rig.settled()
    gc.collect()  # clients of earlier tests hold descriptors until they are found to be garbage
    descendants, found = 0, [os.getpid()]
    while found:
        for task in Path(f"/proc/{found.pop()}/task").iterdir():
            children = [int(pid) for pid in (task / "children").read_text().split()]
            descendants += len(children)
            found += children
    return {
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "descendants": descendants,
        "mounts": len(Path("/proc/self/mountinfo").read_text().splitlines()),
    }
