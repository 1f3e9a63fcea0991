"""The bare server, which the platform's overhead is measured against, on a real worker."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import generator
import pytest
from http1 import AnswerReader, request_bytes, target_of
from load import Work
from peer_servers import bare


@pytest.fixture
def url():
    with bare() as url:
        yield url


def connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=10)


def ask(connection: socket.socket, url: str, event: object) -> dict[str, object]:
    connection.sendall(request_bytes(target_of(url), "POST", "/", body=json.dumps(event).encode()))
    reader = AnswerReader()
    while (answer := reader.feed(connection.recv(1 << 16))) is None:
        continue
    assert answer.status == 200
    return json.loads(answer.body)


def test_it_answers_with_what_the_worker_said(url):
    with connect(url) as connection:
        for name in ("Ada", "Grace"):
            assert ask(connection, url, {"name": name}) == {"output": {"message": f"Hello, {name}!"}, "error": None}
        raised = ask(connection, url, {})
        assert raised["output"] is None
        assert raised["error"]["type"] == "KeyError"


def test_callers_at_once_get_their_own_answers(url):
    def call(number: int) -> bool:
        with connect(url) as connection:
            return all(
                ask(connection, url, {"name": f"{number}.{turn}"})["output"] == {"message": f"Hello, {number}.{turn}!"}
                for turn in range(20)
            )

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(call, range(8)))


def test_an_answer_that_nobody_waits_for_is_nobody_elses(url):
    for turn in range(50):
        with connect(url) as gone:
            gone.sendall(request_bytes(target_of(url), "POST", "/", body=b'{"name":"gone"}'))
        with connect(url) as connection:
            assert ask(connection, url, {"name": turn})["output"] == {"message": f"Hello, {turn}!"}


@pytest.mark.parametrize(
    "bad",
    [
        b"POST / HTTP/1.1\r\ncontent-length: 99999999\r\n\r\n",
        b"x" * (64 << 10),
        b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_what_it_can_not_serve_ends_that_connection_alone(url, bad):
    with connect(url) as connection, connect(url) as other:
        connection.sendall(bad)
        assert connection.recv(1) == b""
        assert ask(other, url, {"name": "Ada"})["output"] == {"message": "Hello, Ada!"}


def test_the_generator_and_it_agree(url):
    target = target_of(url)
    request = request_bytes(target, "POST", "/", body=b'{"name":"Ada"}')
    found = generator.run(Work(target=target, request=request, connections=8), duration_s=0.2)
    assert set(found.took_us) == {"ok"}
    assert found.took_us["ok"].count > 8
