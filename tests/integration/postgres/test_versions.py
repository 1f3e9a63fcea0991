from __future__ import annotations

from dataclasses import fields, replace
from uuid import UUID

import pytest

from constellation.base.errors import NotFound, StateConflict, VersionConflict
from constellation.base.ids import uuid7
from constellation.nova.domain.function import CapacityPolicy, Function
from constellation.nova.domain.network import NetworkPolicy
from constellation.nova.domain.version import UNVERSIONED
from constellation.nova.store.functions import KEPT_UNUSED_CODE, Functions
from constellation.nova.store.pool import Database
from constellation.nova.store.versions import Versions

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

HERE = ("default", "default", "hello")
CODE = {"main.py": b"def handler(event, context): return event"}


def function(**changes: object) -> Function:
    tenant, namespace, name = HERE
    new = Function(tenant=tenant, namespace=namespace, name=name, id=uuid7(), runtime="python", handler="main.handler")
    return replace(new, **changes)


async def numbers(db: Database, current: Function) -> list[int]:
    return [each.number for each in (await Versions(db).list(current)).items]


async def code_numbers(db: Database, function_id: UUID) -> list[int]:
    rows = await db.fetch("SELECT version FROM function_code WHERE function_id = $1 ORDER BY version", function_id)
    return [row["version"] for row in rows]


async def test_each_change_of_code_or_configuration_makes_a_version_and_nothing_else_does(db: Database) -> None:
    functions, versions = Functions(db), Versions(db)
    first = await functions.create(function(env={"A": "1"}, capacity=CapacityPolicy(max_inflight=3)), CODE)
    assert first.live_version == 1
    second = await functions.update(replace(first, env={"A": "2"}))
    third = await functions.update(second, files={"main.py": b"new"})
    assert (third.live_version, third.newest_version, third.code_version) == (3, 3, 2)
    halted = await functions.update(replace(third, halted=True))
    kept = await functions.update(replace(halted, kept_versions=50))
    assert (kept.live_version, kept.version) == (3, 5)

    was = await versions.get(*HERE, 1)
    assert not was.is_live
    assert (was.function.env, was.function.capacity.max_inflight) == ({"A": "1"}, 3)
    assert was.function.halted  # a switch is no version's
    assert (await functions.code("default", was.function.id, was.function.code_version)).files == CODE
    assert (await versions.get(*HERE, 3)).is_live
    assert await numbers(db, kept) == [3, 2, 1]
    page = await versions.list(kept, limit=1, offset=1)
    assert [each.number for each in page.items] == [2]
    assert (page.total, page.has_more) == (3, True)
    for missing in (4, 0):
        with pytest.raises(NotFound):
            await versions.get(*HERE, missing)
    with pytest.raises(NotFound):
        await versions.get("other", "default", "hello", 1)


async def test_a_function_goes_back_past_fifty_versions_and_on_from_there(db: Database) -> None:
    functions, versions = Functions(db), Versions(db)
    first = current = await functions.create(function(network=NetworkPolicy(deny=("10.0.0.0/8",))), CODE)
    for number in range(60):
        current = await functions.update(replace(current, description=str(number)), files={"main.py": b"%d" % number})
    assert current.live_version == 61

    back = await functions.activate(current, (await versions.get(*HERE, 1)).function)
    assert (back.live_version, back.newest_version, back.code_version) == (1, 61, 1)
    unlike = {each.name for each in fields(Function) if getattr(back, each.name) != getattr(first, each.name)}
    assert unlike == {"version", "updated_at", "newest_version", "newest_code_version"}
    with pytest.raises(VersionConflict):
        await functions.activate(current, (await versions.get(*HERE, 2)).function)

    on = await functions.update(replace(back, memory_mb=256))
    assert on.live_version == 62
    newer = await functions.update(on, files={"main.py": b"newer"})
    assert (newer.live_version, newer.code_version) == (63, 62)
    assert (await functions.code("default", newer.id, 61)).files == {"main.py": b"59"}  # no number is given twice


async def test_a_function_keeps_as_many_versions_as_it_says_and_the_live_one(db: Database) -> None:
    functions, versions = Functions(db), Versions(db)
    current = await functions.create(function(kept_versions=5), CODE)
    for number in range(20):
        current = await functions.update(current, files={"main.py": b"%d" % number})
    assert await numbers(db, current) == [21, 20, 19, 18, 17]
    assert min(await code_numbers(db, current.id)) == 21 - KEPT_UNUSED_CODE + 1

    current = await functions.activate(current, (await versions.get(*HERE, 17)).function)
    current = await functions.update(replace(current, kept_versions=1))
    assert await numbers(db, current) == [21, 17]
    assert (await functions.code("default", current.id, 17)).files == {"main.py": b"15"}
    current = await functions.update(replace(current, memory_mb=256))
    assert await numbers(db, current) == [22]


async def test_a_version_is_deleted_unless_it_is_live(db: Database) -> None:
    functions, versions = Functions(db), Versions(db)
    current = await functions.create(function(), CODE)
    current = await functions.update(replace(current, memory_mb=256))
    with pytest.raises(StateConflict):
        await versions.delete("default", current.id, 2)
    await versions.delete("default", current.id, 1)
    with pytest.raises(NotFound):
        await versions.delete("default", current.id, 1)
    assert await numbers(db, current) == [2]
    assert await versions.before_live(current) is None
    await functions.delete(*HERE)
    assert await db.fetch_value("SELECT count(*) FROM function_versions") == 0


async def test_code_becomes_a_version_when_it_is_built(db: Database) -> None:
    functions, versions = Functions(db), Versions(db)
    current = await functions.create(function(), CODE, needs_build=True)
    assert (current.live_version, await numbers(db, current)) == (0, [])
    current = await functions.update(replace(current, memory_mb=256))
    assert (current.live_version, current.newest_code_version) == (0, 1)
    async with db.transaction() as tx:
        await tx.execute(
            "UPDATE functions SET code_version = 1, code_hash = pending_hash, pending_version = NULL, "
            "pending_hash = NULL, pending_handler = NULL"
        )
    assert await numbers(db, current) == [1]
    live = await functions.get(*HERE)
    pending = await functions.update(live, files={"main.py": b"new"}, needs_build=True)
    assert (pending.live_version, pending.pending is None) == (1, False)
    back = await functions.activate(pending, (await versions.get(*HERE, 1)).function)
    assert (back.pending, back.live_version) == (None, 1)
    assert await db.fetch_value("SELECT count(*) FROM builds WHERE state = 'pending'") == 0


async def test_what_is_versioned_is_said_twice_and_alike(db: Database) -> None:
    await Functions(db).create(function(), CODE)
    columns = set(
        await db.fetch_value("SELECT array_agg(key) FROM functions, jsonb_object_keys(versioned(functions)) AS key")
    )
    everything = {
        row["column_name"]
        for row in await db.fetch("SELECT column_name FROM information_schema.columns WHERE table_name = 'functions'")
    }
    left_out = {name for name in everything - columns if not name.startswith("pending_")}
    assert left_out == UNVERSIONED - {"pending"}
