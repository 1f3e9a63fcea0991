"""One nursery, seen from the host: the sandbox that imports, and the children that it forks."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import anyio
import anyio.abc

from constellation.comet.backend.contract import SandboxStartFailed
from constellation.comet.namespace.sandboxes import Sandbox
from constellation.comet.namespace.slots import Limits, Slot
from constellation.comet.runtimes.registry import Installed
from constellation.comet.strangers import GuestPipe, discard, permit_descriptors, received, refuse_descriptors
from constellation.native.mail import Mail
from constellation.native.sandbox import Furnish
from constellation.native.zygote import ExitStatus, Spawned, Zygote

# comet/runtimes/python/worker_nursery.py has the other end of these
_WORD = struct.Struct("!B3xIii240s")
_READY, _BRANCHED, _EXITED = 1, 2, 3
_TICKET = struct.Struct("!I")
_HEADER = struct.Struct(">IBBHI")
_NURSE = 64
_MAX_HELLO_BYTES = 4096

_BABBLE = "it does not speak as agreed"
_IMPORT_S = 60.0  # chosen: what is slower to import than this gains nobody anything by being forked
_EXIT_WORD_S = 0.1  # chosen: a nursery tells how a child ended within a millisecond of the end, or never will
_LEVELS = 3  # pid namespaces that a child is in: the host's, the nursery's, its own
_POWERS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
_FILTERS = 4  # two of the nursery's, two of an instance's on top


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """What a nursery holds, for whom. What differs in any of it is forked from another one."""

    tenant: str
    function_id: UUID
    installed: Installed
    code_dir: Path  # of one version
    layers_dir: Path | None  # named by what it holds
    inodes: tuple[tuple[int, int], ...]  # of both: what was removed and made anew under its name is not the same
    modules: tuple[str, ...]
    limits: Limits
    tmp_mb: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Word:
    kind: int
    ticket: int = 0
    code: int = 0
    number: int = 0  # of the signal
    text: str = ""
    fds: list[int] = field(default_factory=list)

    def refuse_fds(self) -> None:
        """Close what nobody waits for; a child of a request that was given up ends."""
        for fd in self.fds:
            with suppress(OSError):
                signal.pidfd_send_signal(fd, signal.SIGKILL)
        if self.fds:
            discard(self.fds)
            self.fds.clear()


@dataclass(slots=True, eq=False)
class _Child:
    spawned: Spawned
    told: anyio.Event
    status: ExitStatus  # what the nursery says; unless it does, a signal


class Nursery:
    """`start`, then `serve`, during which `branch` works."""

    def __init__(
        self, stock: Stock, *, furnisher: Callable[[], Awaitable[Zygote]], on_exit: Callable[[Spawned], None]
    ) -> None:
        self.stock = stock
        self.is_ready = False
        self.own_bytes = self.spare_bytes = 0  # proportional; of the nursery, and of each spare
        self.spares: deque[Sandbox] = deque()  # children that are ready and have served nobody
        self.is_refilling = False
        self.used_at_s = anyio.current_time()
        self._furnisher, self._on_exit = furnisher, on_exit
        self._sandbox: Sandbox | None = None
        self._is_ended = False
        self._asking = anyio.Lock()
        self._askers = 0
        self._last_ticket = 0
        self._answers: dict[int, anyio.Event] = {}  # of the requests that somebody waits for
        self._answered: dict[int, tuple[int, str]] = {}  # ticket -> pidfd or -1, and why
        self._children: dict[int, _Child] = {}
        self._tasks: anyio.abc.TaskGroup | None = None

    @property
    def is_idle(self) -> bool:
        """No instance of it lives and none is asked for: ending it ends nothing else."""
        return self.is_ready and len(self._children) <= len(self.spares) and not self._askers

    @property
    def is_ended(self) -> bool:
        """Somebody wanted its end."""
        return self._is_ended

    @property
    def cost_bytes(self) -> int:
        return self.own_bytes + len(self.spares) * self.spare_bytes

    @property
    def pid(self) -> int:
        """The first process of its sandbox, as the host numbers it."""
        return self._sandbox.spawned.pid if self._sandbox is not None else 0

    async def start(self, sandbox: Sandbox) -> None:
        """Have the modules imported. The sandbox stays the caller's to destroy.

        Raises:
            SandboxStartFailed: an import failed, hung, ended the process or started threads.
        """
        self._sandbox = sandbox
        permit_descriptors(sandbox.channel)  # it sends those of its children
        if self._is_ended:
            raise SandboxStartFailed(step="nursery", reason="ended")
        try:
            with anyio.fail_after(_IMPORT_S):
                await self._hello(sandbox.channel)
                order = json.dumps(
                    {"modules": self.stock.modules, "code_dir": "/code", "has_layers": bool(self.stock.layers_dir)}
                ).encode()
                sandbox.channel.send(_HEADER.pack(len(order), _NURSE, 0, 0, 0) + order)
                word = _Word(kind=0)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._drain, sandbox.stdio_fd)
                    word = await self._word(sandbox.channel)
                    tasks.cancel_scope.cancel()
        except TimeoutError as error:
            raise SandboxStartFailed(step="nursery", reason=f"imports took over {_IMPORT_S:g} s") from error
        word.refuse_fds()
        if word.kind != _READY or word.code != 0:
            raise SandboxStartFailed(step="nursery", reason=word.text or _BABBLE)

    async def serve(self) -> None:
        """Take its words until it ends.

        Raises:
            SandboxStartFailed: it ended by itself, or does not speak as agreed.
        """
        sandbox = self._sandbox
        assert sandbox is not None
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            tasks.start_soon(self._drain, sandbox.stdio_fd)
            word = _Word(kind=_READY)
            while word.kind and not self._is_ended:
                word = await self._word(sandbox.channel)
                self._take(word)
            self._tasks = None
            tasks.cancel_scope.cancel()
        if not self._is_ended:
            raise SandboxStartFailed(step="nursery", reason=word.text)

    async def branch(self, slot: Slot, furnish: Furnish, *, timeout_s: float) -> Sandbox:
        """Fork a child into the slot's control group, furnished, its worker waiting for `init`.

        Raises:
            SandboxStartFailed, SpawnFailed, ZygoteGone

        The slot stays the caller's when this fails; what was forked is dead then, but may still be in its group.
        """
        self._askers += 1
        try:
            with anyio.fail_after(timeout_s):
                return await self._branch(slot, furnish, timeout_s)
        except TimeoutError as error:
            raise SandboxStartFailed(step="nursery", reason=f"no child within {timeout_s:g} s") from error
        finally:
            self._askers -= 1

    def end_nowait(self) -> None:
        """End it and all its children; `serve` then returns."""
        self._is_ended = True
        if self._sandbox is not None:
            self._sandbox.spawned.kill_nowait()

    def bury_nowait(self) -> None:
        """Report the end of every child: they ended with it."""
        for child in list(self._children.values()):
            child.spawned.kill_nowait()
            self._report(child, ExitStatus(code=0, signal=signal.SIGKILL))
        self._children.clear()
        for answer in self._answers.values():
            answer.set()

    async def _branch(self, slot: Slot, furnish: Furnish, timeout_s: float) -> Sandbox:
        mail = Mail()
        ours, theirs = socket.socketpair()
        refuse_descriptors(ours)
        out_fd, in_fd = os.pipe2(os.O_CLOEXEC)
        pidfd, spawned = -1, None
        try:
            try:
                ticket, pidfd = await self._ask(slot, theirs.fileno(), in_fd, mail)
            finally:
                theirs.close()
                discard([in_fd])
            spawned = Spawned(_pid_of(pidfd, uid=self._uid), pidfd)
            furnisher = await self._furnisher()
            await furnisher.furnish(pidfd, furnish, timeout_s=timeout_s)
            ours.send(b"g")
            ours.setblocking(False)
            os.set_blocking(out_fd, False)
            sandbox = Sandbox(slot=slot, zygote=furnisher, spawned=spawned, channel=ours, stdio_fd=out_fd, mail=mail)
            await sandbox.greeted()
            _seal(mail)
            _check_powerless(spawned.pid, _groups_of(slot))
            self._adopt(ticket, spawned)
        except BaseException:
            mail.close()
            ours.close()
            discard([out_fd])
            if spawned is not None:
                spawned.kill_nowait()
            if pidfd >= 0:
                discard([pidfd])
            raise
        return sandbox

    @property
    def _uid(self) -> int:
        assert self._sandbox is not None
        return self._sandbox.slot.uid

    async def _ask(self, slot: Slot, channel_fd: int, stdio_fd: int, mail: Mail) -> tuple[int, int]:
        """Return the ticket and the pidfd that came for it, which is the caller's."""
        groups = [os.open(path, os.O_WRONLY | os.O_CLOEXEC) for path in _groups_of(slot)]
        try:
            async with self._asking:
                if not self.is_ready or self._sandbox is None:
                    raise SandboxStartFailed(step="nursery", reason="it has ended")
                self._last_ticket += 1
                ticket, answer = self._last_ticket, anyio.Event()
                self._answers[ticket] = answer
                try:
                    fds = [channel_fd, stdio_fd, mail.page_fd, mail.bell_fd, *groups]
                    socket.send_fds(self._sandbox.channel, [_TICKET.pack(ticket)], fds)
                    await answer.wait()
                except BaseException:
                    given_up, _ = self._answered.pop(ticket, (-1, ""))
                    _Word(kind=_BRANCHED, fds=[given_up] if given_up >= 0 else []).refuse_fds()
                    raise
                finally:
                    del self._answers[ticket]
        finally:
            for fd in groups:
                os.close(fd)
        pidfd, reason = self._answered.pop(ticket, (-1, "it has ended"))
        if pidfd < 0:
            raise SandboxStartFailed(step="nursery", reason=reason)
        return ticket, pidfd

    def _adopt(self, ticket: int, spawned: Spawned) -> None:
        if self._tasks is None:
            raise SandboxStartFailed(step="nursery", reason="it has ended")
        status = ExitStatus(code=0, signal=signal.SIGKILL)
        child = self._children[ticket] = _Child(spawned, anyio.Event(), status)
        self._tasks.start_soon(self._watch, ticket, child, os.dup(spawned.pidfd))

    async def _watch(self, ticket: int, child: _Child, pidfd: int) -> None:
        """Wait for the end of a child, which is the kernel's to tell; only how it ended may the nursery."""
        try:
            await anyio.wait_readable(pidfd)
        finally:
            os.close(pidfd)
        with anyio.move_on_after(_EXIT_WORD_S):
            await child.told.wait()
        if self._children.pop(ticket, None) is not None:
            self._report(child, child.status)

    def _report(self, child: _Child, status: ExitStatus) -> None:
        self.used_at_s = anyio.current_time()
        child.spawned.end_nowait(status)
        self._on_exit(child.spawned)

    def _take(self, word: _Word) -> None:
        ticket = word.ticket
        if word.kind == _BRANCHED and ticket in self._answers and ticket not in self._answered:
            pidfd = word.fds.pop() if word.code == 0 and word.fds else -1
            self._answered[ticket] = (pidfd, word.text or "it gave no child")
            self._answers[ticket].set()
        elif word.kind == _EXITED and ticket in self._children:
            child = self._children[ticket]
            child.status = ExitStatus(code=word.code & 0xFF, signal=word.number & 0x7F)
            child.told.set()
        word.refuse_fds()

    @staticmethod
    async def _word(channel: socket.socket) -> _Word:
        """Return its next word; one of kind 0, with the reason, when there will be none."""
        await anyio.wait_readable(channel)
        try:
            data, fds = received(channel, _WORD.size)
        except ConnectionResetError:
            data, fds = b"", []
        if len(data) != _WORD.size:
            word = _Word(kind=0, text=_BABBLE if data else "it ended", fds=fds)
            word.refuse_fds()
            return word
        kind, ticket, code, number, text = _WORD.unpack(data)
        said = text.rstrip(b"\0").decode("utf-8", "replace")
        return _Word(kind=kind, ticket=ticket, code=code, number=number, text=said, fds=fds)

    @staticmethod
    async def _hello(channel: socket.socket) -> None:
        """Take the worker's first frame; until it knows what it is for, it is the platform's own code that speaks."""
        wanted = _HEADER.size
        while wanted:
            await anyio.wait_readable(channel)
            said = channel.recv(_MAX_HELLO_BYTES, socket.MSG_PEEK)
            if len(said) < _HEADER.size:
                raise SandboxStartFailed(step="nursery", reason="it ended")
            wanted = _HEADER.size + _HEADER.unpack_from(said)[0]
            if len(said) >= wanted:
                channel.recv(wanted)
                wanted = 0

    @staticmethod
    async def _drain(fd: int) -> None:
        """Let what imports print go by: nobody's call prints it, and a full pipe would hold them up."""
        pipe = GuestPipe(fd)
        try:
            while await pipe.read(1 << 16):
                pass
        finally:
            pipe.close_nowait()


def _groups_of(slot: Slot) -> list[str]:
    """Return the files that move whoever writes 0 to them into the slot's control groups."""
    leaf = slot.leaf
    assert leaf is not None
    unified = [f"{leaf.cgroup_dir}/cgroup.procs"] if leaf.cgroup_dir else []
    return [*unified, *leaf.task_files]


def _facts(path: str) -> dict[str, list[str]]:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError as error:
        raise SandboxStartFailed(step="nursery", reason="its child has ended") from error
    return {name: value.split() for name, _, value in (line.partition(":") for line in lines)}


def _pid_of(pidfd: int, *, uid: int) -> int:
    """Return whose pidfd that is; it must be the first process of a namespace below this nursery's own."""
    try:
        signal.pidfd_send_signal(pidfd, 0)  # of another file to look at its facts could have us wait for it
    except OSError as error:
        raise SandboxStartFailed(step="nursery", reason="it gave no process") from error
    pid = int(_facts(f"/proc/self/fdinfo/{pidfd}").get("Pid", ["-1"])[0])
    facts = _facts(f"/proc/{pid}/status") if pid > 0 else {}
    is_child = facts.get("Uid") == [str(uid)] * 4
    if not is_child or len(facts["NSpid"]) != _LEVELS or facts["NSpid"][-1] != "1":
        raise SandboxStartFailed(step="nursery", reason="it gave a process that is no child of its")
    return pid


def _seal(mail: Mail) -> None:
    """Fix the page of a child, which had it from its nursery, and so from somebody's code."""
    try:
        mail.seal()
    except OSError as error:
        raise SandboxStartFailed(step="nursery", reason=f"it has spoilt the page of its child: {error}") from error


def _check_powerless(pid: int, groups: list[str]) -> None:
    """Make sure that it gave up what the nursery could do more than an instance, and is counted where it should be."""
    facts = _facts(f"/proc/{pid}/status")
    is_powerless = all(int(facts[name][0], 16) == 0 for name in _POWERS)
    is_filtered = int(facts.get("Seccomp_filters", [str(_FILTERS)])[0]) >= _FILTERS
    if not is_powerless or not is_filtered:
        raise SandboxStartFailed(step="nursery", reason="its child kept powers")
    if any(str(pid) not in Path(path).read_text().split() for path in groups):
        raise SandboxStartFailed(step="nursery", reason="its child is not in its control group")
