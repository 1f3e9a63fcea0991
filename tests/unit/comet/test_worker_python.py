"""The Python worker over its socket: what a handler gets, gives, prints and breaks."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from constellation.wire.gen import agent_pb2

LOG, CHUNK, RESULT, ERROR, PING, PONG, STOP, CANCEL, EXEC, READY = 8, 7, 5, 6, 10, 11, 12, 9, 4, 3


def test_it_greets_with_protocol_and_version(python_worker):
    hello = python_worker("").hello
    assert (hello.protocol, hello.runtime) == (1, "python")
    assert hello.version.startswith("3.")


def test_an_event_comes_back_as_json(python_worker):
    worker = python_worker("def handler(event, context):\n    return {'got': event, 'snow': '\\u2603'}\n")
    assert worker.init()[0].ok
    for event in (None, 1, "x", [1, {"a": None}], {"deep": [[[]]]}, "\u2603"):
        assert worker.call(event) == {"got": event, "snow": "\u2603"}


def test_the_context_tells_whose_call_it_is(python_worker):
    worker = python_worker(
        "import time\n"
        "def handler(event, c):\n"
        "    return [c.request_id, c.function_name, c.function_version, c.tenant, c.namespace, c.memory_limit_mb,\n"
        "            c.trace.traceparent, c.remaining_ms(), round(c.deadline - time.time())]\n"
    )
    worker.init()
    *facts, remaining_ms, deadline_s = worker.call(None, remaining_ms=60_000)
    trace = f"00-{b'tttttttttttttttt'.hex()}-{b'ssssssss'.hex()}-01"
    assert facts == ["00010203-0405-0607-0809-0a0b0c0d0e0f", "f", "7", "acme", "prod", 128, trace]
    assert 50_000 < remaining_ms <= 60_000
    assert deadline_s == 60


def test_the_environment_arguments_and_main_are_the_functions(python_worker):
    worker = python_worker(
        "import os, sys, __main__\n"
        "def handler(event, context):\n"
        "    return [os.environ['GREETING'], sys.argv, sys.path[:2], sorted(vars(__main__)) == sorted(vars(type(sys)('x')))]\n"
    )
    worker.init(env={"GREETING": "hej"})
    greeting, argv, path, is_main_empty = worker.call(None)
    assert greeting == "hej"
    assert argv == [path[0] + "/main.py"]
    assert path[1] == path[0] + "/deps"
    assert is_main_empty


@pytest.mark.parametrize(
    ("expression", "place"),
    [
        ("{1, 2}", "$ is of type set"),
        ("{'a': [1, object()]}", "$.a[1] is of type object"),
        ("float('nan')", "$ is nan"),
        ("[{'x': float('-inf')}]", "$[0].x is -inf"),
        ("{(1, 2): 3}", "$ has a key of type tuple"),
        ("b'bytes'", "$ is of type bytes"),
        ("loop", "nested too deeply"),
    ],
)
def test_what_json_can_not_hold_is_named(python_worker, expression, place):
    worker = python_worker(f"loop = []\nloop.append(loop)\ndef handler(event, context):\n    return {expression}\n")
    worker.init()
    failure = worker.failure(None)
    assert failure["type"] == "TypeError"
    assert place in failure["message"]
    assert "worker" not in failure["stack"]


def test_lone_surrogates_survive_as_escapes(python_worker):
    worker = python_worker("def handler(event, context):\n    return '\\ud800'\n")
    worker.init()
    assert worker.call(None) == "\ud800"


def test_an_output_over_the_limit_is_refused_and_the_worker_lives(python_worker):
    worker = python_worker("def handler(event, context):\n    return 'x' * event\n")
    worker.init()
    assert worker.failure((6 << 20) + 1)["type"] == "OutputTooLarge"
    assert len(worker.call((6 << 20) - 2)) == (6 << 20) - 2


def test_an_event_of_six_mebibytes_is_taken(python_worker):
    worker = python_worker("def handler(event, context):\n    return len(event)\n")
    worker.init()
    assert worker.call("y" * ((6 << 20) - 2)) == (6 << 20) - 2


def test_an_exception_shows_user_code_alone(python_worker):
    worker = python_worker(
        "def inner():\n    raise ValueError('deep')\n"
        "def handler(event, context):\n"
        "    try:\n        inner()\n    except ValueError as error:\n        raise KeyError('outer') from error\n"
    )
    worker.init()
    failure = worker.failure(None)
    assert failure["type"] == "KeyError"
    assert failure["message"] == "'outer'"
    assert "in inner" in failure["stack"]
    assert "direct cause" in failure["stack"]
    assert "worker" not in failure["stack"]


def test_a_stack_without_end_is_bounded(python_worker):
    worker = python_worker("def handler(event, context):\n    return handler(event, context)\n")
    worker.init()
    failure = worker.failure(None)
    assert failure["type"] == "RecursionError"
    assert len(failure["stack"]) < 40_000


def test_an_exception_that_can_not_be_shown_is_still_an_answer(python_worker):
    worker = python_worker(
        "class Odd(Exception):\n    def __str__(self):\n        raise RuntimeError\n"
        "def handler(event, context):\n    raise Odd\n"
    )
    worker.init()
    assert worker.failure(None)["type"] == "Odd"


def test_async_handlers_share_one_loop(python_worker):
    worker = python_worker(
        "import asyncio\nloops = set()\n"
        "async def handler(event, context):\n"
        "    await asyncio.sleep(0)\n    loops.add(id(asyncio.get_running_loop()))\n    return len(loops)\n"
    )
    worker.init()
    assert [worker.call(None) for _ in range(3)] == [1, 1, 1]


GENERATORS = {
    "sync": "def handler(event, context):\n    print('go')\n    yield 'a'\n    yield b'\\xc3\\xa9'\n    yield {'n': 1}\n",
    "async": "async def handler(event, context):\n    print('go')\n    yield 'a'\n    yield b'\\xc3\\xa9'\n    yield {'n': 1}\n",
}


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("kind", GENERATORS)
def test_generators_stream_when_asked_and_are_collected_otherwise(python_worker, kind, concurrency):
    worker = python_worker(GENERATORS[kind])
    worker.init(concurrency=concurrency)
    assert worker.call(None) == ["a", "é", {"n": 1}]
    worker.begin(None, stream=True)
    end, before = worker.finish()
    assert (end.kind, end.body) == (RESULT, b"")
    assert [f.body for f in before if f.kind == CHUNK] == [b"a", "é".encode(), b'{"n":1}']


def test_a_streamed_plain_value_is_one_piece(python_worker):
    worker = python_worker("def handler(event, context):\n    return {'a': 1}\n")
    worker.init()
    worker.begin(None, stream=True)
    end, before = worker.finish()
    assert [f.body for f in before] == [b'{"a":1}']
    assert end.body == b""


def test_a_stream_that_fails_ends_with_the_error(python_worker):
    worker = python_worker("def handler(event, context):\n    yield 'a'\n    raise ValueError('late')\n")
    worker.init()
    worker.begin(None, stream=True)
    end, before = worker.finish()
    assert [f.body for f in before] == [b"a"]
    assert json.loads(end.body)["message"] == "late"


def test_what_is_printed_travels_with_its_call(python_worker):
    worker = python_worker(
        "import sys\nprint('loading')\n"
        "def handler(event, context):\n"
        "    print('out', event); sys.stderr.write('err'); sys.stdout.buffer.write(b'raw\\n'); context.logger.info('logged')\n"
    )
    _, before = worker.init()
    assert [(f.call_id, f.body) for f in before] == [(0, b"loading\n")]
    worker.begin(5, call_id=77)
    _, before = worker.finish()
    assert {(f.kind, f.call_id) for f in before} == {(LOG, 77)}
    assert b"".join(f.body for f in before if f.flags == 0) == b"out 5\nraw\n"
    assert b"".join(f.body for f in before if f.flags == 1) == b"errINFO logged\n"


def test_a_flood_is_cut_once_and_marked(python_worker):
    worker = python_worker("def handler(event, context):\n    for i in range(10000): print('é' * 20)\n")
    worker.init(log_limit_bytes=1001)
    worker.begin(None)
    _, before = worker.finish()
    assert sum(len(f.body) for f in before) <= 1001
    assert [f.flags for f in before if f.flags] == [2]
    assert before[-1].flags == 2
    b"".join(f.body for f in before).decode()  # not cut within a character


def test_calls_at_a_time_keep_their_logs_apart(python_worker):
    worker = python_worker(
        "import threading\nbarrier = threading.Barrier(3)\n"
        "def handler(event, context):\n    print('a', event)\n    barrier.wait(10)\n    print('b', event)\n    return event\n"
    )
    worker.init(concurrency=3)
    for call_id in (1, 2, 3):
        worker.begin(call_id, call_id=call_id)
    frames = [worker.read() for _ in range(9)]
    for call_id in (1, 2, 3):
        mine = [f for f in frames if f.call_id == call_id]
        assert b"".join(f.body for f in mine if f.kind == LOG) == f"a {call_id}\nb {call_id}\n".encode()
        assert [f.body for f in mine if f.kind == RESULT] == [str(call_id).encode()]


def test_async_calls_at_a_time_keep_their_logs_apart_and_can_be_cancelled(python_worker):
    worker = python_worker(
        "import asyncio\n"
        "async def handler(event, context):\n    print(event)\n    await asyncio.sleep(0 if event else 60)\n    return event\n"
    )
    worker.init(concurrency=3)
    worker.begin(0, call_id=1)
    worker.begin(2, call_id=2)
    frames = [worker.read() for _ in range(3)]
    assert [(f.kind, f.body) for f in frames if f.call_id == 2] == [(LOG, b"2\n"), (RESULT, b"2")]
    worker.send(CANCEL, 1)
    end, _ = worker.finish()
    assert (end.kind, end.call_id) == (ERROR, 1)
    assert json.loads(end.body)["type"] == "CancelledError"


def test_it_sleeps_until_there_is_something_to_read(python_worker):
    worker = python_worker("def handler(event, context):\n    return 1\n")
    worker.init()
    status = Path(f"/proc/{worker.process.pid}/status")

    def sleeps() -> int:
        while "State:\tS" not in (text := status.read_text()):
            time.sleep(0.001)
        return int(text.partition("\nvoluntary_ctxt_switches:")[2].split()[0])

    calls, before = 20, sleeps()
    for _ in range(calls):
        worker.begin(None)
        assert worker.has_answered()
        sleeps()
        worker.finish()  # takes the answer from the socket, of which a sleeper in read() would be told
        time.sleep(0.002)
    assert sleeps() - before < calls * 3 // 2


def test_ping_is_answered_between_calls(python_worker):
    worker = python_worker("def handler(event, context):\n    return 1\n")
    worker.init()
    worker.send(PING, 0, b"12345")
    assert worker.read()[0::3] == (PONG, b"12345")


@pytest.mark.parametrize(
    ("source", "handler", "kind", "message"),
    [
        ("def handler(:\n", "main.handler", "SyntaxError", "invalid syntax"),
        ("import nowhere\n", "main.handler", "ModuleNotFoundError", "nowhere"),
        ("x = 1\n", "main.handler", "AttributeError", "has no 'handler'"),
        ("handler = 5\n", "main.handler", "TypeError", "is a int"),
        ("", "handler", "ValueError", "module.function"),
        ("", "absent.handler", "ModuleNotFoundError", "absent"),
        ("raise RuntimeError('at import')\n", "main.handler", "RuntimeError", "at import"),
    ],
)
def test_code_that_does_not_load_says_why(python_worker, source, handler, kind, message):
    ready, _ = python_worker(source).init(handler)
    assert not ready.ok
    error = json.loads(ready.error)
    assert error["type"] == kind
    assert message in error["message"]
    assert "worker" not in error["stack"]


def test_exit_ends_the_process_with_its_status_after_its_last_words(python_worker):
    worker = python_worker("import sys\ndef handler(event, context):\n    print('bye', end='')\n    sys.exit(3)\n")
    worker.init()
    worker.begin(None)
    assert worker.read().body == b"bye"
    with pytest.raises(EOFError):
        worker.read()
    assert worker.close()[0] == 3


def test_a_forked_child_can_not_speak_for_its_parent(python_worker):
    worker = python_worker(
        "import os\n"
        "def handler(event, context):\n"
        "    if (pid := os.fork()) == 0:\n        print('child')\n        return 'from the child'\n"
        "    os.waitpid(pid, 0)\n    return 'from the parent'\n"
    )
    worker.init()
    assert worker.call(None) == "from the parent"
    status, out = worker.close()
    assert status == 0
    assert out in ("", "child\n")  # the child's own standard output, if it got to flush it


def test_a_module_named_like_one_of_the_standard_library_is_the_functions(python_worker):
    worker = python_worker("", json__py="def handler(event, context):\n    return 'mine'\n")
    assert worker.init("json.handler")[0].ok
    assert worker.call(None) == "mine"


MODULE = (
    "import sys\n"
    "def facts():\n"
    "    spec = __spec__\n"
    "    found = [__name__, __file__, __package__, __cached__, type(__loader__).__name__, __loader__.get_source(__name__)[:6]]\n"
    "    found += [spec.name, spec.origin, spec.cached, spec.parent, spec.has_location, spec.loader is __loader__]\n"
    "    return [*found, sys.modules[__name__].facts is facts, sorted(globals())]\n"
)


def test_the_module_of_the_handler_is_as_any_import_makes_it(python_worker):
    source = MODULE + "def handler(event, context):\n    import other\n    return [facts(), other.facts()]\n"
    worker = python_worker(source, other__py=MODULE + "def handler(): ...\n")
    assert worker.init()[0].ok
    mine, others = worker.call(None)
    assert json.loads(json.dumps(others).replace("other", "main")) == mine


@pytest.mark.parametrize("rival", ["main/__init__.py", "main.abi3.so"])
def test_what_import_prefers_to_a_source_file_is_preferred(python_worker, tmp_path, rival):
    (tmp_path / rival).parent.mkdir(exist_ok=True)
    (tmp_path / rival).write_text("def handler(event, context):\n    return 'package'\n")
    worker = python_worker("def handler(event, context):\n    return 'file'\n")
    ready, _ = worker.init()
    if ready.ok:
        assert worker.call(None) == "package"
    else:  # no library that the linker could load
        assert json.loads(ready.error)["type"] == "ImportError"


def test_a_file_whose_name_has_a_dot_is_no_module(python_worker):
    ready, _ = python_worker("", a__b__py="def handler(event, context): ...\n").init("a.b.handler")
    assert json.loads(ready.error)["type"] == "ModuleNotFoundError"


def test_a_module_may_put_another_object_in_its_place(python_worker):
    worker = python_worker(
        "import sys, types\nsys.modules[__name__] = types.SimpleNamespace(handler=lambda event, context: 'the other')\n"
    )
    assert worker.init()[0].ok
    assert worker.call(None) == "the other"


def test_an_event_in_another_encoding_or_with_blanks_around_is_read(python_worker):
    worker = python_worker("def handler(event, context):\n    return event\n")
    worker.init()
    for raw in (b' {"a": 1}\n', '{"a": 1}'.encode("utf-16"), b'\xef\xbb\xbf{"a": 1}'):
        assert worker.call(raw) == {"a": 1}


def test_stop_ends_it_cleanly(python_worker):
    worker = python_worker("def handler(event, context):\n    return 1\n")
    worker.init()
    worker.send(STOP)
    with pytest.raises(EOFError):
        worker.read()
    assert worker.close()[0] == 0


def test_a_frame_over_the_limit_ends_it(python_worker):
    worker = python_worker("def handler(event, context):\n    return 1\n")
    worker.init()
    worker._socket.sendall((1 << 30).to_bytes(4, "big") + bytes(8))
    with pytest.raises(EOFError):
        worker.read()


def test_ready_and_hello_are_what_the_schema_says(python_worker):
    worker = python_worker("def handler(event, context):\n    return 1\n")
    ready, _ = worker.init()
    assert ready == agent_pb2.Ready(ok=True)
