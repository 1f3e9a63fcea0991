"""The pool under a seeded scheduler, a virtual clock and injected faults; a failing seed replays exactly."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import anyio
import pytest

from constellation.base.errors import ConstellationError
from constellation.comet.backend.contract import Call, HandlerLoadFailed, InstanceSpec
from constellation.comet.pool.pool import Pool
from constellation.native.table import Table
from constellation.native.table_values import Ask, TableOptions
from constellation.nova.domain.function import CapacityPolicy, Function
from constellation.testing.fake_backend import FakeBackend, Script
from constellation.testing.simulation import VirtualClock, simulate

SEEDS = range(25)
CALLS = 120


class Sources:
    """Specifications without code on disk."""

    def __init__(self) -> None:
        self.users = 0

    async def acquire(self, function: Function) -> InstanceSpec:
        self.users += 1
        return InstanceSpec(
            tenant=function.tenant,
            namespace=function.namespace,
            function_id=function.id,
            function_name=function.name,
            function_version=str(function.code_version),
            runtime=function.runtime,
            handler=function.handler,
            code_dir=Path("/nowhere"),
            concurrency=function.instance_concurrency,
        )

    def release_nowait(self, spec: InstanceSpec) -> None:
        self.users -= 1


def function(number: int, rng: random.Random) -> Function:
    return Function(
        tenant=f"t{number % 2}",
        namespace="default",
        name=f"f{number}",
        id=UUID(int=number + 1),
        runtime="python",
        handler="main.handler",
        timeout_s=2.0,
        init_timeout_s=1.0,
        max_replicas=rng.choice((1, 2, 5)),
        min_replicas=rng.choice((0, 0, 1)),
        instance_concurrency=rng.choice((1, 1, 3)),
        capacity=CapacityPolicy(max_queue_depth=rng.choice((2, 1000)), max_queue_wait_s=rng.choice((0.5, 30.0))),
        code_version=1,
    )


class World:
    """Everything one simulation holds, and what must never be false."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.functions = [function(number, self.rng) for number in range(4)]
        self.backend = FakeBackend(Script(create=self.create, init=self.init, handle=self.handle))
        self.backend.script.destroy_s = self.rng.choice((0.0, 0.05))
        self.sources = Sources()
        self.bounds = TableOptions(
            max_instances=self.rng.choice((2, 6)), max_boots=self.rng.choice((1, 4)), max_calls=CALLS, idle_ttl_s=5.0
        )
        self.table = Table(self.bounds)
        self.pool = Pool(self.backend, self.sources, self.table, VirtualClock(), boot_timeout_s=3.0)
        self.answers: list[str] = []
        self.most_replicas = {row.id: row.max_replicas for row in self.functions}  # that each was ever allowed

    async def create(self, _spec: InstanceSpec) -> None:
        await anyio.sleep(self.rng.choice((0.0, 0.01, 0.2)))
        if self.rng.random() < 0.05:
            raise RuntimeError("the host is out of luck")

    async def init(self, spec: InstanceSpec) -> None:
        await anyio.sleep(self.rng.choice((0.0, 0.02, 0.02, 1.5)))  # the last one is over the limit
        if self.rng.random() < 0.1:
            raise HandlerLoadFailed(spec.function_name, error={"type": "ImportError", "message": "no"})

    async def handle(self, _spec: InstanceSpec, _call: Call) -> bytes:
        await anyio.sleep(self.rng.choice((0.0, 0.01, 0.1, 0.1, 3.0)))  # the last one is over the limit
        return b"{}"

    async def call(self, number: int) -> None:
        """One caller: waits, leases, runs, and may hang up at any instant."""
        patience_s = self.rng.choice((0.001, 0.05, 0.3, 60.0, 60.0, 60.0))
        with anyio.move_on_after(patience_s) as hang_up:
            self.answers.append(await self.attempt(number))
            return
        assert hang_up.cancelled_caught
        self.answers.append("hung up")

    async def attempt(self, number: int) -> str:
        row = self.functions[number]
        served = self.pool.serve(row)
        call = self.pool.admit(served, Ask(2, row.tenant, "apikey:ci"))
        status, is_broken = "cancelled", False
        try:
            lease = self.pool.lease_nowait(
                served, call, until_s=self.pool._monotonic_s() + 20.0
            ) or await self.pool.wait(served, call, budget_s=20.0)
            self.check()
            assert lease.function.code_version >= row.code_version, "older code than was live when the call came"
            is_broken = True
            await lease.instance.invoke(Call(request_id=UUID(int=0), payload=b"{}", timeout_s=2.0))
            status, is_broken = "ok", False
        except ConstellationError as error:
            status = error.code
        finally:
            self.pool.end(call, status, is_broken=is_broken)
            self.check()
        return status

    async def disturb(self) -> None:
        """Kill idle and busy instances, deploy new code, change policies."""
        for _ in range(40):
            await anyio.sleep(self.rng.uniform(0.0, 0.6))
            match self.rng.choice(("die", "die", "deploy", "policy")):
                case "die" if self.backend.alive:
                    self.rng.choice(list(self.backend.alive.values())).die("signal 9")
                case "deploy":
                    self.change(code=True)
                case _:
                    self.change(code=False)
            self.check()

    def change(self, *, code: bool) -> None:
        number = self.rng.randrange(len(self.functions))
        row = self.functions[number]
        changed = replace(row, version=row.version + 1, code_version=row.code_version + code)
        if not code:
            changed = replace(changed, max_replicas=self.rng.choice((1, 3)), min_replicas=0)
        self.functions[number] = changed
        self.most_replicas[row.id] = max(self.most_replicas[row.id], changed.max_replicas)
        self.pool.update(changed, is_suspended=False)

    def check(self) -> None:
        """What holds at every instant, whatever happened before."""
        assert self.table.check() == 0, "see native/src/table/check.c: the line is the number"
        assert len(self.backend.alive) + self.backend.creating <= self.pool.total <= self.bounds.max_instances
        for function, counts in self.pool.stats():
            assert counts.current <= self.most_replicas[function.id]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_call_is_answered_and_no_bound_is_exceeded(seed: int) -> None:
    async def main(rng: random.Random) -> None:
        world = World(rng)
        async with anyio.create_task_group() as background:
            await background.start(world.pool.run)
            for row in world.functions:
                world.pool.update(row, is_suspended=False)
            async with anyio.create_task_group() as callers:
                callers.start_soon(world.disturb)
                for _ in range(CALLS):
                    callers.start_soon(world.call, world.rng.randrange(4))
                    await anyio.sleep(world.rng.choice((0.0, 0.0, 0.02, 0.3)))
            assert len(world.answers) == CALLS
            assert world.answers.count("ok") > 0
            world.check()
            assert (world.table.node_stats().waiting, world.table.node_stats().leases) == (0, 0)
            background.cancel_scope.cancel()
        assert world.pool.total == 0
        assert not world.backend.alive
        assert world.sources.users == 0
        assert world.backend.most_alive <= world.bounds.max_instances

    simulate(main, seed=seed)
