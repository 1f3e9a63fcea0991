"""What is done inside an interactive sandbox: programs, files, processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any, TypeVar

import anyio
import msgspec
from anyio.streams.memory import MemoryObjectReceiveStream

from constellation.base.errors import ConstellationError, InvalidRequest
from constellation.comet.dataplane.request import Answer, DataRequest
from constellation.comet.sandboxes.files import File, write
from constellation.comet.sandboxes.frames import DATA, END, ERROR
from constellation.comet.sandboxes.layout import AGENT
from constellation.comet.sandboxes.link import AgentGone, SandboxRefused, asking
from constellation.comet.sandboxes.machines import Machines, Use
from constellation.comet.sandboxes.programs import Outcome, Program, run, shell, started, stream
from constellation.routes.models import sandboxes as m

KEPT_BYTES = 1 << 20  # of each stream of a program, where it is answered at its end
PACK_S = 600.0
_SAID_BYTES = 300  # of what went wrong with an archive
_MAX_OFFSET = 10**15
_HOME = "/home/sandbox"
_NDJSON = "application/x-ndjson"
_BINARY = "application/octet-stream"
_PIECES = 8  # in hand; who does not take them stops the program
_INTERPRETERS = {
    "python": ("python3", "-c"), "javascript": ("node", "-e"), "bash": ("bash", "-c"), "sh": ("sh", "-c"),
    "ruby": ("ruby", "-e"), "php": ("php", "-r"), "perl": ("perl", "-e"), "lua": ("lua5.4", "-e"),
}  # fmt: skip

T = TypeVar("T")
Item = bytes | ConstellationError
Say = Callable[[bytes], Awaitable[None]]


class InsideRoutes:
    """Operations in a running sandbox of the caller's scope."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines

    async def exec_sandbox(self, request: DataRequest) -> Answer:
        wanted: m.SandboxExec = request.json(m.SandboxExec)
        if (wanted.command is None) is (wanted.argv is None):
            raise InvalidRequest("an exec has either command or argv", field="command")
        argv = wanted.argv if wanted.argv is not None else shell(wanted.command or "")
        program = Program(
            argv=argv, cwd=wanted.cwd, env=wanted.env, timeout_s=wanted.timeout_s, background=wanted.background
        )
        return await self._run(request, program, stdin=wanted.stdin.encode())

    async def run_sandbox_code(self, request: DataRequest) -> Answer:
        wanted: m.SandboxCode = request.json(m.SandboxCode)
        argv = ["/usr/bin/env", *_INTERPRETERS[wanted.language], wanted.code]
        if len(wanted.code.encode()) > 128 << 10:  # the kernel's limit of one argument
            raise InvalidRequest("the code is longer than 128 KiB: write it to a file", field="code")
        program = Program(argv=argv, cwd=wanted.cwd, env=wanted.env, timeout_s=wanted.timeout_s)
        return await self._run(request, program, stdin=b"")

    async def _run(self, request: DataRequest, program: Program, *, stdin: bytes) -> Answer:
        if _NDJSON in request.headers.get("accept", ""):

            async def produce(say: Say) -> None:
                async with self._using(request) as use:
                    await stream(use, program, stdin=stdin, say=lambda line: say(msgspec.json.encode(line) + b"\n"))

            return await _streamed(request, produce, content_type=_NDJSON)

        async def work() -> Outcome:
            async with self._using(request) as use:
                return await run(use, program, stdin=stdin, limit_bytes=KEPT_BYTES)

        done = await _while_wanted(request, work)
        end = done.exit
        return Answer(
            body=m.SandboxExit(
                pid=done.pid,
                exit_code=end.exit_code if end is not None else None,
                signal=end.signal if end is not None else None,
                timed_out=end is not None and end.timed_out,
                stdout=done.stdout.text,
                stderr=done.stderr.text,
                stdout_truncated=done.stdout.is_cut,
                stderr_truncated=done.stderr.is_cut,
                duration_ms=done.duration_ms,
            )
        )

    async def read_sandbox_file(self, request: DataRequest) -> Answer:
        path, offset = _path(request), request.query_number("offset", default=0, low=0, high=_MAX_OFFSET)
        length = request.query_number("length", default=None, low=0, high=_MAX_OFFSET)

        async def produce(say: Say) -> None:
            wanted = {"op": "read", "path": path, "offset": offset, "length": length}
            async with self._using(request) as use, asking(use.socket, wanted) as link:
                await link.answer()
                while True:
                    kind, body = await link.receive()
                    if kind == END:
                        return
                    if kind != DATA:
                        raise AgentGone("it says what makes no sense")
                    await say(body)

        return await _streamed(request, produce, content_type=_BINARY)

    async def write_sandbox_file(self, request: DataRequest) -> m.SandboxEntry:
        mode = request.query.get("mode", "644")
        offset = request.query_number("offset", default=None, low=0, high=_MAX_OFFSET)
        if not 1 <= len(mode) <= 4 or any(digit not in "01234567" for digit in mode) or int(mode, 8) > 0o777:
            raise InvalidRequest("mode must be octal, up to 777", field="mode")
        file = File(path=_path(request), content=request.body, mode=int(mode, 8), offset=offset)
        async with self._using(request) as use:
            return entry_of(await write(use.socket, file))

    async def delete_sandbox_file(self, request: DataRequest) -> None:
        is_recursive = request.query.get("recursive", "0") in ("1", "true")
        async with self._using(request) as use:
            await use.ask(op="delete", path=_path(request), recursive=is_recursive)

    async def list_sandbox_files(self, request: DataRequest) -> m.SandboxEntries:
        async with self._using(request) as use:
            found = await use.ask(op="list", path=_path(request, default=_HOME))
        return m.SandboxEntries(items=[entry_of(each) for each in _items(found)])

    async def stat_sandbox_file(self, request: DataRequest) -> m.SandboxEntry:
        async with self._using(request) as use:
            return entry_of(await use.ask(op="stat", path=_path(request)))

    async def make_sandbox_directory(self, request: DataRequest) -> m.SandboxEntry:
        wanted: m.SandboxMkdir = request.json(m.SandboxMkdir)
        async with self._using(request) as use:
            return entry_of(await use.ask(op="mkdir", path=wanted.path, mode=wanted.mode))

    async def move_sandbox_file(self, request: DataRequest) -> m.SandboxEntry:
        wanted: m.SandboxMove = request.json(m.SandboxMove)
        async with self._using(request) as use:
            return entry_of(await use.ask(op="move", path=wanted.path, to=wanted.to))

    async def download_sandbox_archive(self, request: DataRequest) -> Answer:
        path = _path(request, default=_HOME)

        async def produce(say: Say) -> None:
            async with self._using(request) as use:
                await use.ask(op="stat", path=path)  # a refusal while there is an answer to put it in
                async with started(use, _packing(use, "pack", path)) as running:
                    said = b""
                    async for kind, piece in running.heard():
                        if kind == ERROR:
                            said = (said + piece)[-_SAID_BYTES:]
                        else:
                            await say(piece)
                    _check(running.exit.exit_code if running.exit else 1, said)

        return await _streamed(request, produce, content_type="application/gzip")

    async def upload_sandbox_archive(self, request: DataRequest) -> None:
        path = _path(request, default=_HOME)

        async def work() -> Outcome:
            async with self._using(request) as use:
                return await run(use, _packing(use, "unpack", path), stdin=request.body, limit_bytes=_SAID_BYTES)

        done = await _while_wanted(request, work)
        _check(done.exit.exit_code if done.exit else 1, bytes(done.stderr.data))

    async def list_sandbox_processes(self, request: DataRequest) -> m.SandboxProcesses:
        async with self._using(request) as use:
            found = await use.ask(op="ps")
        return m.SandboxProcesses(items=[_convert(each, m.SandboxProcess) for each in _items(found)])

    async def signal_sandbox_process(self, request: DataRequest) -> None:
        pid, number = request.params["pid"], request.query_number("signal", default=15, low=1, high=64)
        if not pid.isascii() or not pid.isdigit() or len(pid) > 9:
            raise InvalidRequest("pid must be a number", field="pid")
        async with self._using(request) as use:
            await use.ask(op="kill", pid=int(pid), signal=number)

    def _using(self, request: DataRequest) -> AbstractAsyncContextManager[Use]:
        return self._machines.using(request.tenant, request.namespace, request.id())


def entry_of(told: dict[str, Any]) -> m.SandboxEntry:
    """Return a file as the API shows it. Raises `AgentGone` for what is none."""
    try:
        modified_at = datetime.fromtimestamp(float(told.pop("modified_at_s")), UTC)
    except (KeyError, TypeError, ValueError, OverflowError, OSError) as error:
        raise AgentGone("its answer is not understood") from error
    found: m.SandboxEntry = _convert({**told, "modified_at": modified_at}, m.SandboxEntry)
    return found


def _items(told: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _convert(told.get("items"), list[dict[str, Any]])
    return found


def _convert(value: object, type_: Any) -> Any:
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        raise AgentGone("its answer is not understood") from error


def _packing(use: Use, what: str, path: str) -> Program:
    return Program(argv=[*use.python, AGENT, what, path], timeout_s=PACK_S)


def _check(exit_code: int, said: bytes) -> None:
    if exit_code != 0:
        raise SandboxRefused("EIO", said.decode("utf-8", "replace").strip() or "the archive was not taken whole")


def _path(request: DataRequest, *, default: str | None = None) -> str:
    path = request.query.get("path", default)
    if not path:
        raise InvalidRequest("path must name a file of the sandbox", field="path")
    return path


async def _while_wanted(request: DataRequest, work: Callable[[], Awaitable[T]]) -> T:
    """Return what the work returns; it ends with the request, where an operation itself would go on without a client."""
    outcome: list[T | ConstellationError] = []
    done = anyio.Event()

    async def act() -> None:
        try:
            outcome.append(await work())
        except ConstellationError as error:
            outcome.append(error)
        finally:
            done.set()

    request.tasks.start_soon(act)
    await done.wait()
    found = outcome[0] if outcome else AgentGone("nobody waits for it any more")
    if isinstance(found, ConstellationError):
        raise found
    return found


async def _streamed(request: DataRequest, produce: Callable[[Say], Awaitable[None]], *, content_type: str) -> Answer:
    """Return an answer that grows with what is produced; a failure before its first piece is the answer."""
    send, receive = anyio.create_memory_object_stream[Item](_PIECES)

    async def work() -> None:
        with send:
            try:
                await produce(send.send)
            except ConstellationError as error:
                await send.send(error)
            except anyio.BrokenResourceError:
                return  # the client hung up

    request.tasks.start_soon(work)
    try:
        first: Item = await receive.receive()
    except anyio.EndOfStream:
        first = b""
    if isinstance(first, ConstellationError):
        receive.close()
        raise first
    return Answer(
        body=_pieces(first, receive), content_type=content_type, headers={"X-Content-Type-Options": "nosniff"}
    )


async def _pieces(first: bytes, rest: MemoryObjectReceiveStream[Item]) -> AsyncIterator[bytes]:
    with rest:
        yield first
        async for item in rest:
            if isinstance(item, ConstellationError):
                raise item
            yield item
