"""The agent's part that runs programs, and lists and signals those that run."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import resource
import select
import signal
import struct
import subprocess
import termios
import time
from contextlib import suppress

from agent import CONTROL, DATA, END, ERROR, FRAME_BYTES, HEAD, Refused, Wire

LOOK_S = 1.0  # between looks at whether somebody is there at all, while a program does not read

LEFT_BYTES = 2 << 20  # chosen: twice the largest pipe; what is still in one when its program has ended
LISTED = 2000
COMMAND_BYTES = 4096
SPARE_PROCESSES = 8  # of the limit: for the agent, when a program inside has used up the rest
TICKS = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Processes:
    """As pid 1, the parent of all that lose theirs."""

    def __init__(self, home: str, most: int) -> None:
        self.home, self.most = home, max(1, most - SPARE_PROCESSES)
        self.running: dict[int, asyncio.Future[int]] = {}

    def reap(self) -> None:
        """Collect whoever has ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            ended = self.running.pop(pid, None)
            if ended is not None and not ended.done():
                ended.set_result(os.waitstatus_to_exitcode(status))

    async def execute(self, wire: Wire, request: dict[str, object]) -> None:
        run = Run(self, request)
        try:
            run.start()
            await wire.say(HEAD, pid=run.pid)
            if not run.is_background:
                await run.follow(wire)
        finally:
            run.close()

    def prepare(self, *, has_terminal: bool) -> None:
        """In the child, before its program."""
        resource.setrlimit(resource.RLIMIT_NPROC, (self.most, self.most))
        if has_terminal:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def list(self) -> list[dict[str, object]]:
        found = []
        for name in sorted(filter(str.isdigit, os.listdir("/proc")), key=int):
            with suppress(OSError, ValueError, IndexError):
                found.append(facts(int(name)))
            if len(found) == LISTED:
                break
        return found

    def signal(self, pid: int, number: int) -> None:
        if pid <= 1:
            raise Refused("invalid", "this process is not one of the sandbox's programs")
        os.kill(pid, number)


class Run:
    """One program and the way to it."""

    def __init__(self, owner: Processes, request: dict[str, object]) -> None:
        self.owner, self.request = owner, request
        self.is_background = bool(request.get("background"))
        self.has_terminal = bool(request.get("pty"))
        self.pid = 0
        self.exit: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.fds: list[int] = []  # ours, to close
        self.input = self.output = self.error = -1

    def start(self) -> None:
        request, theirs = self.request, list[int]()
        argv, env = request["argv"], request["env"]
        if not isinstance(argv, list) or not argv or not isinstance(env, dict):
            raise Refused("invalid", "argv must be a list, env an object")
        cwd = os.path.join(self.owner.home, str(request.get("cwd") or ""))
        try:
            streams = self._streams(theirs)
            program = subprocess.Popen(
                [str(each) for each in argv],
                stdin=streams[0],
                stdout=streams[1],
                stderr=streams[2],
                cwd=cwd,
                env={str(name): str(value) for name, value in env.items()},
                start_new_session=True,
                preexec_fn=lambda: self.owner.prepare(has_terminal=self.has_terminal),
            )
        except subprocess.SubprocessError as error:
            raise Refused("EAGAIN", f"the program was not started: {error}") from error
        finally:
            for fd in theirs:
                os.close(fd)
        self.pid = program.pid
        program.returncode = 0  # we wait for it, nobody else
        self.owner.running[self.pid] = self.exit

    def _streams(self, theirs: list[int]) -> tuple[int, int, int]:
        if self.is_background:
            return subprocess.DEVNULL, subprocess.DEVNULL, subprocess.DEVNULL
        if self.has_terminal:
            master, slave = os.openpty()
            theirs.append(slave)
            self.fds.append(master)
            os.set_blocking(master, False)
            self.input = self.output = master
            self.resize(self.request.get("size"))
            return slave, slave, slave
        pairs = [os.pipe() for _ in range(3)]
        inside, self.input = pairs[0]
        self.output, out = pairs[1]
        self.error, err = pairs[2]
        theirs.extend((inside, out, err))
        self.fds.extend((self.input, self.output, self.error))
        for fd in self.fds:
            os.set_blocking(fd, False)
        return inside, out, err

    def resize(self, size: object) -> None:
        if isinstance(size, list) and len(size) == 2:
            rows, columns = (min(max(int(each), 1), 10_000) for each in size)
            fcntl.ioctl(self.input, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    async def follow(self, wire: Wire) -> None:
        """Pass its input and output until it ends; a hang-up, or its time, ends it."""
        timeout = self.request.get("timeout_s")
        reader = asyncio.ensure_future(self._hear(wire))
        pumps = [asyncio.ensure_future(self._pump(wire, self.output, DATA))]
        if self.error >= 0:
            pumps.append(asyncio.ensure_future(self._pump(wire, self.error, ERROR)))
        is_late = False
        try:
            await asyncio.wait((self.exit, reader), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)  # type: ignore[arg-type]
            is_late = not self.exit.done() and not reader.done()
            if not self.exit.done():
                self.end()
                await asyncio.wait((self.exit,), timeout=5.0)
            if reader.done():  # the other side is gone, or does not speak our language
                return
            await asyncio.gather(*pumps)
            code = self.exit.result() if self.exit.done() else -signal.SIGKILL
            await wire.say(
                CONTROL, exit_code=code if code >= 0 else 128 - code, signal=-min(code, 0), timed_out=is_late
            )
        finally:
            for each in (reader, *pumps):
                each.cancel()

    def end(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    async def _pump(self, wire: Wire, fd: int, kind: int) -> None:
        """Pass on what it writes. What others still hold open when it has ended is theirs."""
        left = LEFT_BYTES
        while left > 0:
            try:
                data = os.read(fd, FRAME_BYTES)
            except BlockingIOError:
                if self.exit.done():
                    return
                await self._until(fd, is_write=False)
                continue
            except OSError:  # a terminal whose last program has ended
                return
            if not data:
                return
            await wire.send(kind, data)
            if self.exit.done():
                left -= len(data)

    async def _until(self, fd: int, *, is_write: bool, at_most_s: float | None = None) -> None:
        """Wait until the descriptor is ready, the program has ended, or the time is over."""
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        (loop.add_writer if is_write else loop.add_reader)(fd, lambda: ready.done() or ready.set_result(None))
        try:
            await asyncio.wait((ready, self.exit), timeout=at_most_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            (loop.remove_writer if is_write else loop.remove_reader)(fd)

    async def _hear(self, wire: Wire) -> None:
        """Act on what comes, until the other side hangs up."""
        while True:
            kind, body = await wire.receive()
            if kind == DATA:
                await self._feed(wire, body)
            elif kind == END:
                await self._feed(wire, b"\x04") if self.has_terminal else self._close_input()
            elif kind == CONTROL:
                order = json.loads(body)
                if "size" in order and self.has_terminal:
                    self.resize(order["size"])
                if "signal" in order:
                    with suppress(ProcessLookupError):
                        os.killpg(self.pid, int(order["signal"]))

    async def _feed(self, wire: Wire, data: bytes) -> None:
        view = memoryview(data)
        while view and self.input >= 0 and not self.exit.done():
            try:
                view = view[os.write(self.input, view) :]
            except BlockingIOError:
                await self._until(self.input, is_write=True, at_most_s=LOOK_S)
                if is_hung_up(wire):  # what it has sent before hides that from who reads
                    raise ConnectionError from None
            except OSError:  # it has closed its input
                self._close_input()

    def _close_input(self) -> None:
        if self.input >= 0 and self.input != self.output:
            self.fds.remove(self.input)
            os.close(self.input)
        self.input = -1

    def close(self) -> None:
        """Leave nothing open; a program that was followed and has not ended is ended."""
        if self.pid and not self.is_background and not self.exit.done():
            self.end()
        for fd in self.fds:
            os.close(fd)
        self.fds.clear()


def is_hung_up(wire: Wire) -> bool:
    connection = select.poll()
    connection.register(wire.writer.get_extra_info("socket").fileno(), 0)
    return bool(connection.poll(0))


def facts(pid: int) -> dict[str, object]:
    with open(f"/proc/{pid}/stat", "rb") as file:
        name, _, rest = file.read().partition(b"(")[2].rpartition(b")")
    fields = rest.split()
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        command = file.read(COMMAND_BYTES).rstrip(b"\0").replace(b"\0", b" ")
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / TICKS
    return {
        "pid": pid,
        "parent": int(fields[1]),
        "state": fields[0].decode(),
        "command": (command or name).decode("utf-8", "replace"),
        "memory_bytes": int(fields[21]) * PAGE_BYTES,
        "cpu_s": (int(fields[11]) + int(fields[12])) / TICKS,
        "age_s": round(max(0.0, age_s), 3),
    }
