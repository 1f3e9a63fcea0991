"""Which boot or eviction comes next."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from constellation.comet.pool.decide import (
    Boot,
    Bounds,
    Evict,
    boots_for_calls,
    boots_for_warmth,
    expired,
    least_recently_used,
    next_step,
    should_yield,
)
from constellation.comet.pool.state import Group, State, Waiter
from constellation.nova.domain.function import Function

BOUNDS = Bounds(max_instances=4, max_boots=2, idle_ttl_s=60.0)


def group(number: int, **fields: object) -> Group[None]:
    function = Function(
        tenant="t", namespace="n", name=f"f{number}", id=UUID(int=number), runtime="python", handler="main.handler"
    )
    return Group(replace(function, **fields))


def wait(target: Group[None], *since_s: float) -> None:
    for at in since_s:
        target.waiters[len(target.waiters)] = Waiter(len(target.waiters), at)


def idle(target: Group[None], number: int, *, since_s: float):
    member = target.add(number)
    target.ready(member, now_s=since_s)
    return member


@pytest.mark.parametrize(
    ("waiters", "booting", "concurrency", "max_replicas", "wanted"),
    [
        (0, 0, 1, 10, 0),
        (3, 0, 1, 10, 3),  # as many boots as waiters
        (3, 2, 1, 10, 1),
        (3, 3, 1, 10, 0),
        (9, 0, 4, 10, 3),  # an instance seats several
        (9, 0, 1, 5, 5),  # never over max_replicas
        (9, 4, 1, 5, 1),
    ],
)
def test_calls_ask_for_boots(waiters, booting, concurrency, max_replicas, wanted):
    asking = group(1, instance_concurrency=concurrency, max_replicas=max_replicas)
    for number in range(booting):
        asking.add(number)
    wait(asking, *range(waiters))
    assert boots_for_calls(asking) == wanted


def test_warmth_asks_for_boots_unless_they_keep_failing():
    warm = group(1, min_replicas=2)
    assert boots_for_warmth(warm, now_s=0.0) == 2
    idle(warm, 1, since_s=0.0)
    assert boots_for_warmth(warm, now_s=0.0) == 1
    warm.prewarm_after_s = 5.0
    assert boots_for_warmth(warm, now_s=4.9) == 0
    assert boots_for_warmth(warm, now_s=5.0) == 1


def step(asking, everybody=None, *, total=0, booting=0, dying=0):
    return next_step(asking, everybody or asking, BOUNDS, total=total, booting=booting, dying=dying)


def test_a_boot_is_started_while_there_is_room():
    asking = group(1)
    wait(asking, 0.0)
    assert step([asking]) == Boot(asking)
    assert step([asking], booting=2) is None
    assert step([]) is None


def test_a_full_node_gives_up_the_member_that_nobody_used_for_longest():
    asking, old, new = group(1), group(2), group(3)
    wait(asking, 0.0)
    victim = idle(old, 1, since_s=1.0)
    idle(new, 2, since_s=2.0)
    assert step([asking], [asking, new, old], total=4) == Evict(old, victim)
    # Its place is coming already.
    assert step([asking], [asking, new, old], total=4, dying=1) is None


def test_what_min_replicas_keeps_is_given_up_last():
    kept, spare = group(1, min_replicas=1), group(2)
    reserved = idle(kept, 1, since_s=0.0)
    other = idle(spare, 2, since_s=9.0)
    assert least_recently_used([kept, spare]) == (spare, other)
    spare.bury(other)
    assert least_recently_used([kept, spare]) == (kept, reserved)
    kept.take()
    assert least_recently_used([kept, spare]) is None


def test_a_function_without_any_instance_gets_its_turn():
    busy, starving = group(1), group(2)
    wait(busy, 5.0)
    wait(starving, 4.0)
    assert should_yield(busy, [busy, starving])
    idle(starving, 1, since_s=0.0)
    assert not should_yield(busy, [starving])
    late = group(3)
    wait(late, 6.0)
    assert not should_yield(busy, [late])


def test_idle_members_expire_but_for_min_replicas():
    shelf = group(1, min_replicas=1)
    first, second = idle(shelf, 1, since_s=0.0), idle(shelf, 2, since_s=10.0)
    assert expired(shelf, BOUNDS, now_s=59.0) == []
    assert expired(shelf, BOUNDS, now_s=60.0) == [first]
    assert expired(shelf, BOUNDS, now_s=100.0) == [first]  # one stays
    shelf.function = replace(shelf.function, min_replicas=0)
    assert expired(shelf, BOUNDS, now_s=100.0) == [first, second]
    shelf.take()
    assert second.state is State.BUSY
    assert expired(shelf, BOUNDS, now_s=100.0) == [first]
