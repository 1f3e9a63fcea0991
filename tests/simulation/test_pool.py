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
from constellation.comet.pool.decide import Bounds, boots_for_calls
from constellation.comet.pool.pool import Pool
from constellation.comet.pool.state import State
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
        self.bounds = Bounds(max_instances=self.rng.choice((2, 6)), max_boots=self.rng.choice((1, 4)), idle_ttl_s=5.0)
        self.pool = Pool(self.backend, self.sources, self.bounds, VirtualClock(), boot_timeout_s=3.0)
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
        try:
            group = self.pool.group(row)
            lease = self.pool.take_nowait(group) or await self.pool.wait(group, budget_s=20.0)
            self.check()
            is_broken = True
            try:
                version = int(lease.member.function.code_version)
                assert version >= row.code_version, "a call was given an older version than was live when it came"
                await lease.instance.invoke(Call(request_id=UUID(int=0), payload=b"{}", timeout_s=2.0))
                is_broken = False
            finally:
                self.pool.release_nowait(lease, is_broken=is_broken)
                self.check()
        except ConstellationError as error:
            return error.code
        return "ok"

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
        self.pool.update(changed)

    def check(self) -> None:
        """What holds at every instant, whatever happened before."""
        assert len(self.backend.alive) + self.backend.creating <= self.pool.total <= self.bounds.max_instances
        booting = 0
        asking = False
        for group in self.pool.groups:
            states = [member.state for member in group.members.values()]
            current = [member for member in group.members.values() if member.generation == group.generation]
            assert group.current == len(current) <= self.most_replicas[group.function.id]
            assert all(member.leases <= member.function.instance_concurrency for member in current)
            assert group.leases == sum(member.leases for member in group.members.values())
            assert group.booting == sum(member.state is State.BOOTING for member in current)
            booting += sum(state is State.BOOTING for state in states)
            assert all(member.room > 0 for member in group.shelf)
            assert all(member.state in (State.IDLE, State.BUSY) for member in group.shelf)
            assert not (group.waiters and group.shelf), "somebody waits while an instance has room"
            asking = asking or boots_for_calls(group) > 0
        assert booting <= self.bounds.max_boots
        if asking:
            assert self.pool.total >= self.bounds.max_instances or booting >= self.bounds.max_boots, "a lost wake-up"


@pytest.mark.parametrize("seed", SEEDS)
def test_every_call_is_answered_and_no_bound_is_exceeded(seed: int) -> None:
    async def main(rng: random.Random) -> None:
        world = World(rng)
        async with anyio.create_task_group() as background:
            await background.start(world.pool.run)
            for row in world.functions:
                world.pool.update(row)
            async with anyio.create_task_group() as callers:
                callers.start_soon(world.disturb)
                for _ in range(CALLS):
                    callers.start_soon(world.call, world.rng.randrange(4))
                    await anyio.sleep(world.rng.choice((0.0, 0.0, 0.02, 0.3)))
            assert len(world.answers) == CALLS
            assert world.answers.count("ok") > 0
            world.check()
            for group in world.pool.groups:
                assert not group.waiters
                assert group.leases == 0
            background.cancel_scope.cancel()
        assert world.pool.total == 0
        assert not world.backend.alive
        assert world.sources.users == 0
        assert world.backend.most_alive <= world.bounds.max_instances

    simulate(main, seed=seed)
