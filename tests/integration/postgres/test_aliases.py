from __future__ import annotations

from dataclasses import replace

import pytest

from constellation.base.errors import InvalidRequest, NotFound, StateConflict
from constellation.base.ids import uuid7
from constellation.nova.domain.alias import MAX_ALIASES, Alias, shares_of
from constellation.nova.domain.change import ChangeKind
from constellation.nova.domain.function import Function
from constellation.nova.domain.job import NewJob
from constellation.nova.store.aliases import Aliases
from constellation.nova.store.changes import Changes
from constellation.nova.store.functions import Functions
from constellation.nova.store.jobs import Failure, Jobs
from constellation.nova.store.pool import Database
from constellation.nova.store.versions import Versions

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


async def deployed(db: Database, *, versions: int, kept: int = 100) -> Function:
    functions = Functions(db)
    new = Function(
        tenant="default",
        namespace="default",
        name="hello",
        id=uuid7(),
        runtime="python",
        handler="main.handler",
        kept_versions=kept,
    )
    current = await functions.create(new, {"main.py": b"0"})
    for number in range(1, versions):
        current = await functions.update(current, files={"main.py": b"%d" % number})
    return current


async def test_an_alias_stands_for_versions_and_tells_whoever_follows(db: Database) -> None:
    function, aliases, changes = await deployed(db, versions=3), Aliases(db), Changes(db)
    head = await changes.head()
    made = await aliases.put("default", function.id, Alias(name="prod", shares=shares_of({1: 90, 3: 10})))
    assert (made.version, {s.version: s.weight for s in made.shares}) == (1, {1: 90, 3: 10})
    (change,) = await changes.after(head)
    assert (change.kind, change.name) == (ChangeKind.FUNCTION, "hello")

    named, versions = await aliases.served(await Functions(db).get(*function.key), also={2, 9})
    assert [each.name for each in named] == ["prod"]
    assert [(each.pin, each.live_version, each.code_version) for each in versions] == [(1, 1, 1), (2, 2, 2), (3, 3, 3)]

    changed = await aliases.put("default", function.id, replace(made, shares=shares_of({2: 100}), is_sticky=True))
    assert (changed.version, changed.is_sticky, changed.versions) == (2, True, {2})
    with pytest.raises(NotFound):
        await aliases.put("default", function.id, replace(made, shares=shares_of({2: 50, 7: 50})))
    assert await aliases.list("default", function.id) == (changed,)
    await aliases.delete("default", function.id, "prod")
    with pytest.raises(NotFound):
        await aliases.delete("default", function.id, "prod")
    with pytest.raises(NotFound):
        await aliases.get("default", function.id, "prod")
    with pytest.raises(NotFound):
        await aliases.put("default", uuid7(), made)


async def test_a_version_that_an_alias_names_is_kept(db: Database) -> None:
    function, aliases, functions = await deployed(db, versions=3, kept=2), Aliases(db), Functions(db)
    await aliases.put("default", function.id, Alias(name="old", shares=shares_of({2: 100})))
    for number in range(20):
        function = await functions.update(function, files={"main.py": b"later %d" % number})
    versions = Versions(db)
    assert [each.number for each in (await versions.list(function)).items] == [23, 22, 2]
    assert (await functions.code("default", function.id, 2)).files == {"main.py": b"1"}
    with pytest.raises(StateConflict):
        await versions.delete("default", function.id, 2)
    await aliases.delete("default", function.id, "old")
    await versions.delete("default", function.id, 2)
    await aliases.put("default", function.id, Alias(name="new", shares=shares_of({22: 50, 23: 50})))
    await functions.delete(*function.key)
    assert await db.fetch_value("SELECT count(*) FROM function_alias_shares") == 0


async def test_a_function_has_a_bounded_number_of_aliases(db: Database) -> None:
    function, aliases = await deployed(db, versions=1), Aliases(db)
    for number in range(MAX_ALIASES):
        await aliases.put("default", function.id, Alias(name=f"a{number}", shares=shares_of({1: 100})))
    with pytest.raises(InvalidRequest):
        await aliases.put("default", function.id, Alias(name="more", shares=shares_of({1: 100})))
    assert len(await aliases.list("default", function.id)) == MAX_ALIASES


def execution(qualifier: str = "", **more: object) -> NewJob:
    facts = {"tenant": "default", "namespace": "default", "function_name": "hello", "payload": b"1", "subject": "t"}
    return NewJob(**(facts | {"is_durable": True, "qualifier": qualifier} | more))


async def test_an_execution_begins_with_the_version_of_that_moment_whatever_its_caller_knew(db: Database) -> None:
    function, aliases, jobs = await deployed(db, versions=3), Aliases(db), Jobs(db)
    prod = await aliases.put("default", function.id, Alias(name="prod", shares=shares_of({1: 50, 2: 50})))

    async def begun(qualifier: str = "", **more: object) -> str:
        return (await jobs.enqueue(execution(qualifier, **more))).job.qualifier

    assert [await begun(), await begun("2"), await begun(idempotency_key="k")] == ["3", "2", "3"]
    assert {await begun("prod") for _ in range(40)} == {"1", "2"}  # all alike: once in 2**39
    await aliases.put("default", function.id, replace(prod, shares=shares_of({1: 0, 3: 100})))
    await Functions(db).update(function, files={"main.py": b"newer"})
    assert [await begun(), await begun("prod"), await begun(idempotency_key="k")] == ["4", "3", "3"]
    for unknown in ("5", "stage", "01"):
        with pytest.raises(NotFound):
            await begun(unknown)
    # A plain job asks anew in each run.
    assert (await jobs.enqueue(execution("prod", is_durable=False))).job.qualifier == "prod"


async def test_an_execution_is_tried_again_with_what_a_name_means_then(db: Database) -> None:
    function, aliases, jobs = await deployed(db, versions=2), Aliases(db), Jobs(db)
    prod = await aliases.put("default", function.id, Alias(name="prod", shares=shares_of({1: 100})))
    job = (await jobs.enqueue(execution("prod"))).job
    for wanted, number in ((None, "1"), ("", "2"), ("prod", "1"), ("2", "2")):
        (claim,) = await jobs.claim(owner="w", lease_s=60, limit=1)
        await jobs.fail([Failure(claim=claim, request_id=None, error=b"{}", duration_ms=None, retry_after_s=None)])
        with pytest.raises(NotFound):
            await jobs.retry("default", "default", job.id, qualifier="none")
        assert (await jobs.retry("default", "default", job.id, qualifier=wanted)).qualifier == number
    assert prod.versions == {1}
