"""ct-load against a real socket: what it counts, and how it names it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import generator
import pytest
from http1 import request_bytes, target_of
from load import Work


def http(status: int, body: object, *, more: str = "") -> bytes:
    content = json.dumps(body, separators=(",", ":")).encode()
    return b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n%s\r\n%s" % (status, len(content), more.encode(), content)


OK = http(200, {"output": 1, "error": None})
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"


@contextmanager
def serving(answer: Callable[[int], bytes | None], *, delay_s: float = 0.0) -> Iterator[str]:
    """Serve `answer(number of the request)`, None closing the connection; yield the address."""
    numbers = count()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
                assert await reader.readexactly(length) == b"{}"
                given = answer(next(numbers))
                await asyncio.sleep(delay_s)
                if given is None:
                    break
                writer.write(given)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    ready = threading.Event()
    facts: dict[str, Any] = {}

    async def serve() -> None:
        facts["loop"], facts["stop"] = asyncio.get_running_loop(), asyncio.Event()
        async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
            facts["port"] = server.sockets[0].getsockname()[1]
            ready.set()
            await facts["stop"].wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    try:
        yield f"http://127.0.0.1:{facts['port']}"
    finally:
        facts["loop"].call_soon_threadsafe(facts["stop"].set)
        thread.join()


def measure(url: str, *, duration_s: float = 0.3, warm_up_s: float = 0.0, **more) -> generator.Measured:
    target = target_of(url)
    request = request_bytes(target, "POST", "/x", body=b"{}")
    work = Work(target=target, request=request, **({"connections": 2} | more))
    return generator.run(work, duration_s=duration_s, warm_up_s=warm_up_s)


def test_every_call_of_a_closed_loop_is_counted_once():
    served = []
    with serving(lambda number: served.append(number) or OK) as url:
        found = measure(url, connections=3)
    assert set(found.took_us) == {"ok"}
    assert found.took_us["ok"].count == len(served) > 10
    assert found.result.latency_us.count == len(served)
    assert found.elapsed_s >= 0.3


def test_calls_of_the_warm_up_are_not_counted():
    served = []
    with serving(lambda number: served.append(number) or OK) as url:
        found = measure(url, warm_up_s=0.3)
    assert 0 < found.took_us["ok"].count < len(served)


def test_kinds_of_answers_have_their_own_latencies():
    answers = [OK, http(429, {"code": "queue_full"}), http(200, {"output": None, "error": {"type": "X"}}), CHUNKED]
    with serving(lambda number: answers[number % 4], delay_s=0.002) as url:
        found = measure(url)
    assert set(found.took_us) == {"ok", "429 queue_full", "the function raised"}
    assert all(took_us.min >= 1900 for took_us in found.took_us.values())
    assert found.result.errors["429 queue_full"] == found.took_us["429 queue_full"].count


def test_an_open_loop_asks_by_the_clock_and_charges_from_when_a_call_was_due():
    with serving(lambda _: OK, delay_s=0.05) as url:
        found = measure(url, connections=1, rate=100, duration_s=0.5)
    took_us = found.took_us["ok"]
    assert took_us.count + found.took_us["not sent"].count == 50
    assert took_us.count <= 11
    assert took_us.max > 100_000  # though the server took 50 ms for each


def test_broken_connections_are_named_and_opened_again():
    with serving(lambda number: None if number % 2 else http(200, {}, more="connection: close\r\n")) as url:
        found = measure(url, connections=1)
    assert set(found.took_us) == {"ok", "connection: closed"}
    assert found.took_us["ok"].count > 1


def test_what_is_not_an_answer_is_named():
    with serving(lambda _: b"HTTP/1.0 200 OK\r\n\r\n") as url:
        assert set(measure(url).took_us) == {"bad answer"}


def test_a_call_that_takes_too_long_is_given_up():
    with serving(lambda _: OK, delay_s=0.5) as url:
        found = measure(url, duration_s=0.1, timeout_s=0.1)
    assert set(found.took_us) == {"timeout"}


def test_nobody_there_is_told():
    with serving(lambda _: OK) as url:
        gone = url
    found = measure(gone, duration_s=0.1)
    assert set(found.took_us) == {"connection: refused"}
    assert found.result.latency_us.count == 0


def test_a_server_with_tls_is_refused():
    with pytest.raises(ValueError, match="plain HTTP"):
        measure("https://127.0.0.1:1")
