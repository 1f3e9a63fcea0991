"""A handler that misbehaves costs its own call only, and the answer says what happened."""

from __future__ import annotations

import concurrent.futures

import pytest

OK = "def handler(event, context):\n    return 'fine'\n"


def _handler(body: str) -> str:
    lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
    return f"import os, sys, time, threading, ctypes\ndef handler(event, context):\n    if event == 'ok':\n        return 'fine'\n{lines}\n"


CASES = {
    "exits": ("os._exit(3)", 502, "instance_died"),
    "sys-exits": ("sys.exit(3)", 502, "instance_died"),
    "forks-a-bomb": (
        "while True:\n    try:\n        os.fork()\n    except OSError:\n        time.sleep(0.01)",
        None,
        None,
    ),
    "allocates": ("hold = []\nwhile True:\n    hold.append(bytearray(8 << 20))", None, None),
    "sleeps": ("time.sleep(60)", 504, "timeout"),
    "spins": ("while True:\n    pass", 504, "timeout"),
    "ignores-term": ("import signal\nsignal.signal(15, signal.SIG_IGN)\ntime.sleep(60)", 504, "timeout"),
    "closes-fds": ("os.closerange(0, 256)\ntime.sleep(60)", 502, "instance_died"),
    "writes-rubbish": (
        "for fd in range(3, 64):\n    try:\n        os.write(fd, b'\\xff' * 4096)\n    except OSError:\n        continue\ntime.sleep(60)",
        502,
        "instance_died",
    ),
    "kills-itself": ("os.kill(os.getpid(), 9)\nctypes.string_at(0)\nreturn 1", 502, "instance_died"),
}


@pytest.mark.parametrize("name", CASES)
def test_it_costs_its_own_call_only(platform, name):
    body, status, code = CASES[name]
    platform.deploy(name, _handler(body), timeout_s=2, memory_mb=64, max_replicas=2)
    answer = platform.invoke(name, "bad")
    problem = answer.json()
    if status is None:  # the kernel decides whether its memory, its processes or its time run out first
        assert answer.status_code in (200, 502, 504), answer.text
        if answer.status_code == 200:
            assert problem["error"]["type"] in ("MemoryError", "BlockingIOError"), problem
    else:
        assert answer.status_code == status, answer.text
        assert problem["code"] == code
    assert platform.output(name, "ok") == "fine"
    assert platform.output("hello-python", {"name": "Ada"})


def test_raising_is_an_answer(platform):
    platform.deploy("raises", _handler("raise ValueError('no such thing')"))
    answer = platform.invoke("raises")
    body = answer.json()
    assert answer.status_code == 200
    assert answer.headers["x-nova-function-error"]
    assert body["output"] is None
    assert body["error"]["type"] == "ValueError"
    assert body["error"]["message"] == "no such thing"
    assert "handler" in body["error"]["stack"]


def test_a_flood_of_output_is_cut_and_said_to_be(platform):
    platform.deploy("floods", _handler("for i in range(200000):\n    print('x' * 100)\nreturn 'done'"), timeout_s=20)
    answer = platform.invoke("floods", "bad")
    assert answer.json()["output"] == "done", answer.text
    [row] = platform.eventually(lambda: platform.http.get("/functions/floods/logs").json()["items"])
    assert row["log_truncated"] is True
    assert len(row["log"]) <= 70_000


def test_output_that_is_not_json_is_the_handlers_error(platform):
    platform.deploy("odd", _handler("return object()"))
    body = platform.invoke("odd").json()
    assert body["error"]["type"]


def test_code_that_does_not_load_says_why(platform):
    platform.deploy("broken", "def handler(event, context)\n    return 1\n")
    answer = platform.invoke("broken")
    assert answer.status_code == 502
    assert answer.json()["code"] == "handler_load_failed"
    assert "SyntaxError" in answer.text
    platform.deploy("broken", OK)
    platform.eventually(lambda: platform.output("broken") == "fine")


def test_a_full_queue_is_shed_with_retry_after(platform):
    platform.deploy(
        "narrow", "import time\ndef handler(event, context):\n    time.sleep(0.5)\n    return 1\n", max_replicas=1,
        capacity={"max_queue_depth": 2, "retry_after_s": 3},
    )  # fmt: skip
    platform.output("narrow")
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: platform.invoke("narrow"), range(12)))
    codes = sorted(a.status_code for a in answers)
    assert set(codes) == {200, 429}
    shed = next(a for a in answers if a.status_code == 429)
    assert shed.json()["code"] == "queue_full"
    assert shed.headers["retry-after"] == "3"


def test_waiting_too_long_in_line_is_shed(platform):
    platform.deploy(
        "slow-line", "import time\ndef handler(event, context):\n    time.sleep(1.5)\n    return 1\n", max_replicas=1,
        capacity={"max_queue_wait_s": 0.2, "shed_status_code": 503},
    )  # fmt: skip
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: platform.invoke("slow-line"), range(4)))
    late = [a for a in answers if a.status_code == 503]
    assert late
    assert {a.json()["code"] for a in late} == {"queue_wait_timeout"}


def test_halted_functions_are_refused(platform):
    platform.deploy("stopped", OK, halted=True)
    answer = platform.invoke("stopped")
    assert (answer.status_code, answer.json()["code"]) == (403, "halted")
    platform.deploy("stopped", OK, halted=False)
    platform.eventually(lambda: platform.output("stopped") == "fine")


def test_one_of_many_in_an_instance_times_out_alone(platform):
    code = "import time\ndef handler(event, context):\n    time.sleep(event)\n    return event\n"
    platform.deploy("shared", code, instance_concurrency=8, max_replicas=1, timeout_s=1.5)
    platform.output("shared", 0)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        slow = pool.submit(platform.invoke, "shared", 30)
        quick = [pool.submit(platform.invoke, "shared", 0.7) for _ in range(3)]
        assert slow.result().status_code == 504
        assert {q.result().status_code for q in quick} == {200}
    assert platform.output("shared", 0) == 0


def test_exit_fails_every_call_of_the_instance(platform):
    code = "import os, time\ndef handler(event, context):\n    time.sleep(0.5)\n    if event == 'exit':\n        os._exit(1)\n    time.sleep(event)\n    return event\n"
    platform.deploy("together", code, instance_concurrency=8, max_replicas=1)
    platform.output("together", 0)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda e: platform.invoke("together", e), [3, 3, "exit"]))
    assert [a.json().get("code") for a in answers] == ["instance_died"] * 3
    assert platform.output("together", 0) == 0
