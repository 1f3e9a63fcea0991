"""The pool's effects, where the order of two events in one tick decides."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import UUID

import anyio
import pytest

from constellation.base.errors import NotFound
from constellation.comet.backend.contract import Call, InstanceSpec
from constellation.comet.pool.decide import Bounds
from constellation.comet.pool.pool import Pool
from constellation.nova.domain.function import CapacityPolicy, Function
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


def pool(script: Script | None = None) -> Pool:
    bounds = Bounds(max_instances=4, max_boots=4, idle_ttl_s=60.0)
    return Pool(FakeBackend(script), Sources(), bounds, VirtualClock(), boot_timeout_s=1.0)


async def test_a_caller_cancelled_with_the_lease_in_its_hands_gives_it_back():
    made = pool()
    async with anyio.create_task_group() as tasks:
        await tasks.start(made.run)
        group = made.group(FUNCTION)
        lease = await made.wait(group, budget_s=5.0)
        caller: list[asyncio.Task] = []
        checked = anyio.Event()

        async def wait():
            caller.append(asyncio.current_task())
            with pytest.raises(asyncio.CancelledError):
                await made.wait(group, budget_s=5.0)
            checked.set()

        tasks.start_soon(wait)
        await anyio.sleep(0.01)
        made.release_nowait(lease)  # answers the waiter ...
        caller[0].cancel()  # ... which is cancelled before it has its turn, as grpclib cancels
        with anyio.fail_after(5):
            await checked.wait()
        assert group.leases == 0
        assert made.take_nowait(group) is not None
        tasks.cancel_scope.cancel()


async def test_a_boot_outlives_the_caller_that_caused_it():
    begun, go_on = anyio.Event(), anyio.Event()

    async def create(_spec):
        begun.set()
        await go_on.wait()

    made = pool(Script(create=create))
    async with anyio.create_task_group() as tasks:
        await tasks.start(made.run)
        group = made.group(FUNCTION)
        async with anyio.create_task_group() as caller:
            caller.start_soon(lambda: made.wait(group, budget_s=5.0))
            await begun.wait()
            caller.cancel_scope.cancel()
        go_on.set()
        with anyio.fail_after(5):
            while (lease := made.take_nowait(group)) is None:
                await anyio.sleep(0)
        assert not lease.is_cold
        tasks.cancel_scope.cancel()


async def test_an_instance_that_died_on_the_shelf_is_not_handed_out():
    made = pool()
    async with anyio.create_task_group() as tasks:
        await tasks.start(made.run)
        group = made.group(FUNCTION)
        made.release_nowait(await made.wait(group, budget_s=5.0))
        [instance] = made._backend.alive.values()
        instance.die("signal 9")  # the pool's task has not had its turn
        assert made.take_nowait(group) is None
        lease = await made.wait(group, budget_s=5.0)
        assert lease.instance is not instance
        await lease.instance.invoke(Call(request_id=UUID(int=0), payload=b"1", timeout_s=1.0))
        tasks.cancel_scope.cancel()


async def test_calls_in_line_of_a_deleted_function_are_answered():
    made = pool()
    async with anyio.create_task_group() as tasks:
        await tasks.start(made.run)
        group = made.group(FUNCTION)
        await made.wait(group, budget_s=5.0)
        refused = []

        async def wait():
            with pytest.raises(NotFound):
                await made.wait(group, budget_s=5.0)
            refused.append(True)

        tasks.start_soon(wait)
        await anyio.sleep(0.01)
        made.remove(FUNCTION.id)
        await anyio.sleep(0.01)
        assert refused
        tasks.cancel_scope.cancel()
