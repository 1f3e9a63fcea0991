"""The Node worker over its socket: the same contract as Python's, in JavaScript's ways."""

from __future__ import annotations

import json

import pytest

LOG, CHUNK, RESULT, ERROR, PING, PONG, STOP = 8, 7, 5, 6, 10, 11, 12


def test_it_greets_and_echoes(node_worker):
    worker = node_worker("exports.handler = async (event) => ({ got: event });")
    assert (worker.hello.protocol, worker.hello.runtime) == (1, "node")
    assert worker.init()[0].ok
    for event in (None, 1, "\u2603", [1, {"a": None}]):
        assert worker.call(event) == {"got": event}


def test_the_context_tells_whose_call_it_is(node_worker):
    worker = node_worker(
        "exports.handler = (e, c) => [c.request_id, c.function_name, c.function_version, c.tenant, c.namespace,\n"
        "  c.memory_limit_mb, c.trace.traceparent, process.env.GREETING, c.remaining_ms()];"
    )
    worker.init(env={"GREETING": "hej"})
    *facts, remaining_ms = worker.call(None, remaining_ms=60_000)
    trace = f"00-{b'tttttttttttttttt'.hex()}-{b'ssssssss'.hex()}-01"
    assert facts == ["00010203-0405-0607-0809-0a0b0c0d0e0f", "f", "7", "acme", "prod", 128, trace, "hej"]
    assert 50_000 < remaining_ms <= 60_000


@pytest.mark.parametrize(
    ("expression", "place"),
    [
        ("NaN", "$ is NaN"),
        ("({ a: [1, Infinity] })", "$.a[1] is Infinity"),
        ("({ f: () => 1 })", "$.f is a function"),
        ("[10n]", "$[0] is a bigint"),
        ("loop", "nested too deeply or holds itself"),
    ],
)
def test_what_json_can_not_hold_is_named(node_worker, expression, place):
    worker = node_worker(f"const loop = []; loop.push(loop); exports.handler = () => {expression};")
    worker.init()
    failure = worker.failure(None)
    assert failure["type"] == "TypeError"
    assert place in failure["message"]


def test_an_exception_shows_user_code_and_its_cause(node_worker):
    worker = node_worker(
        "function inner() { throw new RangeError('deep') }\n"
        "exports.handler = async () => { try { inner() } catch (cause) { throw new TypeError('outer', { cause }) } };"
    )
    worker.init()
    failure = worker.failure(None)
    assert (failure["type"], failure["message"]) == ("TypeError", "outer")
    assert "RangeError: deep" in failure["stack"]
    assert "worker.js" not in failure["stack"]
    assert "node:" not in failure["stack"]


def test_what_is_thrown_need_not_be_an_error(node_worker):
    worker = node_worker("exports.handler = async () => { throw { odd: 1 } };")
    worker.init()
    assert worker.failure(None) == {"type": "Error", "message": "{ odd: 1 }", "stack": ""}


@pytest.mark.parametrize("kind", ["function*", "async function*"])
def test_generators_stream_when_asked_and_are_collected_otherwise(node_worker, kind):
    worker = node_worker(f"exports.handler = {kind} () {{ yield 'a'; yield Buffer.from('é'); yield {{ n: 1 }} }};")
    worker.init()
    assert worker.call(None) == ["a", "é", {"n": 1}]
    worker.begin(None, stream=True)
    end, before = worker.finish()
    assert (end.kind, end.body) == (RESULT, b"")
    assert [f.body for f in before] == [b"a", "é".encode(), b'{"n":1}']


def test_modules_of_both_kinds_load(node_worker):
    worker = node_worker(
        "",
        m__mjs="import { helper } from './h.cjs'; export const handler = (e) => helper(e);",
        h__cjs="exports.helper = (e) => [e];",
    )
    assert worker.init("m.handler")[0].ok
    assert worker.call(1) == [1]


def test_what_is_printed_travels_with_its_call(node_worker):
    worker = node_worker(
        "console.log('loading');\n"
        "exports.handler = async (e) => {\n"
        "  console.log('a', e); await new Promise((r) => setTimeout(r, 20)); console.error('b', e); return e;\n"
        "};"
    )
    _, before = worker.init(concurrency=3)
    assert [(f.call_id, f.body) for f in before] == [(0, b"loading\n")]
    for call_id in (1, 2, 3):
        worker.begin(call_id, call_id=call_id)
    frames = [worker.read() for _ in range(9)]
    for call_id in (1, 2, 3):
        mine = [(f.kind, f.flags, f.body) for f in frames if f.call_id == call_id]
        assert mine == [
            (LOG, 0, f"a {call_id}\n".encode()),
            (LOG, 1, f"b {call_id}\n".encode()),
            (RESULT, 0, str(call_id).encode()),
        ]


def test_a_flood_is_cut_once_and_marked(node_worker):
    worker = node_worker("exports.handler = () => { for (let i = 0; i < 5000; i++) console.log('é'.repeat(20)); };")
    worker.init(log_limit_bytes=1001)
    worker.begin(None)
    _, before = worker.finish()
    assert sum(len(f.body) for f in before) <= 1001
    assert [f.flags for f in before if f.flags] == [2]
    b"".join(f.body for f in before).decode()


def test_an_output_over_the_limit_is_refused_and_the_worker_lives(node_worker):
    worker = node_worker("exports.handler = (n) => 'x'.repeat(n);")
    worker.init()
    assert worker.failure((6 << 20) + 1)["type"] == "OutputTooLarge"
    assert len(worker.call((6 << 20) - 2)) == (6 << 20) - 2


@pytest.mark.parametrize(
    ("source", "handler", "message"),
    [
        ("exports.handler = (", "main.handler", "Unexpected end of input"),
        ("exports.other = 1", "main.handler", "exports no 'handler'"),
        ("exports.handler = 1", "main.handler", "is a number"),
        ("", "handler", "module.function"),
        ("", "absent.handler", "there is no"),
        ("require('nowhere')", "main.handler", "nowhere"),
    ],
)
def test_code_that_does_not_load_says_why(node_worker, source, handler, message):
    ready, _ = node_worker(source).init(handler)
    assert not ready.ok
    assert message in json.loads(ready.error)["message"]


def test_exit_ends_the_process_with_its_status_after_its_last_words(node_worker):
    worker = node_worker("exports.handler = () => { process.stdout.write('bye'); process.exit(3) };")
    worker.init()
    worker.begin(None)
    assert worker.read().body == b"bye"
    with pytest.raises(EOFError):
        worker.read()
    assert worker.close()[0] == 3


def test_an_error_outside_every_call_ends_the_process_and_says_why(node_worker):
    worker = node_worker(
        "exports.handler = () => new Promise(() => setTimeout(() => { throw new Error('adrift') }, 1));"
    )
    worker.init()
    worker.begin(None)
    with pytest.raises(EOFError):
        worker.read()
    status, out = worker.close()
    assert status == 1
    assert "Error: adrift" in out


def test_ping_and_stop(node_worker):
    worker = node_worker("exports.handler = () => 1;")
    worker.init()
    worker.send(PING, 0, b"12345")
    assert worker.read()[0::3] == (PONG, b"12345")
    worker.send(STOP)
    with pytest.raises(EOFError):
        worker.read()
    assert worker.close()[0] == 0
