"""The process that holds sandboxes, so that they outlive comet: it makes, freezes, copies and ends them.

Comet speaks to it over `keeper.sock`, and to each sandbox directly over a socket of its own, which the agent inside
accepts on. It ends by itself when it has had nothing to keep for a while, and with it ends whatever it keeps.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, flock
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec
from anyio.abc import SocketListener, SocketStream, TaskGroup

from constellation.base.errors import ConstellationError
from constellation.base.sockets import reachable
from constellation.base.statedir import make_private, write_private
from constellation.comet.namespace.forkservers import ForkServers
from constellation.comet.namespace.leftovers import process_start, reap
from constellation.comet.namespace.slots import Slot, Slots, until_gone
from constellation.comet.namespace.tenants import Tenants
from constellation.comet.sandboxes.copying import CopyFailed, copy
from constellation.comet.sandboxes.freezer import FreezeFailed, Freezer
from constellation.comet.sandboxes.layout import TMP_MB, WRITABLE, limits_of, plan_of
from constellation.comet.sandboxes.wanted import (
    QUESTION_BYTES,
    SOCKETS,
    Answer,
    Ended,
    Kept,
    Question,
    Wanted,
    encoded,
    socket_of,
)
from constellation.native.cgroups import CgroupSupport, detect
from constellation.native.zygote import Spawned

SOCKET, RECORD = "keeper.sock", "keeper.json"
_SPAWN_S, _DESTROY_S, _FREEZE_S, _COPY_S = 10.0, 5.0, 5.0, 120.0
_QUESTION_S = 5.0
_IDLE_S = 30.0  # chosen: without a sandbox to keep; the next one starts it again
_TOLD = 1024  # ends that nobody has asked about


@dataclass(slots=True, kw_only=True)
class Holding:
    wanted: Wanted
    slot: Slot
    spawned: Spawned
    path: Path
    is_paused: bool = False
    is_removed: bool = False


class Keeper:
    """Usable after `run` has started."""

    def __init__(self, run_dir: Path, *, group: str, uid_base: int, idle_s: float = _IDLE_S) -> None:
        self._run_dir, self._group, self._uid_base, self._idle_s = run_dir, group, uid_base, idle_s
        self._held: dict[str, Holding] = {}
        self._making: set[str] = set()
        self._ended: dict[str, str] = {}
        self._tenants = Tenants()
        self._changed = anyio.Event()
        self._cgroups: CgroupSupport | None = None
        self._tasks: TaskGroup
        self._slots: Slots
        self._servers: ForkServers
        self._freezer: Freezer

    async def run(self) -> None:
        """Serve until there is nothing to do, or the process is told to end."""
        sockets = make_private(self._run_dir / SOCKETS)
        self._cgroups = await anyio.to_thread.run_sync(detect, self._group)
        self._freezer = await anyio.to_thread.run_sync(Freezer.find, self._group)
        await anyio.to_thread.run_sync(self._freezer.clear)
        await anyio.to_thread.run_sync(reap, sockets, self._cgroups)
        self._slots = Slots(uid_base=self._uid_base, cgroups=self._cgroups)
        place = self._run_dir / SOCKET
        place.unlink(missing_ok=True)
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                self._servers = ForkServers(tasks, record_dir=sockets, on_exit=self._exited)
                await self._servers.executor()
                listener = await _listening(place)
                tasks.start_soon(listener.serve, self._serve)
                tasks.start_soon(self._until_told, tasks.cancel_scope)
                await self._until_idle()
                place.unlink(missing_ok=True)  # who asks now starts the next
                await listener.aclose()
                tasks.cancel_scope.cancel()
        finally:
            place.unlink(missing_ok=True)
            with anyio.CancelScope(shield=True):  # each removal is bounded
                async with anyio.create_task_group() as ending:
                    for each in list(self._held):
                        ending.start_soon(self._remove, each)
            self._servers.stop_nowait()
            self._slots.close()
            self._freezer.close()

    async def _until_told(self, scope: anyio.CancelScope) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                scope.cancel()

    async def _until_idle(self) -> None:
        while True:
            changed = self._changed
            with anyio.move_on_after(self._idle_s) as quiet:
                await changed.wait()
            if quiet.cancelled_caught and not self._held and not self._making:
                return

    async def _serve(self, stream: SocketStream) -> None:
        """Answer one question. Whoever can reach the socket is the user whose process this is."""
        async with stream:
            self._changed.set()
            self._changed = anyio.Event()
            try:
                with anyio.fail_after(_QUESTION_S):
                    line = b""
                    while not line.endswith(b"\n"):
                        line += await stream.receive()
                        if len(line) > QUESTION_BYTES:
                            return
                answer = await self._answer(msgspec.json.decode(line, type=Question))
            except (TimeoutError, anyio.EndOfStream, anyio.BrokenResourceError, msgspec.MsgspecError):
                return
            except FreezeFailed:
                answer = Answer(code="freeze", error="its processes did not come to rest")
            except CopyFailed as error:
                answer = Answer(code="copy", error=str(error))
            except ConstellationError as error:
                answer = Answer(code=error.code, error=str(error))
            except OSError as error:
                answer = Answer(code="os", error=str(error))
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                await stream.send(encoded(answer))

    async def _answer(self, question: Question) -> Answer:
        held = self._held.get(question.id)
        match question.op:
            case "list":
                return self._list()
            case "remove":
                await self._remove(question.id)
                self._ended.pop(question.id, None)
                return Answer()
            case "create" if question.wanted is not None and held is None:
                return await self._create(question.wanted)
        if held is None:
            return Answer(code="gone", error="it is not here")
        leaf = held.slot.leaf
        if leaf is None or not self._freezer.can(leaf):
            return Answer(code="freeze", error="this host has no freezer of control groups that could be used")
        match question.op:
            case "pause":
                if not held.is_paused:
                    await anyio.to_thread.run_sync(lambda: self._freezer.freeze(leaf, within_s=_FREEZE_S))
                    held.is_paused = True
            case "resume":
                self._freezer.thaw(leaf)
                held.is_paused = False
            case "copy" if (source := self._held.get(question.source)) is not None:
                await self._copy(source, held)
            case _:
                return Answer(code="gone", error="what it is made of is not here")
        return Answer()

    def _list(self) -> Answer:
        kept = [Kept(id=each.wanted.id, is_paused=each.is_paused) for each in self._held.values()]
        return Answer(kept=kept, ended=[Ended(id=id_, reason=reason) for id_, reason in self._ended.items()])

    async def _create(self, wanted: Wanted) -> Answer:
        if wanted.id in self._making:
            return Answer(code="exists", error="it is being made")
        self._making.add(wanted.id)
        path = socket_of(self._run_dir, wanted.id)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        out_fd, in_fd = os.pipe2(os.O_CLOEXEC)
        os.close(out_fd)  # nobody reads what the agent itself prints
        try:
            with reachable(path) as near:
                listener.bind(near)
            path.chmod(0o600)
            listener.listen(128)
            async with self._slots.taken(limits_of(wanted), within_s=_DESTROY_S) as slot:
                plan = plan_of(
                    wanted,
                    slot,
                    task_files=self._freezer.task_files(slot.leaf),
                    setup_s=_SPAWN_S,
                    has_memory_group=self._has_memory_group,
                )
                zygote = await self._servers.executor()
                spawned = await zygote.spawn(
                    plan,
                    channel_fd=listener.fileno(),
                    stdio_fd=in_fd,
                    timeout_s=_SPAWN_S,
                    tenant=self._tenants.number_of(wanted.tenant),
                )
                self._held[wanted.id] = Holding(wanted=wanted, slot=slot, spawned=spawned, path=path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            self._making.discard(wanted.id)
            listener.close()
            os.close(in_fd)
        return Answer()

    @property
    def _has_memory_group(self) -> bool:
        limits: Mapping[str, str] = self._cgroups.limits if self._cgroups is not None else {}
        return limits.get("memory", "none") != "none"

    async def _copy(self, source: Holding, to: Holding) -> None:
        """Copy what a sandbox can write into one that is new; the source stands still meanwhile."""
        leaf = source.slot.leaf
        assert leaf is not None
        was_paused = source.is_paused
        if not was_paused:
            await anyio.to_thread.run_sync(lambda: self._freezer.freeze(leaf, within_s=_FREEZE_S))
        try:
            pid, pidfd = source.spawned.pid, source.spawned.pidfd
            places = [os.open(f"/proc/{pid}/root{place}", os.O_RDONLY | os.O_DIRECTORY) for place in WRITABLE]
            try:
                if _has_ended(pidfd):  # its number may have been another's when we opened
                    raise CopyFailed("it ended")
                await anyio.to_thread.run_sync(
                    partial(
                        copy,
                        dict(zip(WRITABLE, places, strict=True)),
                        to.path,
                        argv=to.wanted.agent_argv,
                        most_bytes=(source.wanted.disk_mb + TMP_MB) << 20,
                        within_s=_COPY_S,
                    )
                )
            finally:
                for fd in places:
                    os.close(fd)
        finally:
            if not was_paused:
                self._freezer.thaw(leaf)

    async def _remove(self, sandbox_id: str) -> None:
        held = self._held.get(sandbox_id)
        if held is None:
            return
        held.is_removed = True
        if held.slot.leaf is not None:
            self._freezer.thaw(held.slot.leaf)  # what is frozen does not die
        held.spawned.kill_nowait()
        with anyio.move_on_after(_DESTROY_S, shield=True):
            await until_gone(held.spawned, held.slot)
            self._forget(held)

    def _forget(self, held: Holding) -> None:
        """Give back what a sandbox had, of which nothing is left."""
        if self._held.pop(held.wanted.id, None) is not None:
            held.path.unlink(missing_ok=True)
            held.spawned.close()
            self._slots.give_back(held.slot)

    def _exited(self, spawned: Spawned) -> None:
        held = next((each for each in self._held.values() if each.spawned is spawned), None)
        if held is None:
            return
        if not held.is_removed:
            leaf, reason = held.slot.leaf, f"its first process ended ({spawned.status})"
            with suppress(OSError):
                if leaf is not None and leaf.oom_kills() > held.slot.oom_kills:
                    reason = "out of memory"
            self._ended[held.wanted.id] = reason
            while len(self._ended) > _TOLD:
                del self._ended[next(iter(self._ended))]
        if spawned.is_reaped:
            self._forget(held)
        elif (
            not held.is_removed
        ):  # its fork server was killed, and it with that: what is left of it may still be ending
            self._tasks.start_soon(self._remove, held.wanted.id)


async def _listening(place: Path) -> SocketListener:
    return await SocketListener.from_socket(_bound(place))


def _bound(place: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)  # the listener's to close
    with reachable(place) as near:
        made.bind(near)
    place.chmod(0o600)
    made.listen(128)
    made.setblocking(False)
    return made


def _has_ended(pidfd: int) -> bool:
    ended = select.poll()
    ended.register(pidfd, select.POLLIN)
    return bool(ended.poll(0))


async def _run(options: Mapping[str, str]) -> None:
    run_dir = make_private(Path(options["run_dir"]))
    with (run_dir / "keeper.lock").open("w") as lock:
        try:
            flock(lock, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            return  # one is enough
        record = run_dir / RECORD
        told = {"pid": os.getpid(), "born_ticks": int(process_start(os.getpid()))}  # as the supervisor reads it
        write_private(record, json.dumps(told))
        try:
            await Keeper(run_dir, group=options["group"], uid_base=int(options["uid_base"])).run()
        finally:
            record.unlink(missing_ok=True)


if __name__ == "__main__":
    anyio.run(_run, json.loads(sys.argv[1]))
