"""The state machine of a function's instances."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from constellation.comet.pool.state import Group, State, Waiter, same_sandbox
from constellation.nova.domain.function import CapacityPolicy, Function

FUNCTION = Function(tenant="t", namespace="n", name="f", id=UUID(int=1), runtime="python", handler="main.handler")


def group(**fields: object) -> Group[None]:
    return Group(replace(FUNCTION, **fields))


def booted(target: Group[None], number: int):
    member = target.add(number)
    assert target.ready(member, now_s=0.0)
    return member


def test_the_member_that_served_last_serves_next():
    target = group()
    first, second = booted(target, 1), booted(target, 2)
    assert target.take() is second
    assert target.take() is first
    assert target.take() is None
    target.release(first, is_broken=False, now_s=1.0)
    target.release(second, is_broken=False, now_s=2.0)
    assert target.take() is second


def test_a_member_takes_calls_up_to_its_concurrency():
    target = group(instance_concurrency=2)
    member = booted(target, 1)
    assert [target.take(), target.take(), target.take()] == [member, member, None]
    target.release(member, is_broken=False, now_s=1.0)
    assert member.state is State.BUSY
    assert target.take() is member


def test_a_broken_call_drains_the_member():
    target = group(instance_concurrency=2)
    member = booted(target, 1)
    target.take()
    target.take()
    assert not target.release(member, is_broken=True, now_s=1.0)
    assert member.state is State.DRAINING
    assert target.take() is None
    assert target.release(member, is_broken=False, now_s=2.0)
    assert member.state is State.DEAD
    assert target.current == 1  # until its sandbox is gone
    target.gone(member)
    assert (target.current, target.leases, target.is_empty) == (0, 0, True)


def test_new_code_begins_a_generation():
    target = group()
    busy, lazy = booted(target, 1), booted(target, 2)
    late = target.add(3)
    assert target.take() is lazy
    assert target.update(replace(FUNCTION, version=2, code_version=2)) == [busy]
    assert (busy.state, lazy.state, target.current, target.booting) == (State.DEAD, State.DRAINING, 0, 0)
    assert not target.ready(late, now_s=1.0)  # its boot came too late
    assert target.take() is None
    assert target.release(lazy, is_broken=False, now_s=1.0)
    for member in (busy, lazy, late):
        target.gone(member)
    assert target.current == 0


@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        ({"timeout_s": 1.0, "halted": True, "max_replicas": 3, "capacity": CapacityPolicy(max_inflight=1)}, True),
        ({"version": 9, "description": "x", "min_replicas": 1, "max_payload_bytes": 1}, True),
        ({"code_version": 2}, False),
        ({"code_hash": "x"}, False),
        ({"handler": "other.handler"}, False),
        ({"memory_mb": 256}, False),
        ({"env": {"A": "1"}}, False),
        ({"instance_concurrency": 2}, False),
    ],
)
def test_a_policy_needs_no_new_sandbox(change, is_same):
    assert same_sandbox(FUNCTION, replace(FUNCTION, **change)) is is_same


def test_a_call_that_a_boot_will_serve_is_not_in_line():
    target = group()
    target.add(1)
    target.waiters.update({n: Waiter(n, 0.0) for n in range(3)})
    assert target.in_line == 2
    assert [target.is_covered(waiter) for waiter in target.waiters.values()] == [True, False, False]
    assert target.next_waiter().number == 0
