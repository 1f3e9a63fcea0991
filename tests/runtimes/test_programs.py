"""Programs of the runtime clients that AWS publishes, unchanged, in runtimes `provided` and `custom`, in real sandboxes."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import pytest

from constellation.base.ids import uuid7
from constellation.comet.backend.contract import Call, CallTimeout, HandlerLoadFailed, InstanceDied
from tests.runtimes.clients import CHOSEN, Client, made
from tests.runtimes.conftest import Rig, call
from tests.runtimes.table import TABLE

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module", params=CHOSEN, ids=lambda each: each.id)
def client(request: pytest.FixtureRequest) -> Client:
    return request.param


@pytest.fixture(scope="module")
def code(client: Client) -> Path:
    return made(client)


@pytest.fixture
def started(client, code, backend, tmp_path):
    rig = Rig(backend, client.runtime, TABLE["python"], tmp_path)

    def start(handler: str = client.handler, **fields: object):
        facts = {"env": {"COLOUR": "grün"}, "memory_mb": client.memory_mb}
        return rig.running(code, handler=handler, **(facts | fields))

    return start


async def _output(instance, event):
    outcome = await instance.invoke(call(json.dumps(event).encode()))
    assert outcome.error is None, outcome.error
    return json.loads(outcome.output)


async def test_events_and_answers_are_carried_as_they_are(started):
    async with started() as instance:
        for text in ('ä \u2028 日本 💥 " \\ \n \x7f é', "x" * 100_000):
            assert await _output(instance, {"do": "echo", "text": text}) == {"do": "echo", "text": text}
        first = await _output(instance, {"do": "calls"})
        assert [await _output(instance, {"do": "calls"}) for _ in range(2)] == [first + 1, first + 2]


async def test_its_context_is_the_calls(started, client):
    made = Call(
        request_id=uuid7(),
        payload=b'{"do": "context"}',
        timeout_s=30,
        trace_id=bytes(range(16)),
        span_id=bytes(range(8)),
    )
    async with started() as instance:
        found = json.loads((await instance.invoke(made)).output)
    assert 0 < found.pop("remaining_ms") <= 30_000
    assert found == {
        "request_id": str(made.request_id),
        "arn": "arn:constellation:lambda:prod:acme:function:f:7",
        "name": "f",
        "version": "7",
        "memory": 256,
        "trace": "Root=1-00010203-0405060708090a0b0c0d0e0f;Parent=0001020304050607;Sampled=1",
        "env": "grün",
    }


async def test_an_error_tells_type_message_and_where(started, client):
    async with started() as instance:
        for _ in range(2):
            outcome = await instance.invoke(call(b'{"do": "fail"}'))
            error = json.loads(outcome.error)
            assert (error["type"], error["message"]) == (client.error_type, 'the reason: bad "ß" 💥')
            assert client.stack in error.get("stack", "")
        assert await _output(instance, {"do": "echo"}) == {"do": "echo"}


async def test_what_it_prints_is_the_calls_log(started):
    async with started() as instance:
        outcome = await instance.invoke(call(b'{"do": "print"}'))
        assert outcome.output == b"null"
        assert "out größe\n" in outcome.log.text
        assert "err größe\n" in outcome.log.text
        assert "größe" not in (await instance.invoke(call(b'{"do": "echo"}'))).log.text


async def test_a_flood_of_output_is_cut_and_said_to_be(started):
    async with started(log_limit_bytes=9999) as instance:
        outcome = await instance.invoke(call(b'{"do": "flood"}'))
        assert outcome.output == b'"done"'
        assert outcome.log.truncated
        assert len(outcome.log.text) <= 9999
        assert await _output(instance, {"do": "echo"}) == {"do": "echo"}


async def test_a_call_that_outlives_its_deadline_ends_with_its_sandbox(started):
    async with started() as instance:
        with pytest.raises(CallTimeout):
            await instance.invoke(call(b'{"do": "sleep"}', timeout_s=0.5))
        with anyio.fail_after(10):
            await instance.died.wait()


async def test_leaving_is_a_died_instance_with_its_status_and_its_log(started):
    async with started() as instance:
        with pytest.raises(InstanceDied) as died:
            await instance.invoke(call(b'{"do": "exit"}'))
        assert died.value.cause == "exit status 3"
        assert "bye\n" in died.value.log.text


async def test_megabytes_are_carried_and_more_is_refused_by_name(started):
    async with started(memory_mb=512) as instance:
        assert await _output(instance, {"do": "big", "text": str(5 << 20)}) == "x" * (5 << 20)
        outcome = await instance.invoke(call(json.dumps({"do": "big", "text": str(7 << 20)}).encode()))
        error = json.loads(outcome.error)
        assert error["type"] == "Function.ResponseSizeTooLarge"
        assert "at most 6291456" in error["message"]


async def test_a_program_that_can_not_start_is_told(started, client):
    with pytest.raises(HandlerLoadFailed if client.start_error else InstanceDied) as failed:
        async with started(env={"BROKEN": "1"}):
            pass
    if client.start_error:
        assert failed.value.error["type"] == client.start_error
        assert "no such thing at the start" in failed.value.error["message"]
    else:
        assert failed.value.cause == "exit status 7"
        assert failed.value.log.text == "no such thing at the start\n"


async def test_pieces_come_as_they_are_written(started, client):
    if not client.streams:
        pytest.skip("this client knows no streams")
    async with started(client.streams) as instance:
        async with instance.stream(call(b'{"do": ""}')) as answer:
            assert b"".join([piece async for piece in answer]) == client.prelude + "onedrei ü".encode()
            assert answer.outcome.error is None
        assert await _output(instance, {"do": ""}) == client.prelude.decode() + "onedrei ü"


async def test_a_stream_that_fails_in_the_middle_is_an_error_behind_its_pieces(started, client):
    if not client.midway:
        pytest.skip("this client does not say so")
    async with started(client.streams) as instance, instance.stream(call(b'{"do": "midway"}')) as answer:
        assert b"".join([piece async for piece in answer]).decode() == "onedrei ü"
        assert json.loads(answer.outcome.error)["type"] == client.midway


async def test_a_plain_answer_can_be_streamed(started):
    async with started() as instance, instance.stream(call(b'{"do": "echo"}')) as answer:
        assert json.loads(b"".join([piece async for piece in answer])) == {"do": "echo"}


async def test_too_little_memory_is_told_as_such(started, client):
    if client.id != "python":
        pytest.skip("what ends it is the same for all")
    async with started(memory_mb=64) as instance:
        with pytest.raises(InstanceDied) as died:
            await instance.invoke(call(json.dumps({"do": "big", "text": str(1 << 30)}).encode()))
        assert died.value.cause == "out of memory"


async def test_what_is_no_program_is_told(started, client, tmp_path):
    handler = "./main.absent" if client.runtime == "custom" else None
    if handler is None:
        pytest.skip("its program is there")
    with pytest.raises(HandlerLoadFailed) as failed:
        async with started(handler):
            pass
    assert failed.value.error["type"] == "Runtime.InvalidEntrypoint"
    assert "./main.absent: No such file" in failed.value.error["message"]
