"""Programs in a sandbox: started through its agent, heard until they end."""

from __future__ import annotations

import codecs
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio

from constellation.comet.sandboxes.frames import CONTROL, DATA, END, ERROR
from constellation.comet.sandboxes.layout import HOME, PATH
from constellation.comet.sandboxes.link import AgentGone, AgentLink, asking, decoded
from constellation.comet.sandboxes.machines import Use

GRACE_S = 30.0  # what a program's end may take beyond its time
_BASH = "[ -x /bin/bash ] && exec /bin/bash"  # which an image need not have


def shell(command: str | None = None) -> list[str]:
    """Return the words of a shell: one that runs a command, or one for a terminal."""
    if command is None:
        return ["/bin/sh", "-c", f"{_BASH} -l; exec /bin/sh -l"]
    return ["/bin/sh", "-c", f'{_BASH} -c "$0"; exec /bin/sh -c "$0"', command]


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    argv: Sequence[str]
    cwd: str = HOME
    env: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = None  # None: as long as somebody listens
    size: tuple[int, int] | None = None  # rows and columns of its terminal; None: it has none
    background: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    exit_code: int
    signal: str | None
    timed_out: bool


@dataclass(slots=True)
class Running:
    """A program that was started, and the connection to it."""

    pid: int
    link: AgentLink
    exit: Exit | None = None

    async def heard(self) -> AsyncIterator[tuple[int, bytes]]:
        """Yield what it writes, as DATA and ERROR, until it has ended and `exit` is known."""
        while True:
            kind, body = await self.link.receive()
            if kind in (DATA, ERROR):
                yield kind, body
            elif kind == CONTROL:
                self.exit = _exit(decoded(body))
                return
            else:
                raise AgentGone("it says what makes no sense")


@asynccontextmanager
async def started(use: Use, program: Program) -> AsyncIterator[Running]:
    """Start a program; leaving the block ends one that runs in the foreground.

    Raises:
        SandboxRefused, AgentGone
    """
    env = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": HOME, "USER": "sandbox", "TERM": "xterm-256color"}
    request: dict[str, Any] = {
        "op": "exec",
        "argv": list(program.argv),
        "cwd": program.cwd,
        "env": {**env, **use.sandbox.env, **program.env},
        "timeout_s": program.timeout_s,
        "background": program.background,
        "pty": program.size is not None,
    }
    if program.size is not None:
        request["size"] = list(program.size)
    async with asking(use.socket, request) as link:
        head = await link.answer()
        if not isinstance(head.get("pid"), int):
            raise AgentGone("it names no process")
        yield Running(head["pid"], link)


@dataclass(slots=True)
class Captured:
    """What was written to one stream, up to a limit."""

    limit_bytes: int
    data: bytearray = field(default_factory=bytearray)
    is_cut: bool = False

    def add(self, piece: bytes) -> None:
        room = self.limit_bytes - len(self.data)
        self.is_cut = self.is_cut or len(piece) > room
        self.data += piece[:room]

    @property
    def text(self) -> str:
        return self.data.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    pid: int
    exit: Exit | None
    stdout: Captured
    stderr: Captured
    duration_ms: float


async def run(use: Use, program: Program, *, stdin: bytes, limit_bytes: int) -> Outcome:
    """Run a program to its end and keep what it writes; errors as in `started`."""
    began_s = time.perf_counter()
    stdout, stderr = Captured(limit_bytes), Captured(limit_bytes)
    async with started(use, program) as running:
        if not program.background:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(feed, running.link, stdin)
                async for kind, piece in running.heard():
                    (stdout if kind == DATA else stderr).add(piece)
                tasks.cancel_scope.cancel()
    return Outcome(
        pid=running.pid,
        exit=running.exit,
        stdout=stdout,
        stderr=stderr,
        duration_ms=round((time.perf_counter() - began_s) * 1000, 3),
    )


async def stream(
    use: Use, program: Program, *, stdin: bytes, say: Callable[[Mapping[str, object]], Awaitable[None]]
) -> None:
    """Run a program and tell everything as it comes: its pid, the text of either stream, how it ended."""
    async with started(use, program) as running:
        await say({"pid": running.pid})
        if program.background:
            return
        decoders = {kind: codecs.getincrementaldecoder("utf-8")("replace") for kind in (DATA, ERROR)}
        names = {DATA: "stdout", ERROR: "stderr"}
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(feed, running.link, stdin)
            async for kind, piece in running.heard():
                text = decoders[kind].decode(piece)
                if text:
                    await say({names[kind]: text})
            tasks.cancel_scope.cancel()
        for kind, decoder in decoders.items():
            if left := decoder.decode(b"", True):
                await say({names[kind]: left})
        end = running.exit
        assert end is not None
        await say({"exit": {"exit_code": end.exit_code, "signal": end.signal, "timed_out": end.timed_out}})


async def feed(link: AgentLink, stdin: bytes) -> None:
    """Write what a program shall read; one that does not is none of our concern."""
    try:
        if stdin:
            await link.send(DATA, stdin)
        await link.send(END)
    except AgentGone:
        return  # who hears it says so


def _exit(told: Mapping[str, Any]) -> Exit:
    code, number = told.get("exit_code"), told.get("signal")
    if not isinstance(code, int) or not isinstance(number, int):
        raise AgentGone("it does not say how the program ended")
    return Exit(exit_code=code, signal=_name(number), timed_out=told.get("timed_out") is True)


def _name(number: int) -> str | None:
    if number == 0:
        return None
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
