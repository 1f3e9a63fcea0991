"""A fork server and its children, seen from comet.

Two programs speak the same protocol (native/src/sandbox/zygote.c): `ct-zygote`, whose children execute `Plan.argv`,
and an interpreter that has called `ct_fork.serve`, whose children return into it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import anyio
from anyio.abc import Process, TaskStatus

from constellation.base.errors import ConstellationError
from constellation.base.lifecycle import end
from constellation.native import _core, libexec_path
from constellation.native.errors import describe
from constellation.native.mail import Mail
from constellation.native.sandbox import Claim, Furnish, Plan

_lib, _ffi = _core.lib, _core.ffi

_NOTE_BYTES: int = _ffi.sizeof("ct_zygote_note")
_START_S = 20.0  # chosen: an interpreter with its imports on a loaded machine; a healthy start takes 50 ms
_STOP_S = 2.0  # chosen: a fork server ends within a millisecond of its socket
_BATCH = 64  # chosen: notes read before other tasks get their turn
TENANT_NOBODY: int = _lib.CT_TENANT_NOBODY  # whose sandbox nobody's code runs in before it is claimed
TENANT_UNKNOWN: int = _lib.CT_TENANT_UNKNOWN  # somebody's; what it leaves serves nobody
CLEAN_ENV = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}


class SpawnFailed(ConstellationError):
    """The sandbox could not be made; `step` names what failed and `path`, if any, on what."""

    code, http_status, retryable = "spawn_failed", 503, True

    def __init__(self, *, step: str, number: int, path: str) -> None:
        self.reason = describe(number) + (f" ({path})" if path else "")
        super().__init__(f"sandbox: {step}: {self.reason}", extras={"step": step})
        self.step, self.number, self.path = step, number, path


class ZygoteGone(ConstellationError):
    """The fork server is not running (any more); its children are dead."""

    code, http_status, retryable = "zygote_gone", 503, True

    def __init__(self, name: str, *, reason: str) -> None:
        super().__init__(f"fork server {name}: {reason}", retry_after_s=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitStatus:
    """How a process ended: by `signal` when that is not 0, else with `code`."""

    code: int
    signal: int

    def __str__(self) -> str:
        return f"signal {self.signal}" if self.signal else f"exit status {self.code}"


class Spawned:
    """A child whose sandbox is complete. The owner closes it; closing does not end the process."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self.pidfd = pidfd  # -1 once closed
        self.status: ExitStatus | None = None
        self.is_reaped = False  # the kernel has told: every process of its pid namespace ended before it did
        self._exited = asyncio.Event()
        self._is_owned = True  # False: nobody waited for it any more when it came up

    async def wait(self) -> ExitStatus:
        """Return how the process ended, once it has."""
        await self._exited.wait()
        assert self.status is not None
        return self.status

    def kill_nowait(self) -> None:
        """End the process and, since it is the init of its pid namespace, all others in the sandbox."""
        if self.pidfd >= 0 and self.status is None:
            try:
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            except ProcessLookupError:
                return  # it ended by itself; the note of that is on its way

    def close(self) -> None:
        """Give the descriptor back; safe to call again."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1

    def end_nowait(self, status: ExitStatus, *, is_reaped: bool = False) -> None:
        """Note how it ended, for who waits. `is_reaped` is for a fork server that waited for its own child."""
        if self.status is None:
            self.status, self.is_reaped = status, is_reaped
            self._exited.set()


class Zygote:
    """One fork server process. Run it as a service; `spawn` works while `run` does.

    `argv` gets the number of the control descriptor as its last argument. `on_exit(spawned)` is called in the loop,
    without suspending, for each child that ends. An ordinary user's fork server sees the host read-only: its children
    have that user's uid and may have its executable at /proc/self/exe, whose modes they could else change.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        name: str,
        env: Mapping[str, str] | None = None,
        on_exit: Callable[[Spawned], None] | None = None,
    ) -> None:
        self.name = name
        self.pid = 0  # of the fork server, once it is started
        self.gone = anyio.Event()
        self._argv, self._env = list(argv), dict(CLEAN_ENV if env is None else env)
        self._on_exit = on_exit
        self._socket: socket.socket | None = None
        self._sending = anyio.Lock()  # of those who found the socket full
        self._tickets: dict[int, asyncio.Future[Spawned | None]] = {}  # done before the answer: nobody waits for it
        self._last_ticket = 0
        self._living: dict[int, Spawned] = {}

    @property
    def is_idle(self) -> bool:
        """No child lives and none is asked for: ending it ends nothing else."""
        return not self._living and not self._tickets

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Hold the process; started once it takes requests. Returns when the process ends by itself.

        When it ends, for whatever reason, its children are dead and reported as killed.

        Raises:
            ZygoteGone: it did not come up.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        process: Process | None = None
        try:
            with theirs:
                ours.setblocking(False)
                confine = () if os.geteuid() == 0 else (str(libexec_path("ct-zygote")), "--confine")
                process = await anyio.open_process(
                    [*confine, *self._argv, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=None,
                    env=self._env,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            self.pid = process.pid
            await self._greet(ours)
            self._socket = ours
            task_status.started()
            await self._listen(ours)
        finally:
            self._socket = None
            ours.close()
            self._bury_nowait()
            if process is not None:
                await end(process, within_s=_STOP_S)

    async def spawn(
        self,
        plan: Plan,
        *,
        channel_fd: int,
        stdio_fd: int,
        mail: Mail | None = None,
        timeout_s: float,
        tenant: int = TENANT_UNKNOWN,
    ) -> Spawned:
        """Make a sandbox; on return its isolation is complete and its program runs.

        Inside, descriptor 3 is `channel_fd`, 1 and 2 are `stdio_fd`, 0 is /dev/null, 4 the bell of `mail`, whose page is
        mapped in what is forked and not executed, and there are no others. The caller's own descriptors stay the
        caller's to close. Its network namespace may be one that a sandbox of the same
        `tenant` has left, and will be left to the next.

        Raises:
            SpawnFailed: a step failed, or the time ran out.
            ZygoteGone: the fork server ended.

        If cancelled, a child that comes up later is killed.
        """
        fds = (channel_fd, stdio_fd) if mail is None else (channel_fd, stdio_fd, mail.page_fd, mail.bell_fd)
        spawned = await self._request(plan.encode(), *fds, timeout_s=timeout_s, tenant=tenant)
        assert spawned is not None
        return spawned

    async def claim(self, spawned: Spawned, claim: Claim, *, timeout_s: float, tenant: int = TENANT_UNKNOWN) -> None:
        """Make a sandbox of this fork server that waits, and has run nobody's code yet, one function's.

        Its plan has an empty directory /code. After a failure, or a cancellation, the sandbox must be ended.

        Raises:
            SpawnFailed: a step failed, the sandbox has ended, or the time ran out.
            ZygoteGone: the fork server ended.
        """
        await self._request(claim.encode(spawned.pid), timeout_s=timeout_s, tenant=tenant)

    async def furnish(self, pidfd: int, furnish: Furnish, *, timeout_s: float) -> None:
        """Make what a nursery's child may not make itself. Whose pidfd it is, the caller has made sure of.

        Raises:
            SpawnFailed: a step failed, the child has ended, or the time ran out.
            ZygoteGone: the fork server ended.
        """
        await self._request(furnish.encode(), pidfd, timeout_s=timeout_s)

    async def _request(
        self, message: bytes, *fds: int, timeout_s: float, tenant: int = TENANT_UNKNOWN
    ) -> Spawned | None:
        if self._socket is None:
            raise ZygoteGone(self.name, reason="it is not running")
        number = self._last_ticket = (self._last_ticket + 1) & 0xFFFFFFFF
        message = _head(number, tenant) + message
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Spawned | None] = loop.create_future()
        if not self._try_send(number, answer, message, fds):
            await self._send(number, answer, message, fds, timeout_s=timeout_s)
        timer = loop.call_later(timeout_s, _overdue, answer)
        try:
            return await answer
        except BaseException:
            if answer.done() and not answer.cancelled() and answer.exception() is None:  # in the same turn
                self._abandon_nowait(answer.result())
            raise
        finally:
            timer.cancel()

    def stop_nowait(self) -> None:
        """End the fork server and all its children; `run` then returns."""
        if self._socket is not None:
            self._socket.shutdown(socket.SHUT_RDWR)

    async def _greet(self, ours: socket.socket) -> None:
        note = None
        with anyio.move_on_after(_START_S):
            await anyio.wait_readable(ours)
            note = _read_note(ours)
        if note is None:
            raise ZygoteGone(self.name, reason="it did not come up")
        if note.status < 0:
            raise ZygoteGone(self.name, reason=describe(note.status))

    def _try_send(
        self, number: int, answer: asyncio.Future[Spawned | None], message: bytes, fds: Sequence[int]
    ) -> bool:
        """Send a request; False when the socket is full."""
        if self._socket is None:
            raise ZygoteGone(self.name, reason="it ended")
        try:
            socket.send_fds(self._socket, [message], fds)
        except BlockingIOError:
            return False
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ZygoteGone(self.name, reason="it ended") from error
        self._tickets[number] = answer
        return True

    async def _send(
        self,
        number: int,
        answer: asyncio.Future[Spawned | None],
        message: bytes,
        fds: Sequence[int],
        *,
        timeout_s: float,
    ) -> None:
        try:
            with anyio.fail_after(timeout_s):
                async with self._sending:
                    while not self._try_send(number, answer, message, fds):
                        assert self._socket is not None
                        await anyio.wait_writable(self._socket)
        except TimeoutError as error:
            raise SpawnFailed(step="wait", number=_lib.CT_E_TIMEOUT, path="") from error

    @staticmethod
    def _abandon_nowait(spawned: Spawned | None) -> None:
        """End a child that nobody waits for any more."""
        if spawned is not None:
            spawned._is_owned = False  # noqa: SLF001 - one module, two classes
            spawned.kill_nowait()
            spawned.close()

    async def _listen(self, ours: socket.socket) -> None:
        """Act on notes until the fork server has ended."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        loop.add_reader(ours.fileno(), self._hear, ours, ended)
        try:
            await ended
        finally:
            loop.remove_reader(ours.fileno())

    def _hear(self, ours: socket.socket, ended: asyncio.Future[None]) -> None:
        try:
            if not self._receive(ours) and not ended.done():
                ended.set_result(None)
        except (LookupError, OSError) as error:  # what the fork server said makes no sense: `run` fails of it
            if not ended.done():
                ended.set_exception(error)

    def _receive(self, ours: socket.socket) -> bool:
        """Act on at most a batch of notes; False when the fork server has ended."""
        for _ in range(_BATCH):
            try:
                note = _read_note(ours)
            except BlockingIOError:
                return True
            except ConnectionResetError:
                return False
            if note is None:
                return False
            if note.kind == _lib.CT_NOTE_EXITED:
                self._end_nowait(note)
            elif note.kind in (_lib.CT_NOTE_SPAWNED, _lib.CT_NOTE_CLAIMED):
                self._answer_nowait(note)
        return True

    def _answer_nowait(self, note: _Note) -> None:
        answer, spawned = self._tickets.pop(note.ticket), None
        if note.status >= 0 and note.kind == _lib.CT_NOTE_SPAWNED:
            spawned = self._living[note.pid] = Spawned(note.pid, note.pidfd)
        if answer.done():
            self._abandon_nowait(spawned)
        elif note.status < 0:
            answer.set_exception(SpawnFailed(step=note.step, number=note.status, path=note.path))
        else:
            answer.set_result(spawned)

    def _end_nowait(self, note: _Note) -> None:
        spawned = self._living.pop(note.pid)
        self._report_nowait(spawned, ExitStatus(code=note.exit_code, signal=note.signal), is_reaped=True)

    def _report_nowait(self, spawned: Spawned, status: ExitStatus, *, is_reaped: bool) -> None:
        spawned.end_nowait(status, is_reaped=is_reaped)
        if self._on_exit is not None and spawned._is_owned:  # noqa: SLF001 - one module, two classes
            self._on_exit(spawned)

    def _bury_nowait(self) -> None:
        self.gone.set()
        for answer in self._tickets.values():
            if not answer.done():
                answer.set_exception(ZygoteGone(self.name, reason="it ended"))
        self._tickets.clear()
        for spawned in list(self._living.values()):
            spawned.kill_nowait()
            self._report_nowait(spawned, ExitStatus(code=0, signal=signal.SIGKILL), is_reaped=False)
        self._living.clear()


def _overdue(answer: asyncio.Future[Spawned | None]) -> None:
    if not answer.done():
        answer.set_exception(SpawnFailed(step="wait", number=_lib.CT_E_TIMEOUT, path=""))


class _Note(NamedTuple):
    """A ct_zygote_note; `pidfd` is -1 where none came with it."""

    kind: int
    ticket: int
    pid: int
    status: int
    step: str
    exit_code: int
    signal: int
    path: str
    pidfd: int


def _head(number: int, tenant: int) -> bytes:
    """Return a ct_request_head."""
    return number.to_bytes(4, sys.byteorder) + tenant.to_bytes(4, sys.byteorder)


def _read_note(ours: socket.socket) -> _Note | None:
    """Return the next note, or None at the end of the stream. A descriptor that came along is the note's."""
    data, fds, _flags, _address = socket.recv_fds(ours, _NOTE_BYTES, 1)
    for fd in fds:  # recv_fds leaves its flags unread (CPython 3.11), and programs that we execute shall not have it
        os.set_inheritable(fd, False)
    if len(data) != _NOTE_BYTES:
        for fd in fds:
            os.close(fd)
        return None
    raw = _ffi.from_buffer("ct_zygote_note *", data)
    return _Note(
        kind=raw.kind,
        ticket=raw.ticket,
        pid=raw.pid,
        status=raw.status,
        step=_ffi.string(_lib.ct_step_name(raw.step)).decode() if raw.status < 0 else "",
        exit_code=raw.exit_code,
        signal=raw.signal,
        path=os.fsdecode(_ffi.string(raw.path)) if raw.status < 0 else "",
        pidfd=fds[0] if fds else -1,
    )
