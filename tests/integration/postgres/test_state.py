from __future__ import annotations

import anyio
import pytest

from constellation.base.errors import InvalidRequest, NotFound, VersionConflict
from constellation.base.ids import uuid7
from constellation.nova.domain.function import Function
from constellation.nova.store.functions import Functions
from constellation.nova.store.pool import Database
from constellation.nova.store.retention import Retention
from constellation.nova.store.state import MAX_VALUE_BYTES, State, StateFull, StateValueTooLarge, Store
from constellation.nova.store.tenancy import Tenancy

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

OWN = Store(tenant="default", namespace="default", name="f")
SHARED = Store(tenant="default", namespace="default", name="f", is_shared=True)


@pytest.fixture
async def state(db: Database) -> State:
    row = Function(
        tenant="default", namespace="default", name="f", id=uuid7(), runtime="python", handler="main.handler"
    )
    await Functions(db).create(row, {"main.py": b"1"})
    return State(db, max_keys=lambda _tenant: 10)


async def expire(db: Database, key: str) -> None:
    async with db.transaction() as tx:
        await tx.execute("UPDATE function_state SET expires_at = now() - interval '1 second' WHERE key = $1", key)


async def test_a_value_is_kept_changed_and_deleted(state: State) -> None:
    first = await state.put(OWN, "a/b c", b'{"x":1}')
    entry = await state.get(OWN, "a/b c")
    assert entry is not None
    assert (entry.value, entry.version, entry.size_bytes, entry.expires_at) == (b'{"x":1}', first, 7, None)
    second = await state.put(OWN, "a/b c", b"2")
    assert second > first
    assert await state.get(SHARED, "a/b c") is None  # a shared store of the same name is another one
    assert await state.delete(OWN, "a/b c")
    assert not await state.delete(OWN, "a/b c")
    assert await state.get(OWN, "a/b c") is None


async def test_a_version_says_what_may_be_overwritten(state: State) -> None:
    first = await state.put(OWN, "k", b"1", if_version=0)
    with pytest.raises(VersionConflict) as told:
        await state.put(OWN, "k", b"2", if_version=0)
    assert told.value.extras["version"] == first
    with pytest.raises(VersionConflict):
        await state.put(OWN, "k", b"2", if_version=first + 1)
    with pytest.raises(VersionConflict):
        await state.delete(OWN, "k", if_version=first + 1)
    second = await state.put(OWN, "k", b"2", if_version=first)
    assert await state.delete(OWN, "k", if_version=second)
    with pytest.raises(VersionConflict):
        await state.put(OWN, "k", b"3", if_version=second)


async def test_a_version_never_comes_twice_even_over_a_deletion(state: State, db: Database) -> None:
    seen = [await state.put(OWN, "k", b"1", ttl_s=60)]
    await expire(db, "k")
    seen.append(await state.put(OWN, "k", b"1", if_version=0))  # what is past its time is not there
    await state.delete(OWN, "k")
    seen.append(await state.put(OWN, "k", b"1"))
    assert seen == sorted(set(seen))


async def test_one_of_many_who_see_the_same_version_wins(state: State) -> None:
    version = await state.put(OWN, "n", b"0")
    won: list[int] = []

    async def count(number: int) -> None:
        try:
            await state.put(OWN, "n", str(number).encode(), if_version=version)
        except VersionConflict:
            return
        won.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(count, number)
    assert len(won) == 1


async def test_what_is_past_its_time_is_gone_at_once_and_forgotten_by_upkeep(state: State, db: Database) -> None:
    await state.put(OWN, "short", b"1", ttl_s=60)
    await state.put(OWN, "long", b"1", ttl_s=86400)
    await state.put(OWN, "ever", b"1")
    await expire(db, "short")
    assert await state.get(OWN, "short") is None
    assert [entry.key for entry in (await state.list(OWN)).items] == ["ever", "long"]
    assert not await state.delete(OWN, "short")
    await Retention(db).keep()
    rows = await db.fetch("SELECT key FROM function_state ORDER BY key")
    assert [row["key"] for row in rows] == ["ever", "long"]


async def test_keys_are_listed_by_prefix_in_byte_order_and_page_by_page(state: State) -> None:
    for key in ("b/1", "a/2", "a/10", "a/1", "a", "B", "a%"):
        await state.put(OWN, key, b"1")
    assert [entry.key for entry in (await state.list(OWN)).items] == ["B", "a", "a%", "a/1", "a/10", "a/2", "b/1"]
    first = await state.list(OWN, prefix="a/", limit=2)
    assert ([entry.key for entry in first.items], first.has_more, first.total) == (["a/1", "a/10"], True, 3)
    rest = await state.list(OWN, prefix="a/", limit=2, after="a/10")
    assert ([entry.key for entry in rest.items], rest.has_more) == (["a/2"], False)
    assert [entry.key for entry in (await state.list(OWN, prefix="a/", limit=2, offset=2)).items] == ["a/2"]
    assert [entry.key for entry in (await state.list(OWN, prefix="a%")).items] == ["a%"]


async def test_a_store_holds_so_many_keys_and_no_more_whoever_adds_them(state: State) -> None:
    full = 0

    async def add(number: int) -> None:
        nonlocal full
        try:
            await state.put(OWN, f"k{number}", b"1")
        except StateFull:
            full += 1

    async with anyio.create_task_group() as tasks:
        for number in range(14):
            tasks.start_soon(add, number)
    assert full == 4
    kept = (await state.list(OWN)).items[0].key
    await state.put(OWN, kept, b"2")  # changing one needs no room
    await state.delete(OWN, kept)
    await state.put(OWN, "another", b"1")


@pytest.mark.parametrize("key", ["", "x" * 513, "\u2603" * 171, "a\0b", "a\nb"])
async def test_a_key_that_can_not_be_is_refused(state: State, key: str) -> None:
    with pytest.raises(InvalidRequest):
        await state.put(OWN, key, b"1")


async def test_a_value_that_is_too_large_is_refused(state: State) -> None:
    await state.put(OWN, "k" * 512, b"1" * MAX_VALUE_BYTES)
    with pytest.raises(StateValueTooLarge):
        await state.put(OWN, "k", b"1" * (MAX_VALUE_BYTES + 1))


async def test_a_functions_keys_go_with_it_and_shared_ones_with_their_namespace(state: State, db: Database) -> None:
    await Tenancy(db).create_namespace("default", "other")
    other = Store(tenant="default", namespace="other", name="s", is_shared=True)
    for store in (OWN, SHARED, other):
        await state.put(store, "k", b"1")
    await Functions(db).delete("default", "default", "f")
    assert await state.get(OWN, "k") is None
    assert await state.get(SHARED, "k") is not None
    with pytest.raises(NotFound):
        await state.put(OWN, "k", b"1")
    await Tenancy(db).delete_namespace("default", "other")
    assert await state.get(other, "k") is None
    with pytest.raises(NotFound):
        await state.put(other, "k", b"1")
