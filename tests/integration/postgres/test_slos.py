"""Objectives of functions over the log: what is told of a breach and of its end, once, whoever looks and however often."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from constellation.base.ids import uuid7
from constellation.nova.domain.function import Function
from constellation.nova.domain.slo import CONFIRM_LOOKS, Objective, Slo, SloPolicy
from constellation.nova.service.slos import SloKeeper
from constellation.nova.store.functions import Functions
from constellation.nova.store.invocations import Invocations
from constellation.nova.store.pool import Database, DatabaseUnavailable, connect
from constellation.nova.store.slos import Slos
from constellation.nova.store.tenancy import Tenancy

from .test_invocations import record

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

SUCCESS, P95 = Objective.SUCCESS_RATE, Objective.P95_DURATION
POLICY = SloPolicy(window_s=900, min_samples=5, success_rate_pct=80.0)


@pytest.fixture
async def own(database) -> AsyncIterator[Database]:
    """As the role that nova has."""
    async with connect(database.dsn("nova"), application="nova", min_size=0, max_size=2) as db:
        yield db


class Time:
    """Passes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s

    async def rounds(self, keeper: SloKeeper, count: int = CONFIRM_LOOKS) -> None:
        for _ in range(count):
            await keeper.round()
            self.now_s += POLICY.look_s


async def made(db: Database, name: str = "hello", tenant: str = "default") -> Function:
    new = Function(tenant=tenant, namespace="default", name=name, id=uuid7(), runtime="python", handler="main.handler")
    return await Functions(db).create(new, {"main.py": b"0"})


async def called(db: Database, function: Function, count: int, *, age_s: float = 0.0, **more: object) -> None:
    facts = {"tenant": function.tenant, "function_name": function.name, "function_id": function.id} | more
    await Invocations(db).record([record(age_s=age_s, **facts) for _ in range(count)])


async def notices(db: Database) -> list[tuple[str, str, str]]:
    rows = await db.fetch("SELECT kind, subject, detail FROM notices ORDER BY id")
    return [(row["kind"], row["subject"], row["detail"]) for row in rows]


async def test_a_policy_is_replaced_and_what_is_asked_as_before_stays_missed(own: Database, db: Database) -> None:
    function, slos = await made(db), Slos(own)
    assert not (await slos.get(function)).policy.enabled
    await slos.put(function, replace(POLICY, p95_duration_ms=5.0))
    slo = await slos.get(function)
    assert (slo.policy, slo.breached, slo.breached_at) == (replace(POLICY, p95_duration_ms=5.0), frozenset(), None)
    settled = await slos.settle(slo, frozenset({SUCCESS, P95}), kind=None, detail="")
    assert settled is not None
    await slos.put(function, replace(POLICY, p95_duration_ms=6.0))
    slo = await slos.get(function)
    assert slo.breached == {SUCCESS}
    assert slo.breached_at is not None
    assert await slos.settle(settled, frozenset(), kind=None, detail="") is None  # it knew the policy before
    await slos.put(function, replace(POLICY, enabled=False))
    assert (await slos.get(function)).breached_at is None
    assert await slos.enabled(None, limit=10) == ()
    await slos.delete(function)
    assert not (await slos.get(function)).policy.enabled


async def test_a_snapshot_is_of_the_window_and_of_what_says_something(own: Database, db: Database) -> None:
    function, slos = await made(db), Slos(own)
    await slos.put(function, POLICY)
    slo = await slos.get(function)
    empty = await slos.snapshot(slo)
    assert (empty.calls, empty.p95_ms, empty.actual(SUCCESS)) == (0, None, None)
    await called(db, function, 8, duration_ms=10.0)
    await called(db, function, 2, status="timeout", duration_ms=20.0, cold_start=True)
    await called(db, function, 7, status="cancelled")
    await called(db, function, 7, status="invalid_request")
    await called(db, function, 7, age_s=POLICY.window_s + 60)
    await called(db, function, 7, function_id=uuid7())  # of one before it, of the same name
    await called(db, await made(db, "other"), 7)
    found = await slos.snapshot(slo)
    assert (found.calls, found.errors, found.cold_starts, found.p95_ms) == (10, 2, 2, 20.0)
    assert (found.until - found.since).total_seconds() == POLICY.window_s


async def test_a_breach_and_its_end_are_told_once_also_by_a_keeper_that_began_meanwhile(
    own: Database, db: Database
) -> None:
    function, slos, time = await made(db), Slos(own), Time()
    await slos.put(function, POLICY)
    keeper = SloKeeper(slos, now_s=time)
    await called(db, function, 10, status="function_error")
    await time.rounds(keeper, CONFIRM_LOOKS - 1)
    assert await notices(db) == []
    await time.rounds(keeper, 10)
    (breach,) = await notices(db)
    assert breach[:2] == ("slo_breached", "hello")
    assert breach[2].startswith("0.00 % of calls succeeded, at least 80 % should (10 calls")
    assert (await slos.get(function)).breached == {SUCCESS}

    for successor in (SloKeeper(slos, now_s=time), SloKeeper(slos, now_s=time)):  # after a restart, and again
        await time.rounds(successor, 10)
    assert len(await notices(db)) == 1

    await called(db, function, 90)
    first, second = SloKeeper(slos, now_s=time), SloKeeper(slos, now_s=time)  # two that look at a time
    for _ in range(10):
        await first.round()
        await second.round()
        time.now_s += POLICY.look_s
    assert [kind for kind, _, _ in await notices(db)] == ["slo_breached", "slo_met"]
    assert (await slos.get(function)).breached_at is None


async def test_one_more_objective_is_told_of_and_the_end_when_none_is_missed(own: Database, db: Database) -> None:
    function, slos, time = await made(db), Slos(own), Time()
    await slos.put(function, replace(POLICY, p95_duration_ms=100.0))
    keeper = SloKeeper(slos, now_s=time)
    await called(db, function, 10, status="function_error")
    await time.rounds(keeper)
    await called(db, function, 10, duration_ms=500.0)
    await time.rounds(keeper)
    await called(db, function, 100)  # most succeed now: only p95 is missed
    await time.rounds(keeper)
    assert (await slos.get(function)).breached == {P95}
    assert [kind for kind, _, _ in await notices(db)] == ["slo_breached", "slo_breached"]
    await called(db, function, 200)
    await time.rounds(keeper)
    assert [kind for kind, _, _ in await notices(db)] == ["slo_breached", "slo_breached", "slo_met"]
    assert "p95 is 1.5 ms" in (await notices(db))[2][2]


async def test_what_goes_is_watched_no_more_and_takes_its_policy_along(own: Database, db: Database) -> None:
    function, slos, time = await made(db), Slos(own), Time()
    await Tenancy(db).create_tenant("acme", name="")
    theirs = await made(db, tenant="acme")
    for each in (function, theirs):
        await slos.put(each, POLICY)
        await called(db, each, 10, status="function_error")
    found = await slos.enabled(None, limit=1)
    assert [each.tenant for each in found] == ["acme"]
    assert [each.tenant for each in await slos.enabled(found[-1], limit=10)] == ["default"]
    keeper = SloKeeper(slos, now_s=time)
    await time.rounds(keeper, CONFIRM_LOOKS - 1)
    await Functions(own).delete("default", "default", "hello")
    await time.rounds(keeper)
    assert [subject for _, subject, _ in await notices(db)] == ["hello"]  # of acme's
    assert await db.fetch_value("SELECT string_agg(tenant, ',') FROM notices") == "acme"
    await Tenancy(own).delete_tenant("acme")
    assert await db.fetch_value("SELECT count(*) FROM function_slos") == 0


async def test_one_function_that_can_not_be_looked_at_keeps_none_from_being(own: Database, db: Database) -> None:
    function, broken, slos, time = await made(db), await made(db, "broken"), Slos(own), Time()

    class Half(Slos):
        async def snapshot(self, slo: Slo):
            if slo.function_name == broken.name:
                raise DatabaseUnavailable(reason="it takes too long")
            return await super().snapshot(slo)

    for each in (function, broken):
        await slos.put(each, POLICY)
        await called(db, each, 10, status="function_error")
    await time.rounds(SloKeeper(Half(own), now_s=time))
    assert [subject for _, subject, _ in await notices(db)] == ["hello"]
