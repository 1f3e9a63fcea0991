"""What a call of WebAssembly may do, and how it ends, in a real sandbox."""

from __future__ import annotations

import json
import os
import signal

import anyio
import pytest

from constellation.comet.backend.contract import CallTimeout, HandlerLoadFailed, InstanceDied
from constellation.testing.wasm import command, module
from tests.contract.programs import ECHO, IDLE, PIECES, SLEEPS, SPINS
from tests.integration.wasm.conftest import call

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox, pytest.mark.slow]

# Answers its argument as one digit.
_DIGIT = (
    "(i32.store8 (i32.const 256) (i32.add (local.get $n) (i32.const 48)))"
    "(call $write (i32.const 1) (i32.const 256) (i32.const 1))"
)
COMPONENT = """(component
  (core module $code
    (memory (export "memory") 2)
    (global $top (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (global.get $top))
      (global.set $top (i32.add (global.get $top) (local.get 3)))
      (local.get $at))
    (func (export "handle") (param $at i32) (param $length i32) (result i32)
      (i32.store8 (i32.const 16) (i32.eq (local.get $length) (i32.const 1)))
      (i32.store (i32.const 20) (local.get $at))
      (i32.store (i32.const 24) (local.get $length))
      (i32.const 16)))
  (core instance $own (instantiate $code))
  (func (export "handle") (param "event" string) (result (result string (error string)))
    (canon lift (core func $own "handle") (memory (core memory $own "memory")) (realloc (core func $own "realloc")))))
"""


async def _error(instance, payload=b"null", *, timeout_s=20):
    outcome = await instance.invoke(call(payload, timeout_s=timeout_s))
    assert outcome.output is None, outcome.output
    return json.loads(outcome.error)


async def test_nothing_of_a_call_is_there_in_the_next(rig):
    counts = command(
        "(global.set $calls (i32.add (global.get $calls) (i32.const 1))) (local.set $n (global.get $calls))",
        _DIGIT,
        parts="(global $calls (mut i32) (i32.const 0))",
    )
    async with rig.started(counts) as instance:
        assert [(await instance.invoke(call())).output for _ in range(3)] == [b"1"] * 3


async def test_a_trap_is_an_error_with_the_way_there(rig):
    traps = module('(func $inner unreachable) (func $outer (call $inner)) (func (export "_start") (call $outer))')
    async with rig.started(traps) as instance:
        for _ in range(2):
            error = await _error(instance)
            assert (error["type"], error["message"]) == ("Trap", "wasm `unreachable` instruction executed")
            assert [line.split()[1] for line in error["stack"].splitlines()[:2]] == ["inner", "outer"]


@pytest.mark.parametrize(("status", "ended"), [(0, None), (3, "exit status 3")])
async def test_an_exit_ends_the_call_alone(rig, status, ended):
    async with rig.started(command(f"(call $proc_exit (i32.const {status}))")) as instance:
        for _ in range(2):
            outcome = await instance.invoke(call())
            assert (outcome.output, outcome.error and json.loads(outcome.error)["message"]) == (
                None if ended else b"null",
                ended,
            )


async def test_recursion_without_end_is_an_error(rig):
    async with rig.started(module('(func $f (call $f)) (func (export "_start") (call $f))')) as instance:
        assert (await _error(instance))["type"] == "StackOverflow"


@pytest.mark.parametrize("program", [SPINS, SLEEPS], ids=["spins", "sleeps"])
async def test_a_late_call_ends_and_its_neighbours_do_not(rig, program):
    async with rig.started(IDLE["wasm"]) as neighbour:
        pid = rig.backend.worker_pids["acme"]
        async with rig.started(program["wasm"]) as instance:
            with pytest.raises(CallTimeout):
                await instance.invoke(call(timeout_s=0.3))
        assert (await neighbour.invoke(call(b"7"))).output == b"7"
        assert rig.backend.worker_pids["acme"] == pid


async def test_memory_beyond_the_functions_limit_is_not_given(rig):
    grows = command("(local.set $n (i32.eq (memory.grow (i32.const 500)) (i32.const -1)))", _DIGIT)  # 31 MiB
    async with rig.started(grows, memory_mb=32) as small, rig.started(grows, memory_mb=64) as large:
        assert (await small.invoke(call())).output == b"1"
        assert (await large.invoke(call())).output == b"0"


async def test_a_module_that_wants_more_from_the_start_is_refused_by_call(rig):
    async with rig.started(command().replace('"memory") 100', '"memory") 2000'), memory_mb=64) as instance:
        assert "memory" in (await _error(instance))["message"]


async def test_work_is_bounded_by_the_functions_share_of_a_core(rig):
    async with rig.started(SPINS["wasm"], cpu_millis=1) as instance:
        assert (await _error(instance, timeout_s=15))["type"] == "OutOfFuel"


async def test_more_output_than_is_carried_is_an_error(rig):
    floods = command("(loop $more (call $write (i32.const 1) (i32.const 65536) (i32.const 1000000)) (br $more))")
    async with rig.started(floods) as instance:
        assert "6 MiB" in (await _error(instance))["message"]


async def test_arguments_and_environment(rig):
    tells = command(
        "(drop (call $sizes (i32.const 16) (i32.const 20)))",
        "(drop (call $get (i32.const 65536) (i32.const 131072)))",
        "(i32.store8 (i32.const 300) (i32.const 34))",
        "(call $write (i32.const 1) (i32.const 300) (i32.const 1))",
        "(loop $more (if (i32.lt_u (i32.load8_u (i32.add (i32.const 131072) (local.get $n))) (i32.const 32))",
        "(then (i32.store8 (i32.add (i32.const 131072) (local.get $n)) (i32.const 32))))",
        "(br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.load (i32.const 20)))))",
        "(call $write (i32.const 1) (i32.const 131072) (i32.load (i32.const 20)))",
        "(call $write (i32.const 1) (i32.const 300) (i32.const 1))",
    )
    imports = (
        '(module (import "wasi_snapshot_preview1" "{0}_sizes_get" (func $sizes (param i32 i32) (result i32)))'
        ' (import "wasi_snapshot_preview1" "{0}_get" (func $get (param i32 i32) (result i32)))'
    )
    env = {"WASM_ARGS": "-v  two", "COLOUR": "grün"}
    made = call()
    async with rig.started(tells.replace("(module", imports.format("args"), 1), env=env) as instance:
        assert json.loads((await instance.invoke(made)).output).split() == ["main", "-v", "two"]
    async with rig.started(tells.replace("(module", imports.format("environ"), 1), env=env) as instance:
        found = dict(word.split("=", 1) for word in json.loads((await instance.invoke(made)).output).split())
    assert float(found.pop("CONSTELLATION_DEADLINE")) > 1.7e9
    assert found.pop("TRACEPARENT") == f"00-{'0' * 32}-{'0' * 16}-01"
    assert found == {
        "COLOUR": "grün",
        "CONSTELLATION_FUNCTION_NAME": "f",
        "CONSTELLATION_FUNCTION_VERSION": "7",
        "CONSTELLATION_TENANT": "acme",
        "CONSTELLATION_NAMESPACE": "prod",
        "CONSTELLATION_MEMORY_LIMIT_MB": "128",
        "CONSTELLATION_REQUEST_ID": str(made.request_id),
    }


@pytest.mark.parametrize(("descriptor", "error"), [(0, b"0"), (99, b"8")])
async def test_who_waits_for_a_descriptor_is_told_whether_there_is_one(rig, descriptor, error):
    waits = command(
        "(i32.store8 (i32.const 40) (i32.const 1))",  # to read
        f"(i32.store (i32.const 48) (i32.const {descriptor}))",
        "(drop (call $poll_oneoff (i32.const 32) (i32.const 128) (i32.const 1) (i32.const 8)))",
        "(local.set $n (i32.load16_u (i32.const 136)))",
        _DIGIT,
    )
    async with rig.started(waits) as instance:
        assert (await instance.invoke(call())).output == error


async def test_a_component_answers_or_fails_with_a_text(rig):
    async with rig.started(COMPONENT) as instance:
        for _ in range(2):
            assert (await instance.invoke(call(b'["a"]'))).output == b'["a"]'
            assert await _error(instance, b"7") == {"type": "Error", "message": "7", "stack": ""}
    with pytest.raises(HandlerLoadFailed, match="exports no function absent"):
        async with rig.started(COMPONENT, handler="main.absent"):
            pass


async def test_a_module_that_is_no_command_is_told_so(rig):
    async with rig.started(module("")) as instance:
        assert "_start" in (await _error(instance))["message"]


async def test_twenty_calls_at_a_time(rig):
    answers = {}
    async with rig.started(ECHO["wasm"], concurrency=20) as instance:

        async def ask(number):
            outcome = await instance.invoke(call(str(number).encode()))
            answers[number] = (json.loads(outcome.output), outcome.log.text)

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(ask, number)
    assert answers == {number: ({"got": number}, "saw ") for number in range(20)}


async def test_pieces_come_while_the_call_runs(rig):
    slow = PIECES["wasm"].replace("(i64.const 1)", "(i64.const 5000000000)", 1)
    async with rig.started(slow) as instance, instance.stream(call()) as stream:
        with anyio.fail_after(4):
            assert await anext(aiter(stream)) == b'{"i":0}'


async def test_new_code_is_another_instance_in_the_same_worker(rig):
    async with rig.started(IDLE["wasm"]) as old, rig.started(ECHO["wasm"]) as new:
        assert (await old.invoke(call(b"1"))).output == b"1"
        assert json.loads((await new.invoke(call(b"1"))).output) == {"got": 1}
        assert len(rig.backend.worker_pids) == 1


async def test_tenants_have_workers_of_their_own(rig):
    async with rig.started(IDLE["wasm"]), rig.started(IDLE["wasm"], tenant="other"):
        pids = rig.backend.worker_pids
        assert pids["acme"] != pids["other"]


async def test_a_killed_worker_costs_its_tenant_the_calls_in_hand(rig):
    async with rig.started(IDLE["wasm"], tenant="other") as other:
        async with rig.started(SLEEPS["wasm"]) as instance, anyio.create_task_group() as tasks:

            async def ask():
                with pytest.raises(InstanceDied) as died:
                    await instance.invoke(call())
                assert died.value.cause == "signal 9"

            tasks.start_soon(ask)
            await anyio.sleep(0.1)
            os.kill(rig.backend.worker_pids["acme"], signal.SIGKILL)
        async with rig.started(IDLE["wasm"]) as again:
            assert (await again.invoke(call(b"1"))).output == b"1"
        assert (await other.invoke(call(b"2"))).output == b"2"


async def test_a_tenants_directory_that_was_made_anew_is_seen(rig):
    async with rig.started(IDLE["wasm"], tenant="third"):
        pass
    place = rig.backend.code_root / "third"
    place.rename(place.with_name("gone"))
    async with rig.started(IDLE["wasm"], tenant="third") as instance:
        assert (await instance.invoke(call(b"1"))).output == b"1"
