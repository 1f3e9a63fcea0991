"""Two schedulers over one table, in virtual time, with crashes at any await and planes that come and go."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta

import anyio
import pytest
from prometheus_client import CollectorRegistry

from constellation.base.errors import NotFound, Unavailable
from constellation.corona.scheduler.metrics import SchedulerMetrics
from constellation.corona.scheduler.scheduler import Scheduler, SchedulerOptions
from constellation.nova.domain.cron import next_run
from constellation.nova.domain.job import NewJob
from constellation.nova.store.listen import Wakeup
from constellation.nova.store.pool import DatabaseUnavailable
from constellation.rpc.invoker import Accepted
from constellation.rpc.owner import OwnerTokens
from constellation.testing.invoker import ScriptedInvoker
from constellation.testing.jobs import MemoryJobs
from constellation.testing.schedules import MemorySchedules
from constellation.testing.simulation import VirtualClock, simulate

LEASE_S = 15.0


class World:
    def __init__(self, rng: random.Random, *, fault_rate: float = 0.0):
        self.rng, self.fault_rate = rng, fault_rate
        self.clock = VirtualClock()
        self.jobs = MemoryJobs(self.clock)
        self.schedules = MemorySchedules(self.clock)
        self.store_is_away = self.comet_is_away = False
        self.submissions: Counter[str] = Counter()
        self.missing: set[str] = set()
        self.invoker = ScriptedInvoker(accept=self._accept)
        self.registry = CollectorRegistry()
        self.metrics = SchedulerMetrics(self.registry)

    async def _slip(self, is_away, problem):
        await anyio.sleep(self.rng.expovariate(1 / 0.05))
        if is_away or self.rng.random() < self.fault_rate:
            raise problem

    async def _accept(self, call, options):
        await self._slip(self.comet_is_away, Unavailable("comet", reason="simulated", may_have_begun=False))
        if call.function in self.missing:
            raise NotFound("function", call.function)
        self.submissions[options.idempotency_key] += 1
        accepted = await self.jobs.enqueue(
            NewJob(
                tenant="t",
                namespace="default",
                function_name=call.function,
                payload=call.payload,
                subject="schedule:x",
                source=options.source,
                idempotency_key=options.idempotency_key,
                idempotency_ttl_s=float(options.idempotency_ttl_s),
            )
        )
        await self._slip(is_away=False, problem=Unavailable("comet", reason="simulated, after the commit"))
        return Accepted(id=str(accepted.job.id), is_replay=accepted.is_replay)

    def __getattr__(self, name):
        """The table behind a network."""
        if name not in ("claim", "finish", "seconds_to_next"):
            raise AttributeError(name)
        operation = getattr(self.schedules, name)

        async def call(*args, **kwargs):
            await self._slip(self.store_is_away, DatabaseUnavailable(reason="simulated"))
            result = await operation(*args, **kwargs)
            await self._slip(self.store_is_away, DatabaseUnavailable(reason="simulated, after the commit"))
            return result

        return call

    def scheduler(self, owner: str) -> Scheduler:
        return Scheduler(
            self,
            self.invoker,
            OwnerTokens(b"k" * 32, clock=self.clock),
            options=SchedulerOptions(owner=owner, lease_s=LEASE_S, batch=10, safety_poll_s=15.0),
            clock=self.clock,
            metrics=self.metrics,
            wakeup=Wakeup(),
            rng=self.rng,
        )

    async def plan(self, cron: str, *, zone: str = "UTC", function: str = "f"):
        return await self.schedules.create(
            tenant="t",
            namespace="default",
            function_name=function,
            cron=cron,
            time_zone=zone,
            input=b'{"a":1}',
            next_run_at=next_run(cron, zone, self.clock.now()),
        )

    def dues(self, schedule):
        """The instants for which a run was submitted."""
        keys = [key for key in self.submissions if key.startswith(f"schedule/{schedule.id}/")]
        return [datetime.fromisoformat(key.rpartition("/")[2]) for key in keys]

    def runs(self, schedule):
        return [job for job in self.jobs.all() if job.source == f"schedule/{schedule.id}"]


def _planned(schedule, *, until):
    instants = [schedule.next_run_at]
    while (following := next_run(schedule.cron, schedule.time_zone, instants[-1])) <= until:
        instants.append(following)
    return instants


async def _life(world: World, name: str):
    life = 0
    while True:
        life += 1
        with anyio.move_on_after(world.rng.expovariate(1 / 90)):
            await world.scheduler(f"{name}.{life}").run()


async def _weather(world: World):
    while True:
        await anyio.sleep(world.rng.expovariate(1 / 200))
        world.store_is_away = True
        await anyio.sleep(world.rng.expovariate(1 / 10))
        world.store_is_away = False
        await anyio.sleep(world.rng.expovariate(1 / 100))
        world.comet_is_away = True
        await anyio.sleep(world.rng.expovariate(1 / 10))
        world.comet_is_away = False


@pytest.mark.parametrize("seed", range(10))
def test_crashes_fire_no_run_twice_and_skip_none(seed):
    async def main(rng: random.Random):
        world = World(rng, fault_rate=0.05)
        schedules = [await world.plan(cron) for cron in ("*/5 * * * *", "*/7 * * * *", "3 * * * *", "@every 4m")]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_life, world, "a")
            tasks.start_soon(_life, world, "b")
            tasks.start_soon(_weather, world)
            await anyio.sleep(6 * 3600)
            tasks.cancel_scope.cancel()
        for schedule in schedules:
            dues = sorted(world.dues(schedule))
            assert len(world.runs(schedule)) == len(dues), "one job a run, however often it was submitted"
            planned = _planned(schedule, until=world.clock.now())
            if not schedule.cron.startswith("@every"):  # made-up runs of these move all that follow
                assert set(dues) <= set(planned)
            # The last may be under way, and a run is left out when an outage outlasts the interval.
            assert len(planned) - 3 <= len(dues) <= len(planned), schedule.cron
        assert any(times > 1 for times in world.submissions.values()), "no run was ever submitted twice"

    simulate(main, seed=seed)


def test_both_schedulers_fire_one_run_once():
    async def main(rng):
        world = World(rng)
        schedule = await world.plan("* * * * *")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(world.scheduler("a").run)
            tasks.start_soon(world.scheduler("b").run)
            await anyio.sleep(605)
            tasks.cancel_scope.cancel()
        assert len(world.runs(schedule)) == 10
        assert set(world.submissions.values()) == {1}

    simulate(main, seed=1)


def test_runs_missed_while_down_are_made_up_by_one():
    async def main(rng):
        world = World(rng)
        schedule = await world.plan("*/10 * * * *")
        await anyio.sleep(3 * 3600 + 60)  # eighteen runs go by
        with anyio.move_on_after(30):
            await world.scheduler("a").run()
        assert len(world.runs(schedule)) == 1
        after = await world.schedules.get("t", "default", schedule.id)
        assert after.next_run_at - world.clock.now() < timedelta(minutes=10)
        assert after.last_job_id == world.runs(schedule)[0].id

    simulate(main, seed=1)


def test_refused_run_is_counted_and_the_next_is_planned():
    async def main(rng):
        world = World(rng)
        world.missing.add("f")
        schedule = await world.plan("* * * * *")
        with anyio.move_on_after(90):
            await world.scheduler("a").run()
        after = await world.schedules.get("t", "default", schedule.id)
        assert after.next_run_at == schedule.next_run_at + timedelta(minutes=1)
        assert (after.last_run_at, after.last_job_id) == (None, None)
        assert world.registry.get_sample_value("constellation_schedule_runs_total", {"outcome": "refused"}) == 1

    simulate(main, seed=1)


def test_schedule_changed_in_the_middle_of_a_run_keeps_its_new_plan():
    async def main(rng):
        world = World(rng)
        schedule = await world.plan("* * * * *")
        world.comet_is_away = True
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(world.scheduler("a").run)
            await anyio.sleep(65)  # claimed, and being submitted
            current = await world.schedules.get("t", "default", schedule.id)
            noon = world.clock.now() + timedelta(days=1)
            await world.schedules.update(replace(current, cron="0 12 * * *", next_run_at=noon))
            world.comet_is_away = False
            await anyio.sleep(60)
            tasks.cancel_scope.cancel()
        after = await world.schedules.get("t", "default", schedule.id)
        assert (after.cron, after.next_run_at) == ("0 12 * * *", noon)

    simulate(main, seed=1)


def test_drained_scheduler_finishes_what_it_holds():
    async def main(rng):
        world = World(rng)
        schedule = await world.plan("* * * * *")
        world.comet_is_away = True
        scheduler = world.scheduler("a")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(scheduler.run)
            await anyio.sleep(62)
            scheduler.drain()
            world.comet_is_away = False
        assert len(world.runs(schedule)) == 1
        after = await world.schedules.get("t", "default", schedule.id)
        assert after.next_run_at > schedule.next_run_at

    simulate(main, seed=1)
