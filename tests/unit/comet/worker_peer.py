"""A host's end of the worker protocol for tests: blocking, literal, and independent of the code under test."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from constellation.wire.gen import agent_pb2

RUNTIMES = Path(__file__).parents[3] / "src/constellation/comet/runtimes"
HELLO, INIT, READY, EXEC, RESULT, ERROR, CHUNK, LOG, CANCEL, PING, PONG, STOP = range(1, 13)


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

        def place() -> None:
            if channel_fd is not None:
                os.dup2(theirs.fileno(), channel_fd)

        fd = theirs.fileno() if channel_fd is None else channel_fd
        self.process = subprocess.Popen(
            [part.replace("FD", str(fd)) for part in command],
            pass_fds=(theirs.fileno(), fd) if channel_fd is None else (theirs.fileno(), channel_fd),
            preexec_fn=place,
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
        out, _ = self.process.communicate(timeout=30)
        return self.process.returncode, out.decode()


def python_worker(code_dir: Path) -> WorkerPeer:
    start = f"import sys; sys.path.insert(0, {str(RUNTIMES / 'python')!r}); import worker; worker.main(FD)"
    base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    return WorkerPeer([str(base), "-I", "-S", "-c", start], code_dir)


def node_worker(code_dir: Path, node: Path) -> WorkerPeer:
    return WorkerPeer([str(node), str(RUNTIMES / "node/worker.js")], code_dir, channel_fd=3)
