"""The pool's effects, where the order of two events in one tick decides."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import anyio
import pytest

from constellation.base.errors import NotFound
from constellation.comet.backend.contract import Call, CallTimeout, InstanceSpec, SandboxStartFailed
from constellation.comet.pool.pool import Lease, Pool, Served
from constellation.comet.pool.rows import same_sandbox
from constellation.comet.refusals import BreakerOpen, CometDraining, QueueWaitTimeout
from constellation.native.table import Table
from constellation.native.table_values import Ask, CallHandle, TableOptions
from constellation.nova.domain.function import CapacityPolicy, Function, Mode
from constellation.testing.fake_backend import FakeBackend, Script
from constellation.testing.simulation import VirtualClock

pytestmark = pytest.mark.anyio

FUNCTION = Function(
    tenant="t",
    namespace="n",
    name="f",
    id=UUID(int=1),
    runtime="python",
    handler="main.handler",
    max_replicas=1,
    capacity=CapacityPolicy(max_queue_wait_s=60.0),
)


class Sources:
    async def acquire(self, function: Function) -> InstanceSpec:
        return InstanceSpec(
            tenant=function.tenant,
            namespace=function.namespace,
            function_id=function.id,
            function_name=function.name,
            function_version="1",
            runtime="python",
            handler="main.handler",
            code_dir=Path("/nowhere"),
        )

    def release_nowait(self, spec: InstanceSpec) -> None:
        assert spec.function_name == "f"


OPTIONS = TableOptions(max_instances=4, max_boots=4, max_calls=8, idle_ttl_s=60.0)


def pool(script: Script | None = None, options: TableOptions = OPTIONS) -> Pool:
    return Pool(FakeBackend(script), Sources(), Table(options), VirtualClock(), boot_timeout_s=1.0)


def admitted(made: Pool, function: Function = FUNCTION) -> tuple[Served, CallHandle]:
    served = made.serve(function)
    return served, made.admit(served, Ask(2, "t", "apikey:ci"))


async def leased(made: Pool, function: Function = FUNCTION) -> tuple[CallHandle, Lease]:
    served, call = admitted(made, function)
    lease = made.lease_nowait(served, call, until_s=made._monotonic_s() + 5.0)
    return call, lease or await made.wait(served, call, budget_s=5.0)


def counts(made: Pool):
    return next((found for _, found in made.stats()), None)


async def test_a_caller_cancelled_with_the_lease_in_its_hands_gives_it_back():
    made = pool()
    async with anyio.create_task_group() as tasks:
        await tasks.start(made.run)
        first, _ = await leased(made)
        caller: list[asyncio.Task] = []
        checked = anyio.Event()

        async def wait():
            caller.append(asyncio.current_task())
            served, call = admitted(made)
            assert made.lease_nowait(served, call, until_s=made._monotonic_s() + 5.0) is None
            with pytest.raises(asyncio.CancelledError):
                await made.wait(served, call, budget_s=5.0)
            made.end(call, "cancelled")
            checked.set()

        tasks.start_soon(wait)
        await anyio.sleep(0.01)
        made.end(first, "ok")  # answers the waiter ...
        caller[0].cancel()  # ... which is cancelled before it has its turn, as grpclib cancels
        with anyio.fail_after(5):
            await checked.wait()
        assert (counts(made).leases, counts(made).idle) == (0, 1)
        await leased(made)
        tasks.cancel_scope.cancel()


async def test_a_boot_outlives_the_caller_that_caused_it():
    begun, go_on = anyio.Event(), anyio.Event()

    async def create(_spec):
        begun.set()
        await go_on.wait()

    made = pool(Script(create=create))
    async with anyio.create_task_group() as tasks:
        await tasks.start(made.run)
        served, call = admitted(made)
        assert made.lease_nowait(served, call, until_s=made._monotonic_s() + 5.0) is None
        async with anyio.create_task_group() as caller:
            caller.start_soon(lambda: made.wait(served, call, budget_s=5.0))
            await begun.wait()
            caller.cancel_scope.cancel()
        made.end(call, "cancelled")
        go_on.set()
        with anyio.fail_after(5):
            while counts(made).idle == 0:
                await anyio.sleep(0)
        _, lease = await leased(made)
        assert not lease.is_cold
        tasks.cancel_scope.cancel()


async def test_an_instance_that_died_on_the_shelf_is_not_handed_out():
    made = pool()
    async with anyio.create_task_group() as tasks:
        await tasks.start(made.run)
        call, lease = await leased(made)
        assert lease.is_cold
        made.end(call, "ok")
        [instance] = made._backend.alive.values()
        instance.die("signal 9")  # the pool's task has not had its turn
        _, lease = await leased(made)
        assert lease.instance is not instance
        await lease.instance.invoke(Call(request_id=UUID(int=0), payload=b"1", timeout_s=1.0))
        tasks.cancel_scope.cancel()


async def test_calls_in_line_of_a_deleted_function_are_answered():
    made = pool()
    async with anyio.create_task_group() as tasks:
        await tasks.start(made.run)
        await leased(made)
        refused = []

        async def wait():
            with pytest.raises(NotFound):
                await leased(made)
            refused.append(True)

        tasks.start_soon(wait)
        await anyio.sleep(0.01)
        made.remove(FUNCTION.id)
        await anyio.sleep(0.01)
        assert refused
        tasks.cancel_scope.cancel()


async def test_an_instance_that_died_on_its_way_sends_its_caller_back_to_its_place():
    made = pool()
    async with anyio.create_task_group() as tasks:
        await tasks.start(made.run)
        first, _ = await leased(made)
        order = []

        async def wait(name):
            _, lease = await leased(made)
            order.append((name, lease.instance.died.is_set()))

        tasks.start_soon(wait, "older")
        await anyio.sleep(0.01)
        tasks.start_soon(wait, "younger")
        await anyio.sleep(0.01)
        [instance] = made._backend.alive.values()
        instance.die("signal 9")  # the pool's task has not had its turn, and yet:
        made.end(first, "ok")
        with anyio.fail_after(5):
            while not order:
                await anyio.sleep(0)
        assert order == [("older", False)]
        tasks.cancel_scope.cancel()


async def test_a_failed_boot_is_told_with_its_own_reason():
    async def create(_spec):
        raise SandboxStartFailed(step="clone", reason="no pids left")

    made = pool(Script(create=create))
    async with anyio.create_task_group() as tasks:
        await tasks.start(made.run)
        with pytest.raises(SandboxStartFailed, match="no pids left"):
            await leased(made)
        tasks.cancel_scope.cancel()


async def test_why_a_boot_failed_is_known_when_nothing_is_left_of_it():
    """The lane asks for the words of a refusal a turn of the loop later."""
    members = []

    async def create(_spec):
        members.extend(made._lives)
        raise SandboxStartFailed(step="clone", reason="no pids left")

    made = pool(Script(create=create))
    async with anyio.create_task_group() as tasks:
        await tasks.start(made.run)
        with pytest.raises(SandboxStartFailed):
            await leased(made)
        with anyio.fail_after(5):
            while made.total:
                await anyio.sleep(0)
        assert "no pids left" in str(made.boot_error(members[0]))
        assert made.boot_error(members[0] + 1) is None
        tasks.cancel_scope.cancel()


async def test_a_wait_ends_by_its_budget_or_by_the_policy():
    async def init(_spec):
        await anyio.sleep(60)

    made = pool(Script(init=init))
    async with anyio.create_task_group() as tasks:
        await tasks.start(made.run)
        served, call = admitted(made)
        assert made.lease_nowait(served, call, until_s=made._monotonic_s() + 0.05) is None
        with pytest.raises(CallTimeout, match="init"):
            await made.wait(served, call, budget_s=0.05)
        made.end(call, "timeout")
        impatient = replace(FUNCTION, version=2, capacity=CapacityPolicy(max_queue_wait_s=0.05))
        made.update(impatient, is_suspended=False)
        calls = [admitted(made)[1] for _ in range(2)]
        assert [made.lease_nowait(served, call, until_s=made._monotonic_s() + 30.0) for call in calls] == [None, None]
        with pytest.raises(QueueWaitTimeout):  # the boot serves the one before it
            await made.wait(served, calls[1], budget_s=30.0)
        tasks.cancel_scope.cancel()


async def test_a_drained_pool_lets_nobody_in_and_waits_for_who_is():
    made = pool()
    made.enter()
    async with anyio.create_task_group() as tasks:
        drained = []

        async def drain():
            drained.append(await made.drain(within_s=5.0))

        tasks.start_soon(drain)
        await anyio.sleep(0.01)
        with pytest.raises(CometDraining):
            made.enter()
        assert drained == []
        made.leave()
    assert drained == [True]


async def test_what_is_forgotten_is_found_by_nobody_and_goes_with_its_last_instance():
    made = pool()
    made.update(FUNCTION, is_suspended=False)
    table = made._table
    assert table.find_function("t", "n", "f") == made.serve(FUNCTION).handle
    async with anyio.create_task_group() as tasks:
        await tasks.start(made.run)
        call, _ = await leased(made)
        made.forget(FUNCTION.id)
        assert table.find_function("t", "n", "f") is None
        old = made.serve(FUNCTION).handle
        made.end(call, "ok")
        made._backend.alive[1].die("signal 9")
        with anyio.fail_after(5):
            while counts(made):
                await anyio.sleep(0)
        assert made.serve(FUNCTION).handle != old
        tasks.cancel_scope.cancel()


async def test_a_breaker_opens_rests_probes_and_closes():
    policy = CapacityPolicy(breaker_error_percent=50, breaker_min_samples=3, breaker_open_s=0.05)
    function = replace(FUNCTION, max_replicas=4, capacity=policy)
    made = pool()
    made.update(function, is_suspended=False)
    async with anyio.create_task_group() as tasks:
        await tasks.start(made.run)
        for status in ("invalid_request", "cancelled", "ok", "function_error", "cancelled", "timeout"):
            call, _ = await leased(made, function)  # a timeout that is not the instance's says nothing
            made.end(call, status)
        early, _ = await leased(made, function)
        call, _ = await leased(made, function)
        made.end(call, "function_error")
        with pytest.raises(BreakerOpen):
            admitted(made, function)
        await anyio.sleep(0.06)
        made.end(early, "ok")  # was let in before the breaker opened, so it does not close it
        probe, _ = await leased(made, function)
        with pytest.raises(BreakerOpen) as refused:
            admitted(made, function)
        assert refused.value.retry_after_s == 1
        made.end(probe, "cancelled")
        probe, _ = await leased(made, function)
        made.end(probe, "ok")
        calls = [admitted(made, function)[1] for _ in range(3)]
        assert len(calls) == 3
        tasks.cancel_scope.cancel()


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
        ({"preload": ("numpy",)}, False),
        ({"backend": "docker"}, False),
        ({"instance_concurrency": 2}, False),
        ({"mode": Mode.ISOLATED}, False),
        ({"log_retention_days": 3}, True),
    ],
)
def test_a_policy_needs_no_new_sandbox(change, is_same):
    assert same_sandbox(FUNCTION, replace(FUNCTION, **change)) is is_same
