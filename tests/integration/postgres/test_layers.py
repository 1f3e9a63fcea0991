from __future__ import annotations

from dataclasses import replace

import pytest

from constellation.base.errors import NotFound
from constellation.base.ids import uuid7
from constellation.nova.domain.function import Function, code_hash
from constellation.nova.domain.layer import Layer, LayerInUse, LayerUnknown
from constellation.nova.store.functions import Functions
from constellation.nova.store.layers import Layers
from constellation.nova.store.pool import Database
from constellation.nova.store.tenancy import Tenancy
from constellation.nova.store.versions import Versions

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

CODE = {"main.py": b"def handler(event, context): return event"}
FILES = {"python/a.py": b"1", "python/b.py": b"2"}


async def publish(db: Database, name: str, files: dict[str, bytes], tenant: str = "default") -> Layer:
    layer, _ = await Layers(db).publish(tenant, name, files, digest=code_hash(files), description="", runtimes=())
    return layer


def function(*layers: Layer, tenant: str = "default") -> Function:
    pins = tuple(layer.pin for layer in layers)
    return Function(
        tenant=tenant, namespace="default", name="f", id=uuid7(), runtime="python", handler="main.handler", layers=pins
    )


async def contents(db: Database, tenant: str = "default") -> set[str]:
    return {row["hash"] for row in await db.fetch("SELECT hash FROM layer_contents WHERE tenant = $1", tenant)}


async def test_a_version_never_changes_and_equal_content_is_kept_once(db: Database) -> None:
    layers = Layers(db)
    first = await publish(db, "one", FILES)
    assert (first.version, first.size_bytes, first.files_count) == (1, 2, 2)
    assert await publish(db, "one", FILES) == first
    second = await publish(db, "one", {**FILES, "c": b""})
    third = await publish(db, "one", FILES)
    assert (second.version, third.version, third.hash) == (2, 3, first.hash)
    await publish(db, "two", FILES)
    assert await contents(db) == {first.hash, second.hash}
    assert [each.version for each in (await layers.versions("default", "one")).items] == [3, 2, 1]
    assert [(each.name, each.version) for each in (await layers.list("default")).items] == [("one", 3), ("two", 1)]
    assert (await layers.list("default", search="W", limit=1)).total == 1
    found = await layers.files(first, limit=1)
    assert ([each.path for each in found.items], found.total, found.has_more) == (["python/a.py"], 2, True)
    assert {path: content async for path, content in layers.content("default", first.hash)} == FILES


async def test_what_a_function_or_a_kept_version_uses_stays(db: Database) -> None:
    functions, layers, versions = Functions(db), Layers(db), Versions(db)
    one, two = await publish(db, "one", FILES), await publish(db, "two", {"x": b""})
    made = await functions.create(function(one), CODE)
    changed = await functions.update(replace(made, layers=(two.pin,)))
    assert changed.live_version == 2
    assert (await versions.get("default", "default", "f", 1)).function.layers == (one.pin,)
    with pytest.raises(LayerInUse) as refused:
        await layers.delete("default", "one")
    assert refused.value.extras["users"] == ["default/f version 1"]
    with pytest.raises(LayerInUse) as refused:
        await layers.delete("default", "two", 1)
    assert refused.value.extras["users"] == ["default/f", "default/f version 2"]

    await versions.delete("default", changed.id, 1)
    await layers.delete("default", "one", 1)
    assert await contents(db) == {two.hash}
    assert (await publish(db, "one", FILES)).version == 2  # no number means two things
    await functions.delete("default", "default", "f")
    await layers.delete("default", "two")
    with pytest.raises(NotFound):
        await layers.delete("default", "two")


async def test_a_content_that_another_version_holds_stays(db: Database) -> None:
    layers = Layers(db)
    one, two = await publish(db, "one", FILES), await publish(db, "two", FILES)
    await layers.delete("default", "one")
    assert await contents(db) == {two.hash} == {one.hash}


async def test_a_function_can_not_use_what_is_not_there(db: Database) -> None:
    functions, layers = Functions(db), Layers(db)
    one = await publish(db, "one", FILES)
    await layers.delete("default", "one")
    with pytest.raises(LayerUnknown):
        await functions.create(function(one), CODE)
    made = await functions.create(function(), CODE)
    with pytest.raises(LayerUnknown):
        await functions.update(replace(made, layers=(one.pin,)))


async def test_layers_are_their_tenants_and_go_with_it(db: Database) -> None:
    functions, layers, tenancy = Functions(db), Layers(db), Tenancy(db)
    mine = await publish(db, "one", FILES)
    await tenancy.create_tenant("other")
    theirs = await publish(db, "one", FILES, tenant="other")
    await functions.create(function(mine), CODE)
    await functions.create(function(theirs, tenant="other"), CODE)
    await publish(db, "secret", {"s": b""}, tenant="other")
    assert await layers.try_get("default", "secret") is None
    assert (await layers.users("default", "one")).total == 2
    await tenancy.delete_tenant("other")
    assert await contents(db, "other") == set()
    assert await contents(db) == {mine.hash}
    assert (await layers.users("default", "one")).total == 2
