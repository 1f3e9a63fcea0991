"""Sandboxes of all tenants on this node: made, used, paused, forked, ended; and tended as time asks for.

Postgres says which there are and in which state; the keeper has them. Both outlive this process: what it finds of
either when it starts, it takes over.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import anyio
import structlog
from anyio.abc import TaskStatus

from constellation.base.errors import ConstellationError, NotFound, Overloaded, StateConflict
from constellation.comet.sandboxes.files import File, write
from constellation.comet.sandboxes.holds import Holds
from constellation.comet.sandboxes.keeping import ForkFailed
from constellation.comet.sandboxes.link import AgentGone, ask
from constellation.comet.sandboxes.wanted import Answer, Kept
from constellation.nova.domain.quota import QuotaExceeded
from constellation.nova.domain.sandbox import Due, Sandbox, SandboxState, Share, due, share_of
from constellation.nova.store.sandboxes import NewSandbox, Sandboxes

log = structlog.get_logger()
_UNDO_S = 20.0
_KEPT_S = 86_400.0  # chosen: for a day it can be asked why a sandbox ended
_FORGET_S = 600.0
_USERS = 64  # requests at a time in one sandbox
_S = SandboxState


class SandboxBackendUnavailable(ConstellationError):
    """Interactive sandboxes can not be had there."""

    code, http_status = "sandbox_backend_unavailable", 422

    def __init__(self, backend: str, *, reason: str) -> None:
        super().__init__(f"interactive sandboxes do not run on {backend} here: {reason}")


class SandboxElsewhere(ConstellationError):
    """Another comet has it."""

    code, http_status, retryable = "sandbox_elsewhere", 421, True

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__(f"sandbox {sandbox.id} is on the node {sandbox.node}", extras={"node": sandbox.node})


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A running sandbox in somebody's hands."""

    sandbox: Sandbox
    socket: Path
    python: Sequence[str]

    async def ask(self, **request: Any) -> dict[str, Any]:
        """Ask the agent; errors as in `link.ask`."""
        return await ask(self.socket, request)


class Place(Protocol):
    """Where sandboxes live, and live on when this process ends. Errors are those of `Keeping`."""

    @property
    def fork_refusal(self) -> str:
        """Why none is forked there; "": they are."""
        ...

    @property
    def python(self) -> Sequence[str]:
        """How the agent's own programs are executed in a sandbox."""
        ...

    async def checked(self, new: NewSandbox) -> NewSandbox:
        """Return what can be made, an image with its digest; refuse the rest before there is a row."""
        ...

    async def create(self, sandbox_id: UUID, new: NewSandbox) -> None: ...
    def socket_of(self, sandbox_id: str) -> Path: ...

    async def list(self) -> Answer | None:
        """Return what lives and what ended; None: that can not be known now."""
        ...

    async def pause(self, sandbox_id: str) -> None: ...
    async def resume(self, sandbox_id: str) -> None: ...
    async def copy(self, source: str, to: str) -> None: ...
    async def remove(self, sandbox_id: str) -> None: ...


class Machines:
    """Usable while `run` does."""

    def __init__(self, book: Sandboxes, places: Mapping[str, Place], holds: Holds, *, node: str, tend_s: float) -> None:
        self._book, self._places, self._holds = book, places, holds  # places by the name of a backend
        self._node, self._tend_s = node, tend_s
        self._users: dict[UUID, int] = {}
        self._used: dict[UUID, datetime] = {}  # not written yet
        self._locks: dict[UUID, anyio.Lock] = {}
        self._forgets_at_s = 0.0
        self._changing: set[UUID] = set()  # made, or moved, by a request in hand
        self._looks: list[set[UUID]] = []  # of each tending in hand: what changed since it began to look

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Take over what is there, then tend it until cancelled."""
        try:
            adopted = await self._book.adopt()
            await self._tend()
            if adopted:
                log.info("sandboxes.adopted", count=len(adopted))
        except Exception:  # the supervision point: functions run without sandboxes
            log.exception("sandboxes.not_adopted")
        task_status.started()
        while True:
            await anyio.sleep(self._tend_s)
            try:
                await self._tend()
            except Exception:  # likewise: the next look may find the database there again
                log.exception("sandboxes.not_tended")

    # What users ask.

    async def create(self, new: NewSandbox, *, files: Sequence[File] = ()) -> Sandbox:
        """Make a sandbox. If it fails, or is cancelled, nothing of it is left but the row that says why.

        Raises:
            TemplateUnavailable, SandboxLimit, QuotaExceeded, KeeperFailed, AgentGone
        """
        new = await self._place_of(new).checked(new)
        async with self._made(new, files=files) as sandbox:
            return await self._book.move(sandbox, _S.RUNNING)

    async def fork(self, tenant: str, namespace: str, sandbox_id: UUID, *, ttl_s: float) -> Sandbox:
        """Make a sandbox that has the files, environment and ports of another; that stands still while it is copied.

        Raises:
            NotFound, StateConflict, SandboxLimit, QuotaExceeded, KeeperFailed, ForkFailed, PauseUnavailable
        """
        source = await self.get(tenant, namespace, sandbox_id)
        if source.state not in (_S.RUNNING, _S.PAUSED):
            raise StateConflict("sandbox", str(sandbox_id), state=source.state, wanted="running or paused")
        place = self._place_of(source)
        if place.fork_refusal:
            raise ForkFailed(place.fork_refusal)
        new = NewSandbox(
            tenant=tenant, namespace=namespace, template=source.template, backend=source.backend, image=source.image, memory_mb=source.memory_mb,
            cpu_millis=source.cpu_millis, disk_mb=source.disk_mb, processes=source.processes, ttl_s=ttl_s,
            idle_timeout_s=source.idle_timeout_s, on_idle=source.on_idle, env=source.env, ports=source.ports,
            forked_from=source.id,
        )  # fmt: skip
        async with self._locked(source.id), self._made(new) as sandbox:
            await place.copy(str(source.id), str(sandbox.id))
            return await self._book.move(sandbox, _S.RUNNING)

    async def get(self, tenant: str, namespace: str, sandbox_id: UUID) -> Sandbox:
        """Return a sandbox of a scope that is this node's. Raises `NotFound`, `SandboxElsewhere`."""
        sandbox = await self._book.get(tenant, namespace, sandbox_id)
        if sandbox.node != self._node and sandbox.state is not _S.ENDED:
            raise SandboxElsewhere(sandbox)
        return sandbox

    async def remove(self, tenant: str, namespace: str, sandbox_id: UUID) -> Sandbox:
        """End a sandbox; one that has ended stays as it is."""
        sandbox = await self.get(tenant, namespace, sandbox_id)
        if sandbox.state is _S.ENDED:
            return sandbox
        async with self._locked(sandbox_id):
            return await self._end(sandbox, reason="removed")

    async def pause(self, tenant: str, namespace: str, sandbox_id: UUID, *, reason: str = "") -> Sandbox:
        """Let every process of a sandbox stand still.

        Raises:
            NotFound, StateConflict, PauseUnavailable
        """
        async with self._locked(sandbox_id):
            sandbox = await self.get(tenant, namespace, sandbox_id)
            if sandbox.state is _S.PAUSED:
                return sandbox
            if sandbox.state is not _S.RUNNING:
                raise StateConflict("sandbox", str(sandbox_id), state=sandbox.state, wanted="running")
            await self._place_of(sandbox).pause(str(sandbox_id))
            paused = await self._book.move(sandbox, _S.PAUSED, reason=reason)
            self._holds.lower_nowait(sandbox_id, share_of(paused, paused.state))
            return paused

    async def resume(self, tenant: str, namespace: str, sandbox_id: UUID) -> Sandbox:
        """Let it go on.

        Raises:
            NotFound, StateConflict
            QuotaExceeded: the tenant has no CPU left for it.
        """
        async with self._locked(sandbox_id):
            sandbox = await self.get(tenant, namespace, sandbox_id)
            if sandbox.state is _S.RUNNING:
                return sandbox
            if sandbox.state is not _S.PAUSED:
                raise StateConflict("sandbox", str(sandbox_id), state=sandbox.state, wanted="paused")
            async with self._held(sandbox, share_of(sandbox, sandbox.state)):
                await self._place_of(sandbox).resume(str(sandbox_id))
                return await self._book.move(sandbox, _S.RUNNING)

    @asynccontextmanager
    async def using(self, tenant: str, namespace: str, sandbox_id: UUID) -> AsyncIterator[Use]:
        """Lend a running sandbox, which is not idle meanwhile; one that was paused for being idle goes on.

        Raises:
            NotFound, StateConflict, Overloaded, QuotaExceeded; in the block, AgentGone becomes NotFound when the sandbox has ended.
        """
        sandbox = await self.get(tenant, namespace, sandbox_id)
        if sandbox.is_waking:
            sandbox = await self.resume(tenant, namespace, sandbox_id)
        if sandbox.state is not _S.RUNNING:
            raise StateConflict("sandbox", str(sandbox_id), state=sandbox.state, wanted="running")
        if self._users.get(sandbox_id, 0) >= _USERS:
            raise Overloaded(f"requests to sandbox {sandbox_id}", limit=_USERS)
        self._users[sandbox_id] = self._users.get(sandbox_id, 0) + 1
        try:
            place = self._place_of(sandbox)
            yield Use(sandbox=sandbox, socket=place.socket_of(str(sandbox_id)), python=place.python)
        except AgentGone:
            await self._tend()
            found = await self._book.get(tenant, namespace, sandbox_id)
            if found.state is _S.ENDED:
                raise NotFound("sandbox", f"{sandbox_id} ({found.reason})") from None
            raise
        finally:
            self._users[sandbox_id] -= 1
            if not self._users[sandbox_id]:
                del self._users[sandbox_id]
            self._used[sandbox_id] = datetime.now(UTC)

    # How it is done.

    def _place_of(self, sandbox: Sandbox | NewSandbox) -> Place:
        place = self._places.get(sandbox.backend)
        if place is None:
            raise SandboxBackendUnavailable(sandbox.backend, reason="this comet has none")
        return place

    @asynccontextmanager
    async def _made(self, new: NewSandbox, *, files: Sequence[File] = ()) -> AsyncIterator[Sandbox]:
        """Make what a new row stands for; if the block fails too, it is ended."""
        home = self._place_of(new)
        with self._change(new.id):
            async with self._held(new, Share()):
                row = await self._book.insert(new)
            async with self._filled(row, home, new, files) as sandbox:
                yield sandbox

    @asynccontextmanager
    async def _held(self, sandbox: Sandbox | NewSandbox, before: Share) -> AsyncIterator[None]:
        """Let a sandbox have all that it needs when it runs; if the block fails, what it had before."""
        await self._holds.take(sandbox.id, sandbox.tenant, share_of(sandbox, _S.RUNNING))
        try:
            yield
        except BaseException:
            self._holds.lower_nowait(sandbox.id, before)
            raise

    @asynccontextmanager
    async def _filled(
        self, sandbox: Sandbox, home: Place, new: NewSandbox, files: Sequence[File]
    ) -> AsyncIterator[Sandbox]:
        try:
            await home.create(sandbox.id, new)
            place = home.socket_of(str(sandbox.id))
            await ask(place, {"op": "ping"})
            for file in files:
                await write(place, file)
            yield sandbox
        except BaseException as error:
            with anyio.move_on_after(_UNDO_S, shield=True), suppress(ConstellationError):
                await self._end(sandbox, reason=f"it was not made: {str(error) or type(error).__name__}")
            raise

    async def _end(self, sandbox: Sandbox, *, reason: str) -> Sandbox:
        ending = await self._book.move(sandbox, _S.ENDING, reason=reason)
        await self._place_of(sandbox).remove(str(sandbox.id))
        self._holds.drop_nowait(sandbox.id)
        self._used.pop(sandbox.id, None)
        return await self._book.move(ending, _S.ENDED, reason=reason)

    @asynccontextmanager
    async def _locked(self, sandbox_id: UUID) -> AsyncIterator[None]:
        """Let one change at a time happen to a sandbox; the tending leaves it alone."""
        lock = self._locks.setdefault(sandbox_id, anyio.Lock())
        try:
            async with lock:
                with self._change(sandbox_id):
                    yield
        finally:
            if not lock.statistics().locked and not lock.statistics().tasks_waiting:
                self._locks.pop(sandbox_id, None)  # whatever ids are asked for, none stays

    @contextmanager
    def _change(self, sandbox_id: UUID) -> Iterator[None]:
        """Let no tending touch a sandbox: neither one that begins now nor one that has looked at it before."""
        self._changing.add(sandbox_id)
        for look in self._looks:
            look.add(sandbox_id)
        try:
            yield
        finally:
            self._changing.discard(sandbox_id)

    async def _tend(self) -> None:
        """Make rows and sandboxes agree, then do what is due.

        What it finds is old when it acts on it: whatever a request changed meanwhile is left to the next time.
        """
        changed = set(self._changing)
        self._looks.append(changed)
        try:
            await self._look(changed)
        finally:
            self._looks = [look for look in self._looks if look is not changed]

    async def _look(self, changed: set[UUID]) -> None:
        used, self._used = self._used, {}
        await self._book.note_used(used)
        rows = {sandbox.id: sandbox for sandbox in await self._book.of_node()}
        await self._count(rows.values(), changed)
        kept: dict[str, Kept] = {}
        why: dict[str, str] = {}
        there: dict[str, Place] = {}
        silent: set[str] = set()  # backends: what lives there is not known now
        for name, place in self._places.items():
            told = await place.list()
            if told is None:
                silent.add(name)
                continue
            kept |= {each.id: each for each in told.kept}
            why |= {each.id: each.reason for each in told.ended}
            there |= dict.fromkeys([*(each.id for each in told.kept), *(each.id for each in told.ended)], place)
        now, suspended = await self._book.now(), await self._book.suspended()
        for sandbox in rows.values():
            if sandbox.id in changed or sandbox.backend in silent:
                continue
            with suppress(StateConflict, NotFound):  # a request was quicker
                found = kept.get(str(sandbox.id))
                if sandbox.state in (_S.ENDING, _S.CREATING):
                    await self._end(sandbox, reason=sandbox.reason or "comet ended while it was made")
                elif found is None:
                    await self._end(sandbox, reason=why.get(str(sandbox.id), "the process that held it ended"))
                else:
                    await self._tend_one(sandbox, found, now=now, is_suspended=sandbox.id in suspended)
        await self._end_strays(there, rows.keys() | changed)
        self._holds.drop_others_nowait(rows.keys() | changed)
        if anyio.current_time() >= self._forgets_at_s:
            self._forgets_at_s = anyio.current_time() + _FORGET_S
            await self._book.forget(ended_s=_KEPT_S)

    async def _count(self, rows: Collection[Sandbox], changed: AbstractSet[UUID]) -> None:
        """Count what rows say is there, and a comet before this one, or a request that was cut off, has left uncounted."""
        wrong = [row for row in rows if row.id not in changed and not self._holds.has(row)]
        handles = await self._holds.handles(row.tenant for row in wrong)
        for row in wrong:
            if row.id not in changed and row.tenant in handles:
                self._holds.count_nowait(row, handles[row.tenant])

    async def _tend_one(self, sandbox: Sandbox, found: Kept, *, now: datetime, is_suspended: bool) -> None:
        if found.is_paused is not (sandbox.state is _S.PAUSED):  # a comet was killed between the two
            place = self._place_of(sandbox)
            await (place.pause if sandbox.state is _S.PAUSED else place.resume)(found.id)
        is_busy = self._users.get(sandbox.id, 0) > 0
        used_at = max(sandbox.used_at, self._used.get(sandbox.id, sandbox.used_at))
        what, reason = due(sandbox, now=now, used_at=used_at, is_busy=is_busy, is_suspended=is_suspended)
        scope = sandbox.tenant, sandbox.namespace, sandbox.id
        match what:
            case Due.REMOVE:
                async with self._locked(sandbox.id):
                    await self._end(sandbox, reason=reason)
            case Due.PAUSE:
                try:
                    await self.pause(*scope, reason=reason)
                except StateConflict:
                    raise
                except ConstellationError as error:  # it is asked again when it has been idle once more
                    if is_suspended:  # what can not stand still ends
                        async with self._locked(sandbox.id):
                            await self._end(sandbox, reason=reason)
                        return
                    self._used[sandbox.id] = now
                    log.warning("sandboxes.not_paused", id=str(sandbox.id), error=str(error))
            case Due.RESUME:
                try:
                    await self.resume(*scope)
                except QuotaExceeded as error:  # others of its tenant were quicker; the next look asks again
                    log.info("sandboxes.not_resumed", id=str(sandbox.id), error=str(error))
            case Due.NOTHING:
                pass

    async def _end_strays(self, there: Mapping[str, Place], known: AbstractSet[UUID]) -> None:
        """End what no row stands for: its tenant was deleted, or the comet that made it was killed."""
        for each in there.keys() - set(map(str, known)):
            await there[each].remove(each)
