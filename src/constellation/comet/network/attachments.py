"""Comet's end of its network helper: started with the first sandbox that needs it, and again when it has died."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import anyio
import structlog
from anyio.abc import TaskGroup, TaskStatus

from constellation.base.errors import ConstellationError
from constellation.base.lifecycle import end
from constellation.comet.namespace.leftovers import process_start
from constellation.comet.network import wire
from constellation.comet.network.forwarding import RECORD, shut_host
from constellation.comet.network.places import Names
from constellation.native.zygote import CLEAN_ENV
from constellation.nova.domain.network import NetworkPolicy

_log = structlog.get_logger()
_START_S = 20.0  # chosen: an interpreter with its imports on a loaded machine; a healthy start takes half a second
_STOP_S = 5.0
_ANSWER_S = 10.0  # chosen: what takes milliseconds; beyond that the kernel hangs, or the helper does


class NetworkUnavailable(ConstellationError):
    """A sandbox could not be given its network, or it is lost."""

    code, http_status, retryable = "network_unavailable", 503, True

    def __init__(self, reason: str) -> None:
        super().__init__(f"network: {reason}", retry_after_s=1)
        self.reason = reason


class Attachment:
    """One sandbox's wire: first nothing passes; after `permit`, what its policy says; after `detach` it is gone."""

    def __init__(self, helper: _Helper, number: int) -> None:
        self._helper, self._number = helper, number

    async def permit(self, policy: NetworkPolicy) -> None:
        """Raises `NetworkUnavailable`."""
        await self._helper.ask(lambda ticket: wire.Permit(ticket=ticket, number=self._number, policy=policy))

    async def detach(self) -> None:
        """Take the wire back; safe to call again. Once the helper has ended, there is none any more."""
        try:
            await self._helper.ask(lambda ticket: wire.Detach(ticket=ticket, number=self._number))
        except NetworkUnavailable as error:
            if not self._helper.is_gone:
                _log.error("network.not_detached", number=self._number, reason=error.reason)


class Network:
    """What gives sandboxes their wires. `attach` works while its task group does."""

    def __init__(self, tasks: TaskGroup, *, run_dir: Path, resolv_conf: Path, on_lost: Callable[[], None]) -> None:
        self._tasks, self._run_dir, self._resolv_conf, self._on_lost = tasks, run_dir, resolv_conf, on_lost
        self._helper: _Helper | None = None
        self._starting = anyio.Lock()

    async def attach(self, pidfd: int) -> Attachment:
        """Give the network namespace of a process, which has a loopback device alone, a wire.

        Raises:
            NetworkUnavailable
        """
        helper = await self._running()
        number = await helper.ask(lambda ticket: wire.Attach(ticket=ticket), pidfd)
        return Attachment(helper, number)

    def start_nowait(self) -> None:
        """Have the helper started, since sandboxes will need it."""
        if not self.pid and not self._starting.locked():
            self._tasks.start_soon(self._start)

    async def _start(self) -> None:
        try:
            await self._running()
        except NetworkUnavailable as error:  # the first instance tries again, and its caller hears of it
            _log.warning("network.not_started", reason=error.reason)

    @property
    def pid(self) -> int:
        """Of the helper; 0 while there is none."""
        return self._helper.pid if self._helper is not None and not self._helper.is_gone else 0

    def stop_nowait(self) -> None:
        if self._helper is not None:
            self._helper.hang_up()

    async def _running(self) -> _Helper:
        async with self._starting:
            if self._helper is None or self._helper.is_gone:
                helper = _Helper(self._run_dir, self._resolv_conf)
                with anyio.CancelScope(shield=True):  # half a start would leave a process that nobody holds
                    await self._tasks.start(self._keep, helper)
                self._helper = helper
            return self._helper

    async def _keep(self, helper: _Helper, *, task_status: TaskStatus[None]) -> None:
        is_started = False

        def started() -> None:
            nonlocal is_started
            is_started = True
            _log.info("network.ready", pid=helper.pid)
            task_status.started()

        try:
            await helper.run(started)
        except NetworkUnavailable as error:
            if not is_started:
                raise
            _log.error("network.failed", reason=error.reason)
        self._on_lost()


class _Helper:
    """One process, from its start to its end."""

    def __init__(self, run_dir: Path, resolv_conf: Path) -> None:
        self.pid = 0
        self.is_gone = False
        self._run_dir, self._resolv_conf = run_dir, resolv_conf
        self._socket: socket.socket | None = None
        self._answers: dict[int, asyncio.Future[int]] = {}
        self._last = 0

    async def run(self, started: Callable[[], None]) -> None:
        """Hold it until it ends.

        Raises:
            NetworkUnavailable: it did not come up, or ended by itself.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        record, process = self._run_dir / "netd.json", None
        try:
            with theirs:
                ours.setblocking(False)
                process = await anyio.open_process(
                    [sys.executable, "-I", "-m", "constellation.comet.network.netd",
                     str(theirs.fileno()), str(self._run_dir), str(self._resolv_conf)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=None,
                    env=dict(CLEAN_ENV),
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )  # fmt: skip
            self.pid = process.pid
            record.write_text(json.dumps({"pid": self.pid, "start": process_start(self.pid)}))
            hello: wire.Answer | None = wire.Answer(ticket=0, error="its helper did not come up in time")
            with anyio.move_on_after(_START_S):
                hello = await self._hear(ours)
            if hello is None or hello.error:
                raise NetworkUnavailable(hello.error if hello is not None else "its helper did not come up")
            self._socket = ours
            started()
            await self._listen(ours)
        finally:
            self.is_gone, self._socket = True, None
            ours.close()
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(NetworkUnavailable("its helper has ended"))
            if process is not None:
                await end(process, within_s=_STOP_S)
            record.unlink(missing_ok=True)
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(_shut, self._run_dir)

    async def ask(self, request: Callable[[int], wire.Request], *fds: int) -> int:
        """Have a request carried out; return the number of the answer.

        Raises:
            NetworkUnavailable: it was refused, took too long, or the helper has ended.
        """
        if self._socket is None:
            raise NetworkUnavailable("its helper has ended")
        self._last += 1
        ticket = self._last
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._answers[ticket] = answer
        try:
            with anyio.fail_after(_ANSWER_S):
                await self._send(wire.encode(request(ticket)), fds)
                number = await answer
        except TimeoutError as error:
            raise NetworkUnavailable("its helper does not answer") from error
        finally:
            del self._answers[ticket]
        return number

    async def _send(self, data: bytes, fds: Sequence[int]) -> None:
        while self._socket is not None:
            try:
                socket.send_fds(self._socket, [data], fds)
            except BlockingIOError:
                await anyio.wait_writable(self._socket)
            except (BrokenPipeError, ConnectionResetError) as error:
                raise NetworkUnavailable("its helper has ended") from error
            else:
                return

    def hang_up(self) -> None:
        """End it; `run` then returns."""
        if self._socket is not None:
            self._socket.shutdown(socket.SHUT_RDWR)

    async def _listen(self, ours: socket.socket) -> None:
        while (said := await self._hear(ours)) is not None:
            answer = self._answers.get(said.ticket)
            if answer is None or answer.done():
                if said.number:  # a wire that nobody waits for any more
                    await self._send(wire.encode(wire.Detach(ticket=0, number=said.number)), ())
            elif said.error:
                answer.set_exception(NetworkUnavailable(said.error))
            else:
                answer.set_result(said.number)

    @staticmethod
    async def _hear(ours: socket.socket) -> wire.Answer | None:
        await anyio.wait_readable(ours)
        try:
            data = ours.recv(wire.MAX_BYTES)
        except ConnectionResetError:
            return None
        return wire.decode_answer(data) if data else None


def _shut(run_dir: Path) -> None:
    """What it would do itself, had it not been killed."""
    shut_host(run_dir / RECORD, uplink=Names.of(run_dir).uplink)
