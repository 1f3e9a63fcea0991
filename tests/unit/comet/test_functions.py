"""The function cache against a database that changes, lags and goes away."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from uuid import UUID

import anyio
import pytest
import trio
from trio.testing import MockClock

from constellation.base.errors import NotFound, Unavailable
from constellation.comet import functions
from constellation.comet.functions import MAX_ASKED, FunctionCache
from constellation.nova.domain.alias import Alias, Share
from constellation.nova.domain.change import Change, ChangeKind
from constellation.nova.domain.function import Function, PendingCode
from constellation.nova.domain.tenancy import Tenant, TenantStatus
from constellation.testing.simulation import EPOCH, VirtualClock

KEY = ("t", "n", "f")
FUNCTION = Function(tenant="t", namespace="n", name="f", id=UUID(int=1), runtime="python", handler="main.handler")


class Wakeup:
    def __init__(self) -> None:
        self.event = anyio.Event()

    async def wait(self, *, within_s: float) -> bool:
        with anyio.move_on_after(within_s):
            await self.event.wait()
        woken = self.event.is_set()
        self.event = anyio.Event()
        return woken


@dataclass
class Store:
    """A function table and its change log."""

    rows: dict[tuple[str, str, str], Function] = field(default_factory=dict)
    log: list[Change] = field(default_factory=list)
    cut: int = 0  # changes up to this number are gone
    reads: int = 0
    delay_s: float = 0.001
    is_away: bool = False
    status: TenantStatus = TenantStatus.ACTIVE
    wakeup: Wakeup | None = None

    def write(self, function: Function | None, *, key=KEY, notify: bool = True) -> None:
        if function is None:
            self.rows.pop(key, None)
        else:
            self.rows[function.key] = function
        seq = self.log[-1].seq + 1 if self.log else 1
        self.log.append(
            Change(seq=seq, kind=ChangeKind.FUNCTION, tenant=key[0], namespace=key[1], name=key[2], at=EPOCH)
        )
        if notify and self.wakeup:
            self.wakeup.event.set()

    async def _answer(self) -> None:
        await anyio.sleep(self.delay_s)
        if self.is_away:
            raise Unavailable("the database", reason="away")

    async def try_get(self, tenant, namespace, name):
        self.reads += 1
        found = self.rows.get((tenant, namespace, name))
        await self._answer()  # what was read may be old by the time it arrives
        return found

    async def list_kept_warm(self):
        await self._answer()
        return [row for row in self.rows.values() if row.min_replicas]

    async def try_get_tenant(self, tenant):
        await self._answer()
        return Tenant(
            id=tenant, name=tenant, status=self.status, tier="standard", version=1, created_at=EPOCH, updated_at=EPOCH
        )

    async def after(self, seq, *, limit=1000):
        await self._answer()
        return [change for change in self.log if change.seq > max(seq, self.cut)][:limit]

    async def head(self):
        await self._answer()
        return self.log[-1].seq if self.log else 0

    async def oldest(self):
        await self._answer()
        return self.cut + 1 if self.log else 0

    @contextmanager
    def subscribe(self):
        self.wakeup = Wakeup()
        yield self.wakeup


class Watcher:
    def __init__(self) -> None:
        self.live: dict[UUID, Function] = {}
        self.suspended: set[UUID] = set()
        self.forgotten: list[UUID] = []

    def update(self, function: Function, *, is_suspended: bool) -> None:
        self.live[function.id] = function
        self.suspended = self.suspended - {function.id} | ({function.id} if is_suspended else set())

    def remove(self, function_id: UUID) -> None:
        self.live.pop(function_id, None)

    def forget(self, function_id: UUID) -> None:
        self.forgotten.append(function_id)

    def unpin(self, function: Function) -> None:
        raise AssertionError("no version was served beside the live one")


def simulate(main, *, looks_ahead: bool = False) -> None:
    async def run():
        store, watcher = Store(), Watcher()
        cache = FunctionCache(store, store, store, clock=VirtualClock(), watchers=[watcher], looks_ahead=looks_ahead)
        async with anyio.create_task_group() as tasks:
            await tasks.start(cache.run, store.subscribe())
            await main(store, cache, watcher)
            tasks.cancel_scope.cancel()

    trio.run(run, clock=MockClock(autojump_threshold=0))


def test_many_readers_share_one_read():
    async def main(store, cache, watcher):
        store.write(FUNCTION)
        await anyio.sleep(0.1)
        store.reads = 0
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(cache.load, KEY)
        assert store.reads == 1
        assert cache.get_nowait(KEY).function is FUNCTION
        assert watcher.live == {FUNCTION.id: FUNCTION}

    simulate(main)


def test_a_reader_that_is_cancelled_fails_nobody_else():
    async def main(store, cache, _watcher):
        store.write(FUNCTION)
        store.delay_s = 0.1
        async with anyio.create_task_group() as tasks:
            with anyio.move_on_after(0.05):
                tasks.start_soon(cache.load, KEY)
                await cache.load(KEY)
        assert cache.get_nowait(KEY) is not None

    simulate(main)


def test_a_change_is_live_at_once_and_the_old_row_until_then():
    async def main(store, cache, watcher):
        store.write(FUNCTION)
        await cache.load(KEY)
        newer = replace(FUNCTION, version=2)
        store.write(newer)
        assert cache.get_nowait(KEY).function is FUNCTION
        await anyio.sleep(0.05)
        assert cache.get_nowait(KEY).function is newer
        assert watcher.live[FUNCTION.id] is newer

    simulate(main)


def test_a_function_that_was_built_is_found_so_before_its_change_arrives():
    async def main(store, cache, watcher):
        pending = replace(FUNCTION, pending=PendingCode(version=1, hash="h", handler="main.handler"))
        store.write(pending)
        await anyio.sleep(0.1)
        assert watcher.live
        assert cache.get_nowait(KEY) is None
        assert not (await cache.load(KEY)).function.is_runnable
        store.write(replace(FUNCTION, version=2, code_version=1), notify=False)
        reads = store.reads
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(cache.load, KEY)
        assert store.reads == reads + 1
        assert cache.get_nowait(KEY).function.is_runnable

    simulate(main, looks_ahead=True)


def test_a_lost_notification_is_found_by_the_slow_poll():
    async def main(store, cache, _watcher):
        store.write(FUNCTION)
        await cache.load(KEY)
        store.write(replace(FUNCTION, version=2), notify=False)
        await anyio.sleep(6)
        assert cache.get_nowait(KEY).function.version == 2

    simulate(main)


def test_a_row_that_changes_while_it_is_read_is_read_again():
    async def main(store, cache, _watcher):
        store.write(FUNCTION)
        await anyio.sleep(1)
        store.delay_s = 0.0
        reads = []

        async def slow(tenant, namespace, name, read=store.try_get):
            found = await read(tenant, namespace, name)
            reads.append(found)
            if len(reads) == 1:
                store.write(replace(FUNCTION, version=2))
                await anyio.sleep(1)  # the change is applied before the old row arrives
            return found

        store.try_get = slow
        assert (await cache.load(KEY)).function.version == 2

    simulate(main)


def test_a_deleted_function_is_gone_and_its_successor_is_another():
    async def main(store, cache, watcher):
        store.write(FUNCTION)
        await cache.load(KEY)
        successor = replace(FUNCTION, id=UUID(int=2))
        store.write(successor)
        await anyio.sleep(0.05)
        assert not watcher.live
        assert (await cache.load(KEY)).function is successor
        assert set(watcher.live) == {successor.id}
        store.write(None)
        await anyio.sleep(0.05)
        assert cache.get_nowait(KEY) is None
        assert not watcher.live
        with pytest.raises(NotFound):
            await cache.load(KEY)

    simulate(main)


def test_names_that_do_not_exist_are_asked_for_ever_more_rarely_until_they_do():
    async def main(store, cache, _watcher):
        for _ in range(1000):
            with pytest.raises(NotFound):
                await cache.load(KEY)
            await anyio.sleep(0.001)
        assert store.reads < 20
        store.write(FUNCTION)
        await anyio.sleep(0.05)
        await cache.load(KEY)

    simulate(main)


def test_a_function_created_right_after_a_miss_is_found_before_its_change_arrives():
    async def main(store, cache, _watcher):
        with pytest.raises(NotFound):
            await cache.load(KEY)
        store.write(FUNCTION, notify=False)
        await cache.load(KEY)

    simulate(main)


def test_functions_to_keep_warm_are_known_without_a_call():
    async def main(store, _cache, watcher):
        store.write(replace(FUNCTION, min_replicas=1))
        await anyio.sleep(0.05)
        assert set(watcher.live) == {FUNCTION.id}

    simulate(main)


def test_without_the_database_what_is_kept_is_served_and_it_recovers():
    async def main(store, cache, _watcher):
        store.write(FUNCTION)
        await cache.load(KEY)
        store.is_away = True
        store.write(replace(FUNCTION, version=2))
        await anyio.sleep(30)
        assert cache.get_nowait(KEY).function is FUNCTION
        with pytest.raises(Unavailable):
            await cache.load(("t", "n", "other"))
        store.is_away = False
        await anyio.sleep(1)
        assert cache.get_nowait(KEY).function.version == 2

    simulate(main)


def test_a_log_cut_during_an_outage_means_reading_everything_again():
    async def main(store, cache, watcher):
        store.write(FUNCTION)
        await cache.load(KEY)
        store.is_away = True
        store.write(replace(FUNCTION, version=2))
        store.status = TenantStatus.SUSPENDED
        for _ in range(3):
            store.write(None, key=("t", "n", "other"))
        store.cut = store.log[-1].seq - 1
        await anyio.sleep(10)
        store.is_away = False
        await anyio.sleep(1)
        assert cache.get_nowait(KEY).function.version == 2
        assert (cache.get_nowait(KEY).is_suspended, watcher.suspended) == (True, {FUNCTION.id})

    simulate(main)


def test_watchers_hear_of_a_suspended_tenant_and_of_what_is_kept_no_more(monkeypatch):
    monkeypatch.setattr(functions, "MAX_KEPT", 1)

    async def main(store, cache, watcher):
        store.write(FUNCTION)
        await cache.load(KEY)
        store.status = TenantStatus.SUSPENDED
        seq = store.log[-1].seq + 1
        store.log.append(Change(seq=seq, kind=ChangeKind.TENANT, tenant="t", namespace="", name="", at=EPOCH))
        store.wakeup.event.set()
        await anyio.sleep(0.1)
        assert watcher.suspended == {FUNCTION.id}
        assert watcher.forgotten == []
        other = replace(FUNCTION, id=UUID(int=2), name="g")
        store.write(other, key=other.key)
        await cache.load(other.key)
        assert watcher.forgotten == [FUNCTION.id]
        assert watcher.suspended == {FUNCTION.id, other.id}

    simulate(main)


def test_what_is_deployed_is_read_before_its_first_call_while_there_is_room(monkeypatch):
    async def main(store, cache, watcher):
        monkeypatch.setattr(functions, "MAX_AHEAD", 1)
        store.write(FUNCTION)
        other = replace(FUNCTION, id=UUID(int=2), name="g")
        await anyio.sleep(0.05)
        store.write(other, key=other.key)
        await anyio.sleep(0.05)
        assert cache.get_nowait(KEY).function is FUNCTION
        assert watcher.live == {FUNCTION.id: FUNCTION}
        assert cache.get_nowait(other.key) is None
        store.write(None)
        await anyio.sleep(0.05)
        assert watcher.live == {}

    simulate(main, looks_ahead=True)


class Versions:
    """Aliases, and each version as the live one is, but pinned."""

    def __init__(self) -> None:
        self.aliases: tuple[Alias, ...] = ()
        self.gone: set[int] = set()

    async def served(self, function, *, also=()):
        await anyio.sleep(0)
        numbers = {*also, *(number for alias in self.aliases for number in alias.versions)} - self.gone
        return self.aliases, [replace(function, pin=number, live_version=number) for number in sorted(numbers)]


class Told:
    """A watcher of slots."""

    def __init__(self) -> None:
        self.slots: dict[tuple[UUID, int], bool] = {}
        self.kept: list[int] = []

    def update(self, function, *, is_suspended):
        self.slots[function.slot] = is_suspended

    def unpin(self, function):
        del self.slots[function.slot]

    def remove(self, function_id):
        del self.slots[(function_id, 0)]

    def forget(self, function_id):
        pass

    @property
    def pins(self) -> list[int]:
        return sorted(pin for _, pin in self.slots)


def test_versions_that_aliases_name_and_calls_ask_for_are_served_beside_the_live_one():
    async def main():
        store, versions, told = Store(), Versions(), Told()
        cache = FunctionCache(
            store,
            store,
            store,
            clock=VirtualClock(),
            versions=versions,
            on_kept=lambda entry: told.kept.append(len(entry.pinned)),
            watchers=[told],
        )
        async with anyio.create_task_group() as tasks:
            await tasks.start(cache.run, store.subscribe())
            row = FUNCTION
            store.write(row)
            versions.aliases = (Alias(name="prod", shares=(Share(version=2, weight=90), Share(version=3, weight=10))),)
            entry = await cache.load(row.key)
            assert (told.pins, sorted(entry.pinned)) == ([0, 2, 3], [2, 3])
            entry = await cache.pin(entry, 7)
            assert told.pins == [0, 2, 3, 7]
            for number in range(10, 10 + MAX_ASKED):
                entry = await cache.pin(entry, number)
            assert told.pins == [0, 2, 3, *range(10, 10 + MAX_ASKED)]  # the one asked for first went
            versions.gone = {99}
            with pytest.raises(NotFound):
                await cache.pin(entry, 99)

            versions.aliases = (Alias(name="prod", shares=(Share(version=3, weight=100),)),)
            versions.gone = set(range(10, 100))
            store.write(replace(row, version=row.version + 1, halted=True))
            await anyio.sleep(1)
            assert told.pins == [0, 3]
            assert cache.get_nowait(row.key).pinned[3].halted  # a switch holds for all versions
            assert told.kept[-1] == 1
            store.write(None)
            await anyio.sleep(1)
            assert told.pins == []
            tasks.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))
