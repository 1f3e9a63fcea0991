"""Every language in every situation, in real sandboxes. What is asserted is the same for all of them."""

from __future__ import annotations

import json

import anyio
import pytest

from constellation.comet.backend.contract import CallTimeout, HandlerLoadFailed, InstanceDied
from constellation.nova.domain.runtimes import RUNTIMES
from tests.runtimes.conftest import call
from tests.runtimes.table import SNOWMAN, TABLE

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox, pytest.mark.slow]

TYPES = {"python": "LookupError", "node": "RangeError", "deno": "RangeError", "bun": "RangeError", "ruby": "KeyError"}
TYPES |= {
    "php": "DomainException",
    "lua": "Error",
    "perl": "Error",
    "r": "simpleError",
    "elixir": "KeyError",
    "julia": "DomainError",
}


def test_the_table_has_every_language():
    assert TABLE.keys() == {info.id for info in RUNTIMES.values() if not info.is_compiled and not info.lambda_api}


async def test_hello_greets(rig, runtime, registry):
    hello = registry.get(runtime).runtime.hello
    async with rig.started(hello.read_text()) as instance:
        for event, name in ((b'{"name":"Ada"}', "Ada"), (b"null", "world"), (b"{}", "world")):
            outcome = await instance.invoke(call(event))
            assert outcome.error is None
            assert json.loads(outcome.output) == {"message": f"Hello, {name}!"}


async def test_what_it_prints_is_its_log_and_never_its_answer(rig, sources):
    async with rig.started(sources.echo) as instance:
        for event in (
            None,
            1,
            -2.5,
            True,
            'é\u2603\U0001f600\n"\\',
            [1, [], {"a": None, "b": [False]}],
            int("9" * sources.exact_digits) >> 1,
        ):
            outcome = await instance.invoke(call(json.dumps(event).encode()))
            assert outcome.error is None
            answer = json.loads(outcome.output)
            # Lua keeps no name without a value
            assert answer == {"got": event} or (event is None and answer == {})
            assert (outcome.log.text, outcome.log.truncated) == (f"saw {SNOWMAN}\n", False)


async def test_an_error_tells_type_message_and_where(rig, runtime, sources):
    async with rig.started(sources.fails) as instance:
        for _ in range(2):
            outcome = await instance.invoke(call())
            assert outcome.output is None
            error = json.loads(outcome.error)
            assert error["type"] == TYPES[runtime]
            assert "no such thing" in error["message"]
            assert f"/code/{rig.entry}" in error["stack"]
            assert "inner" in error["stack"]
            assert "/run/worker" not in error["stack"]
            assert error["stack"].count("no such thing") >= 1


async def test_a_flood_of_output_is_cut_and_said_to_be(rig, sources):
    async with rig.started(sources.flood, log_limit_bytes=9999) as instance:
        for _ in range(2):
            outcome = await instance.invoke(call())
            assert outcome.output == b"1"
            assert outcome.log.truncated
            assert 9000 < len(outcome.log.text) <= 9999


async def test_a_call_that_outlives_its_deadline_ends_with_its_sandbox(rig, sources):
    async with rig.started(sources.hangs) as instance:
        with pytest.raises(CallTimeout):
            await instance.invoke(call(timeout_s=0.5))
        with anyio.fail_after(10):
            await instance.died.wait()


async def test_a_mebibyte_goes_in_and_comes_out(rig, sources):
    async with rig.started(sources.echo, memory_mb=256) as instance:
        text = f"{SNOWMAN}abc\n" * (1 << 17)
        outcome = await instance.invoke(call(json.dumps(text, ensure_ascii=False).encode()))
        assert outcome.error is None
        assert json.loads(outcome.output) == {"got": text}


async def test_more_than_is_carried_is_refused_by_name(rig, sources):
    async with rig.started(sources.echo, memory_mb=512) as instance:
        outcome = await instance.invoke(call(b'"' + b"x" * ((6 << 20) - 2) + b'"'))
        assert outcome.output is None
        assert "at most 6291456" in json.loads(outcome.error)["message"]
        assert json.loads((await instance.invoke(call(b"1"))).output) == {"got": 1}


async def test_pieces_come_one_by_one_when_asked_for_and_as_a_list_otherwise(rig, sources):
    async with rig.started(sources.stream) as instance:
        async with instance.stream(call()) as answer:
            pieces = [piece async for piece in answer]
            assert answer.outcome.error is None
        assert [piece.decode() for piece in pieces[:2]] == ["a", SNOWMAN]
        assert json.loads(pieces[2]) == {"n": 1}
        assert json.loads((await instance.invoke(call())).output) == ["a", SNOWMAN, {"n": 1}]


async def test_an_answer_in_one_piece_can_be_streamed(rig, sources):
    async with rig.started(sources.echo) as instance, instance.stream(call(b"1")) as answer:
        assert json.loads(b"".join([piece async for piece in answer])) == {"got": 1}
        assert answer.outcome.log.text == f"saw {SNOWMAN}\n"


async def test_twenty_calls_at_a_time(rig, runtime, sources):
    is_shared = RUNTIMES[runtime].can_overlap
    source, concurrency = (sources.meets, 20) if is_shared else (sources.echo, 1)
    answers = {}

    async def ask(instance, number):
        outcome = await instance.invoke(call(str(number).encode()))
        answers[number] = (json.loads(outcome.output), outcome.log.text)

    async with rig.started(source, concurrency=concurrency, memory_mb=256) as instance:
        if is_shared:
            async with anyio.create_task_group() as calls:
                for number in range(20):
                    calls.start_soon(ask, instance, number)
        else:
            for number in range(20):
                await ask(instance, number)
    expected = (lambda n: (n, f"call {n}\n")) if is_shared else (lambda n: ({"got": n}, f"saw {SNOWMAN}\n"))
    assert answers == {number: expected(number) for number in range(20)}


async def test_a_package_in_the_code_is_found(rig, sources):
    async with rig.started(sources.leans, package=sources.package) as instance:
        outcome = await instance.invoke(call())
        assert outcome.error is None
        assert json.loads(outcome.output) == SNOWMAN


async def test_the_context_tells_whose_call_it_is(rig, sources):
    made = call(timeout_s=60)
    async with rig.started(sources.facts, env={"GREETING": "hej"}) as instance:
        outcome = await instance.invoke(made)
    facts = json.loads(outcome.output)
    assert facts["request_id"] == str(made.request_id)
    assert (facts["function_name"], facts["function_version"]) == ("f", "7")
    assert (facts["tenant"], facts["namespace"], facts["memory_limit_mb"]) == ("acme", "prod", sources.memory_mb)
    assert 0 < facts["remaining_ms"] <= 60_000
    assert facts["deadline"] > 1.7e9
    trace = facts["trace"]
    assert trace["traceparent"] == f"00-{trace['trace_id']}-{trace['span_id']}-01"
    assert outcome.log.text == "INFO noted\n"


async def test_code_that_can_not_be_loaded_says_so_in_the_languages_words(rig, sources):
    with pytest.raises(HandlerLoadFailed) as failed:
        async with rig.started(sources.broken):
            pass
    assert rig.entry in failed.value.error["message"] + failed.value.error["stack"]


async def test_a_handler_that_is_not_there_is_named(rig, sources):
    with pytest.raises(HandlerLoadFailed) as failed:
        async with rig.started(sources.echo, handler=f"{sources.entry}.absent"):
            pass
    assert "absent" in failed.value.error["message"]
    with pytest.raises(HandlerLoadFailed) as failed:
        async with rig.started(sources.echo, handler="nowhere.handler"):
            pass
    assert "nowhere" in failed.value.error["message"]


async def test_leaving_is_a_died_instance_with_its_status_and_its_log(rig, sources):
    async with rig.started(sources.exits) as instance:
        with pytest.raises(InstanceDied) as died:
            await instance.invoke(call())
        assert died.value.cause == "exit status 3"
        assert died.value.log.text == "bye\n"


async def test_too_little_memory_is_told_as_such(rig, sources):
    async with rig.started(sources.grows) as instance:
        with pytest.raises(InstanceDied) as died:
            await instance.invoke(call(timeout_s=60))
        assert died.value.cause == "out of memory"


async def test_what_json_can_not_hold_is_an_error_that_names_it(rig, runtime, sources):
    async with rig.started(sources.nan) as instance:
        outcome = await instance.invoke(call())
        assert outcome.output is None
        message = json.loads(outcome.error)["message"]
        assert "the output is not JSON" in message
        assert "deep" in message or runtime == "php"  # whose own encoder names no place


async def test_a_copy_that_a_handler_forked_does_not_speak_for_it(rig, sources):
    if not sources.forks:
        pytest.skip("this language copies no process")
    async with rig.started(sources.forks) as instance:
        for _ in range(3):
            assert (await instance.invoke(call())).output == b'"one"'
