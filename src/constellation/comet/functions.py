"""The functions of this node's calls, kept in memory and as fresh as the change log.

A miss reads the database; a change re-reads what is kept, and what is deployed is read before its first call. Without
the database what is kept goes on being served, and what is not known is refused with 503.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Protocol
from uuid import UUID

import anyio
import structlog
from anyio.abc import TaskStatus

from constellation.base.clock import Clock
from constellation.base.errors import ConstellationError, NotFound
from constellation.nova.domain.alias import Alias
from constellation.nova.domain.change import Change, ChangeKind
from constellation.nova.domain.function import Function
from constellation.nova.domain.tenancy import Tenant, TenantStatus

log = structlog.get_logger()

Key = tuple[str, str, str]  # tenant, namespace, name

MAX_KEPT = 10_000  # functions; chosen: about 2 KiB each
# Of them, those that nobody has called on this node but were deployed while it ran: their first call then reads nothing.
MAX_AHEAD = 5_000  # chosen: the other half is left to what is called
MAX_ASKED = 8  # versions of a function that were called by number, beside those that aliases name; the last ones
MAX_ABSENT = 1024  # names that do not exist, remembered so that a wrong client does not become a database load
# A name that is missed again and again is asked for ever more rarely. The first miss is not remembered at all: who
# creates a function right after a 404 calls it before the change has arrived.
ABSENT_BASE_S, ABSENT_CAP_S = 0.02, 0.5
SAFETY_POLL_S = 5.0  # chosen: when a notification was lost
RETRY_S = 0.2  # chosen: the embedded server restarts within a second


class FunctionSource(Protocol):
    async def try_get(self, tenant: str, namespace: str, name: str) -> Function | None: ...

    async def list_kept_warm(self) -> Sequence[Function]: ...


class VersionSource(Protocol):
    async def served(
        self, function: Function, *, also: Collection[int] = ...
    ) -> tuple[Sequence[Alias], Sequence[Function]]:
        """Return a function's aliases, and the versions that they name, and those of `also` that exist."""
        ...


class TenantSource(Protocol):
    async def try_get_tenant(self, tenant: str) -> Tenant | None: ...


class ChangeSource(Protocol):
    async def after(self, seq: int, *, limit: int = ...) -> Sequence[Change]: ...

    async def head(self) -> int: ...

    async def oldest(self) -> int: ...


class Wakeup(Protocol):
    async def wait(self, *, within_s: float) -> bool: ...


class Watcher(Protocol):
    """Told of every function that is kept and changed, the versions beside the live one too; never suspends."""

    def update(self, function: Function, *, is_suspended: bool) -> None: ...

    def remove(self, function_id: UUID) -> None: ...

    def forget(self, function_id: UUID) -> None:
        """It is kept no more, though it may exist."""
        ...

    def unpin(self, function: Function) -> None:
        """A version is not served beside the live one any more."""
        ...


@dataclass(slots=True, eq=False)
class Entry:
    """A function as it is now. Replaced, not changed, when its row changes."""

    function: Function
    is_suspended: bool  # its tenant is
    aliases: Sequence[Alias] = ()
    pinned: Mapping[int, Function] = field(default_factory=dict)  # versions that are served beside the live one


@dataclass(slots=True)
class _Load:
    """Readers of one key: one reads, the others wait and find the entry."""

    lock: anyio.Lock = field(default_factory=anyio.Lock)
    users: int = 0
    is_outdated: bool = False  # a change came while the row was being read


@dataclass(frozen=True, slots=True)
class _Absent:
    """A name that does not exist."""

    misses: int
    until_s: float  # it is not asked for before


class FunctionCache:
    """Functions by scope and name. `run` keeps them fresh."""

    def __init__(
        self,
        functions: FunctionSource,
        tenants: TenantSource,
        changes: ChangeSource,
        *,
        clock: Clock,
        versions: VersionSource | None = None,
        on_kept: Callable[[Entry], None] = lambda _entry: None,
        watchers: Sequence[Watcher] = (),
        on_secret: Callable[[Change | None], None] = lambda _change: None,
        looks_ahead: bool = False,
    ) -> None:
        """Hold nothing yet.

        Args:
            versions: None: functions have no other version than the live one.
            on_kept: told of an entry after the watchers were told of its functions.
            on_secret: told of each secret and database that was changed, and with None that any may have been.
            looks_ahead: keep also what is deployed, before anybody calls it here, while there is room.
        """
        self._looks_ahead, self._on_secret = looks_ahead, on_secret
        self._functions, self._tenants, self._changes = functions, tenants, changes
        self._clock, self._watchers = clock, tuple(watchers)
        self._versions, self._on_kept = versions, on_kept
        self._kept: dict[Key, Entry] = {}
        self._absent: dict[Key, _Absent] = {}
        self._loads: dict[Key, _Load] = {}
        self._seq: int | None = None  # None: everything must be read again
        self._may_have_missed = False

    def get_nowait(self, key: Key) -> Entry | None:
        """Return what is kept under a key, but for what waits for its first build: `load` knows whether that is over."""
        entry = self._kept.get(key)
        return entry if entry is not None and entry.function.is_runnable else None

    async def load(self, key: Key) -> Entry:
        """Return the function of a key, reading it when it is not kept; concurrent readers share one read.

        One that waits for its first build is read again: whoever was told that the build is over may call before we are.

        Raises:
            NotFound: it does not exist.
            DatabaseUnavailable: that can not be said now.
        """
        reading = self._loads.setdefault(key, _Load())
        reading.users += 1
        before = self._kept.get(key)
        try:
            async with reading.lock:
                entry = self._kept.get(key)
                if entry is not None and (entry.function.is_runnable or entry is not before):
                    return entry
                self._refuse_absent(key)
                while True:
                    reading.is_outdated = False
                    entry = await self._read(key)
                    if not reading.is_outdated:
                        break
                if entry is None:
                    self._remember_absent(key)
                    raise NotFound("function", key[2])
                self._absent.pop(key, None)
                self._keep(entry)
                return entry
        finally:
            reading.users -= 1
            if reading.users == 0:
                del self._loads[key]

    async def pin(self, entry: Entry, number: int) -> Entry:
        """Serve a version beside the live one from now on, and return the entry that has it.

        Raises:
            NotFound: the function has no such version.
            DatabaseUnavailable: that can not be said now.
        """
        key = entry.function.key
        asked = [*(each for each in entry.pinned if not _is_named(entry, each)), number][-MAX_ASKED:]
        if (found := await self._entry(entry.function, entry.is_suspended, also=asked)).pinned.get(number) is None:
            raise NotFound("version", str(number))
        self._keep(found)
        return self._kept.get(key, found)

    async def run(
        self, subscription: AbstractContextManager[Wakeup], *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Follow the change log until cancelled. Started means that the functions to keep warm are known.

        Args:
            subscription: wakes when the log grew; a slow poll covers for what it misses.
        """
        is_started = False
        with subscription as wakeup:
            while True:
                try:
                    await self._follow()
                except ConstellationError as error:  # the supervision point: what is kept is served meanwhile
                    self._may_have_missed = True
                    log.warning("functions.follow_failed", reason=str(error))
                    await anyio.sleep(RETRY_S)
                    continue
                if not is_started:
                    is_started = True
                    task_status.started()
                await wakeup.wait(within_s=SAFETY_POLL_S)

    async def _follow(self) -> None:
        if self._may_have_missed and self._seq is not None and await self._changes.oldest() > self._seq + 1:
            self._seq = None  # the log was cut beyond where we are
        if self._seq is None:
            head = await self._changes.head()
            await self._read_everything()
            self._seq = head
        self._may_have_missed = False
        while batch := await self._changes.after(self._seq):
            for change in batch:
                await self._apply(change)
                self._seq = change.seq

    async def _read_everything(self) -> None:
        for function in await self._functions.list_kept_warm():
            self._keep(await self._entry(function, await self._is_suspended(function.tenant)))
        for key in list(self._kept):
            await self._refresh(key)
        suspended = {tenant: await self._is_suspended(tenant) for tenant in {key[0] for key in self._kept}}
        for key, entry in list(self._kept.items()):
            if entry.is_suspended is not suspended.get(key[0], entry.is_suspended):
                self._keep(replace(entry, is_suspended=not entry.is_suspended))
        self._on_secret(None)
        self._absent.clear()
        for reading in self._loads.values():
            reading.is_outdated = True

    async def _apply(self, change: Change) -> None:
        match change.kind:
            case ChangeKind.FUNCTION:
                key = (change.tenant, change.namespace, change.name)
                if key in self._loads:
                    self._loads[key].is_outdated = True
                self._absent.pop(key, None)
                await self._refresh(key)
            case ChangeKind.TENANT:
                for key, reading in self._loads.items():
                    if key[0] == change.tenant:
                        reading.is_outdated = True
                is_suspended = await self._is_suspended(change.tenant)
                for key, entry in list(self._kept.items()):
                    if key[0] == change.tenant:
                        self._keep(replace(entry, is_suspended=is_suspended))
            case ChangeKind.SECRET | ChangeKind.DATABASE:
                self._on_secret(change)
            case (
                ChangeKind.API_KEY
                | ChangeKind.NAMESPACE
                | ChangeKind.PRINCIPAL
                | ChangeKind.DOMAIN
                | ChangeKind.SETTING
            ):
                return  # the functions of a deleted namespace are changes of their own

    async def _refresh(self, key: Key) -> None:
        """Read a key again if it is kept, if its function is to be kept warm, or ahead of its first call."""
        function = await self._functions.try_get(*key)
        kept = self._kept.get(key)
        if kept is not None and (function is None or function.id != kept.function.id):
            del self._kept[key]
            self._unpin(kept.pinned.values())
            for watcher in self._watchers:
                watcher.remove(kept.function.id)
            kept = None
        if function is None:
            return
        is_ahead = self._looks_ahead and len(self._kept) < MAX_AHEAD
        if kept is None and function.min_replicas == 0 and not is_ahead:
            return
        is_suspended = kept.is_suspended if kept else await self._is_suspended(function.tenant)
        asked = [each for each in kept.pinned if not _is_named(kept, each)] if kept else ()
        self._keep(await self._entry(function, is_suspended, also=asked))

    async def _read(self, key: Key) -> Entry | None:
        function = await self._functions.try_get(*key)
        return await self._entry(function, await self._is_suspended(function.tenant)) if function else None

    async def _entry(
        self, function: Function, is_suspended: bool, *, also: Collection[int] = ()
    ) -> Entry:  # as the field is
        if self._versions is None or not function.is_runnable:
            return Entry(function, is_suspended)
        aliases, pinned = await self._versions.served(function, also=also)
        return Entry(function, is_suspended, aliases, {each.pin: each for each in pinned})

    async def _is_suspended(self, tenant: str) -> bool:
        row = await self._tenants.try_get_tenant(tenant)
        return row is not None and row.status is TenantStatus.SUSPENDED

    def _keep(self, entry: Entry) -> None:
        key = entry.function.key
        kept = self._kept.get(key)
        if kept is not None and kept.function.id == entry.function.id:
            if kept.function.version > entry.function.version:
                return  # a slower read of an older row
        elif len(self._kept) >= MAX_KEPT:
            oldest = self._kept.pop(next(iter(self._kept)))  # its next call reads it again
            self._unpin(oldest.pinned.values())
            for watcher in self._watchers:
                watcher.forget(oldest.function.id)
        self._kept[key] = entry
        for function in (entry.function, *entry.pinned.values()):
            for watcher in self._watchers:
                watcher.update(function, is_suspended=entry.is_suspended)
        self._on_kept(entry)
        if kept is not None and kept.function.id == entry.function.id:
            self._unpin([each for number, each in kept.pinned.items() if number not in entry.pinned])

    def _unpin(self, functions: Collection[Function]) -> None:
        for function in functions:
            for watcher in self._watchers:
                watcher.unpin(function)

    def _refuse_absent(self, key: Key) -> None:
        absent = self._absent.get(key)
        if absent is not None and self._clock.monotonic_s() < absent.until_s:
            raise NotFound("function", key[2])

    def _remember_absent(self, key: Key) -> None:
        before = self._absent.pop(key, None)
        while len(self._absent) >= MAX_ABSENT:
            del self._absent[next(iter(self._absent))]
        misses = 1 if before is None else min(before.misses + 1, 10)
        ttl_s = 0.0 if misses == 1 else min(ABSENT_CAP_S, ABSENT_BASE_S * 2.0**misses)
        self._absent[key] = _Absent(misses, self._clock.monotonic_s() + ttl_s)


def _is_named(entry: Entry, number: int) -> bool:
    return any(number in alias.versions for alias in entry.aliases)
