"""A small OpenAI-compatible endpoint for tests: it answers as the model's name says, well and badly."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ANSWER = "Because nothing was given."


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request as it came."""

    path: str
    authorization: str
    body: dict[str, Any]

    @property
    def prompt(self) -> str:
        return "\n".join(message["content"] for message in self.body["messages"])


@dataclass(slots=True)
class Chat:
    """What it was asked, and where it is."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)  # what hangs goes on


@contextmanager
def serving_chat() -> Iterator[Chat]:
    """Serve on loopback for the length of the block."""
    chat = Chat()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:  # the library's name
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            chat.asked.append(Asked(path=self.path, authorization=self.headers.get("authorization", ""), body=body))
            self.close_connection = True
            _ANSWERS.get(body["model"], _streamed)(self, chat)

        def log_message(self, *_args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    chat.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield chat
    finally:
        chat.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _head(handler: BaseHTTPRequestHandler, status: int, kind: str, **headers: str) -> None:
    handler.send_response(status)
    handler.send_header("content-type", kind)
    handler.send_header("connection", "close")
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()


def _event(handler: BaseHTTPRequestHandler, text: str) -> None:
    data = json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]})
    handler.wfile.write(f"data: {data}\n\n".encode())
    handler.wfile.flush()


def _streamed(handler: BaseHTTPRequestHandler, _chat: Chat) -> None:
    _head(handler, 200, "text/event-stream")
    handler.wfile.write(b": comment\n\n")
    for word in ANSWER.split(" "):
        _event(handler, word if word.endswith(".") else word + " ")
    handler.wfile.write(b"data: [DONE]\n\n")


def _plain(handler: BaseHTTPRequestHandler, _chat: Chat) -> None:
    _head(handler, 200, "application/json")
    handler.wfile.write(json.dumps({"choices": [{"message": {"role": "assistant", "content": ANSWER}}]}).encode())


def _endless(handler: BaseHTTPRequestHandler, _chat: Chat) -> None:
    _head(handler, 200, "text/event-stream")
    try:
        while True:
            _event(handler, "word " * 2000)
    except OSError:  # whoever asked has enough
        return


def _one_line(handler: BaseHTTPRequestHandler, _chat: Chat) -> None:
    _head(handler, 200, "text/event-stream")
    try:
        while True:
            handler.wfile.write(b"data: " + b"x" * 65_536)
    except OSError:
        return


def _noise(handler: BaseHTTPRequestHandler, _chat: Chat) -> None:
    _head(handler, 200, "application/json")
    handler.wfile.write(b"<html>it works</html>")


def _noisy_stream(handler: BaseHTTPRequestHandler, _chat: Chat) -> None:
    _head(handler, 200, "text/event-stream")
    _event(handler, "So ")
    handler.wfile.write(b'data: {"choices": 7}\n\n')


def _broken(handler: BaseHTTPRequestHandler, _chat: Chat) -> None:
    _head(handler, 200, "text/event-stream")
    _event(handler, "So ")


def _silent(handler: BaseHTTPRequestHandler, chat: Chat) -> None:
    chat.released.wait(60)
    _head(handler, 200, "text/event-stream")


def _stalled(handler: BaseHTTPRequestHandler, chat: Chat) -> None:
    _head(handler, 200, "text/event-stream")
    _event(handler, "So ")
    chat.released.wait(60)


def _refusing(status: int, **headers: str) -> Any:
    def answer(handler: BaseHTTPRequestHandler, _chat: Chat) -> None:
        _head(handler, status, "application/json", **headers)
        # As real ones do, it repeats what it was given.
        handler.wfile.write(json.dumps({"error": {"message": f"no: {handler.headers.get('authorization')}"}}).encode())

    return answer


_ANSWERS: dict[str, Any] = {
    "plain": _plain,
    "endless": _endless,
    "one-line": _one_line,
    "noise": _noise,
    "noisy-stream": _noisy_stream,
    "broken": _broken,
    "silent": _silent,
    "stalled": _stalled,
    "refuses-key": _refusing(401),
    "no-model": _refusing(404),
    "busy": _refusing(429, retry_after="7"),
    "fails": _refusing(500),
    "moved": _refusing(302, location="http://127.0.0.1:1/elsewhere"),
}
