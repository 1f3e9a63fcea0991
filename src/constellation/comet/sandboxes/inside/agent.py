"""Pid 1 of an interactive sandbox: does inside what comet asks for. Standard library only, executed by itself.

Descriptor 3 is a listening socket. A connection is one request: frames both ways, the first of each side JSON. What
runs here has no more power than the programs around it, so whatever path or pid is named, it reaches what they reach.

    agent.py HOME PROCESSES     serve
    agent.py given HOME PROCESSES   the same, where descriptor 3 is a connection over which the listening socket comes
    agent.py pack PATH          a directory as tar.gz on standard output
    agent.py unpack PATH        an archive on standard input into a directory
"""

from __future__ import annotations

import asyncio
import errno
import gzip
import json
import os
import signal
import socket
import sys
import tarfile
from contextlib import suppress

HEAD, DATA, ERROR, END, CONTROL = range(5)
FRAME_BYTES = 65_536
REQUEST_BYTES = 1 << 20  # chosen: an environment, or a long command
CONNECTIONS = 128
HEAD_S = 10.0
CONNECT_S = 5.0  # chosen: to a server on loopback


class Refused(Exception):
    """What was asked for makes no sense here; `code` is for comet."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Wire:
    """One connection, in frames: u32 length of the body, u8 kind, body."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def receive(self, limit: int = FRAME_BYTES) -> tuple[int, bytes]:
        head = await self.reader.readexactly(5)
        length = int.from_bytes(head[:4], "big")
        if length > limit:
            raise Refused("invalid", "a frame is too long")
        return head[4], await self.reader.readexactly(length)

    async def send(self, kind: int, body: bytes = b"") -> None:
        """Send a frame, no faster than the other side takes it."""
        self.writer.write(len(body).to_bytes(4, "big") + bytes((kind,)) + body)
        await self.writer.drain()

    async def say(self, frame: int, /, **facts: object) -> None:
        await self.send(frame, json.dumps(facts).encode())


class Agent:
    """What comet may ask for: a method an operation, named in the request's `op`."""

    def __init__(self, home: str, processes: int) -> None:
        from agent_files import Files  # noqa: PLC0415 (beside this file, and not needed to pack)
        from agent_processes import Processes  # noqa: PLC0415

        self.processes = Processes(home, processes)
        self.files = Files(home)
        self.open = 0

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection; whatever goes wrong costs this one only."""
        wire = Wire(reader, writer)
        self.open += 1
        try:
            if self.open > CONNECTIONS:
                raise Refused("busy", f"{CONNECTIONS} requests are in hand")
            await self.serve(wire)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # comet hung up
        except Refused as error:
            await self.refuse(wire, error.code, str(error))
        except OSError as error:
            what = error.strerror or str(error)
            await self.refuse(
                wire,
                errno.errorcode.get(error.errno or 0, "EIO"),
                f"{error.filename}: {what}" if error.filename else what,
            )
        except (ValueError, KeyError, TypeError) as error:
            await self.refuse(wire, "invalid", f"{type(error).__name__}: {error}")
        finally:
            self.open -= 1
            writer.close()

    async def refuse(self, wire: Wire, code: str, message: str) -> None:
        """Say why, and hear comet out: to close on what it still sends would take the answer with it."""
        with suppress(OSError, asyncio.TimeoutError):
            await asyncio.wait_for(wire.say(HEAD, code=code, message=message[:500]), HEAD_S)
            wire.writer.write_eof()
            await asyncio.wait_for(self._hear_out(wire), HEAD_S)

    async def _hear_out(self, wire: Wire) -> None:
        while await wire.reader.read(FRAME_BYTES):
            pass

    async def serve(self, wire: Wire) -> None:
        kind, body = await asyncio.wait_for(wire.receive(REQUEST_BYTES), HEAD_S)
        request = json.loads(body)
        if kind != HEAD or not isinstance(request, dict):
            raise Refused("invalid", "the first frame is no request")
        op = request.get("op")
        if op == "ping":
            await wire.say(HEAD)
        elif op == "exec":
            await self.processes.execute(wire, request)
        elif op == "connect":
            await connect(wire, int(request["port"]))
        elif op == "ps":
            await wire.say(HEAD, items=self.processes.list())
        elif op == "kill":
            self.processes.signal(int(request["pid"]), int(request["signal"]))
            await wire.say(HEAD)
        else:
            await self.files.serve(wire, request)


async def connect(wire: Wire, port: int) -> None:
    """Pass bytes to and from what listens on loopback."""
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection("localhost", port), CONNECT_S)
    except OSError as error:  # its own: one that gets out of here is comet's hang-up
        raise Refused("ECONNREFUSED", f"nothing listens on port {port}") from error
    try:
        await wire.say(HEAD)
        back = asyncio.ensure_future(_pass_back(wire, reader))
        try:
            await _pass_on(wire, writer)
            await back
        finally:
            back.cancel()
    finally:
        writer.close()


async def _pass_on(wire: Wire, writer: asyncio.StreamWriter) -> None:
    while True:
        kind, body = await wire.receive()
        if kind == END:
            if writer.can_write_eof():
                writer.write_eof()
            return
        writer.write(body)
        await writer.drain()


async def _pass_back(wire: Wire, reader: asyncio.StreamReader) -> None:
    try:
        while data := await reader.read(FRAME_BYTES):
            await wire.send(DATA, data)
        await wire.send(END)
    except ConnectionError:
        wire.writer.close()  # so that who waits for the other way hears of it


def pack(path: str) -> None:
    with (
        gzip.GzipFile(fileobj=sys.stdout.buffer, mode="wb", compresslevel=1) as out,
        tarfile.open(fileobj=out, mode="w|") as archive,
    ):
        archive.add(path, arcname=".")


def unpack(path: str) -> None:
    """Take an archive. Where its links lead is the user's own affair: nothing here is anybody else's."""
    os.makedirs(path, exist_ok=True)
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|*") as archive:
        archive.extraction_filter = getattr(tarfile, "fully_trusted_filter", None)
        for entry in archive:
            if entry.name.startswith("/") or ".." in entry.name.split("/") or entry.isdev() and not entry.isfifo():
                raise tarfile.TarError(f"{entry.name!r} does not belong in a directory")
            entry.mode &= 0o777
            archive.extract(entry, path)


def take_listener() -> None:
    """Have as descriptor 3 the socket that comes over it, and say so."""
    with socket.socket(fileno=3) as channel:
        _, fds, _, _ = socket.recv_fds(channel, 1, 1)
        channel.send(b"1")
    os.dup2(fds[0], 3, inheritable=False)
    if fds[0] != 3:
        os.close(fds[0])


async def serve(home: str, processes: int) -> None:
    agent = Agent(home, processes)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGCHLD, agent.processes.reap)
    listener = socket.socket(fileno=3)
    os.set_inheritable(3, False)
    server = await asyncio.start_unix_server(agent.connected, sock=listener, limit=FRAME_BYTES)
    await server.serve_forever()


def main(arguments: list[str]) -> None:
    if arguments[0] in ("pack", "unpack"):
        try:
            (pack if arguments[0] == "pack" else unpack)(arguments[1])
        except (OSError, EOFError, tarfile.TarError) as error:
            sys.exit(f"{arguments[0]}: {error}")
    else:
        if arguments[0] == "given":
            take_listener()
            del arguments[0]
        sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
        sys.modules["agent"] = sys.modules[__name__]
        asyncio.run(serve(arguments[0], int(arguments[1])))


if __name__ == "__main__":
    main(sys.argv[1:])
