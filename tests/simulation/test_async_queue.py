"""Two workers over one table, in virtual time, with crashes at any await and a database that comes and goes."""

from __future__ import annotations

import json
import random
from collections import Counter
from datetime import timedelta

import anyio
import pytest
from prometheus_client import CollectorRegistry

from constellation.base.errors import NotFound, Unavailable
from constellation.nebula.asyncqueue.metrics import QueueMetrics
from constellation.nebula.asyncqueue.worker import AsyncQueue, QueueOptions
from constellation.nova.domain.job import JobStatus, NewJob
from constellation.nova.store.listen import Wakeup
from constellation.nova.store.pool import DatabaseUnavailable
from constellation.rpc.owner import OwnerTokens
from constellation.testing.invoker import ScriptedInvoker, raised, returned
from constellation.testing.jobs import MemoryJobs
from constellation.testing.simulation import VirtualClock, simulate

KEY = b"k" * 32
LEASE_S = 30.0


class Faulty:
    """The table behind a network: every call takes a while, some never arrive, some lose their answer."""

    def __init__(self, jobs: MemoryJobs, rng: random.Random, *, fault_rate: float):
        self._jobs, self._rng, self._fault_rate = jobs, rng, fault_rate
        self.is_away = False
        self.refused: set[str] = set()  # operations that never get through
        self.slow_s: dict[str, float] = {}  # operation -> how long its next call is under way

    def __getattr__(self, name):
        operation = getattr(self._jobs, name)

        async def call(*args, **kwargs):
            await anyio.sleep(self.slow_s.pop(name, self._rng.expovariate(1 / 0.01)))
            if self.is_away or name in self.refused or self._rng.random() < self._fault_rate:
                raise DatabaseUnavailable(reason="simulated")
            result = await operation(*args, **kwargs)
            await anyio.sleep(self._rng.expovariate(1 / 0.01))
            if self.is_away or self._rng.random() < self._fault_rate:
                raise DatabaseUnavailable(reason="simulated, after the commit")
            return result

        return call


class World:
    def __init__(self, rng: random.Random, *, fault_rate: float = 0.0):
        self.rng = rng
        self.clock = VirtualClock()
        self.wakeups: list[Wakeup] = []
        self.jobs = MemoryJobs(self.clock, on_enqueue=lambda: [w.wake_nowait() for w in self.wakeups])
        self.table = Faulty(self.jobs, rng, fault_rate=fault_rate)
        self.running: set[int] = set()
        self.overlaps: list[int] = []
        self.begun: Counter[int] = Counter()
        self.undelivered: Counter[int] = Counter()
        self.comet_is_away = False
        self.metrics: list[QueueMetrics] = []
        self.invoker = ScriptedInvoker(
            {
                "ok": self._ok,
                "flaky": self._flaky,
                "broken": self._broken,
                "gone": _gone,
                "slow_again": self._slow_again,
            }
        )

    async def _call(self, call) -> dict:
        job = json.loads(call.payload)
        if self.comet_is_away:
            self.undelivered[job["n"]] += 1
            raise Unavailable("comet", reason="simulated", may_have_begun=False)
        if job["n"] in self.running:  # not an assertion: the worker takes any exception for a failed attempt
            self.overlaps.append(job["n"])
        self.running.add(job["n"])
        self.begun[job["n"]] += 1
        try:
            await anyio.sleep(job["takes_s"])
        finally:
            self.running.discard(job["n"])
        return job

    async def _ok(self, call):
        await self._call(call)
        return returned(call.payload, call)

    async def _slow_again(self, call):
        job = await self._call(call)
        run = self.begun[job["n"]]
        await anyio.sleep(60 if run > 1 else 0)
        return returned(b"%d" % run, call)

    async def _flaky(self, call):
        await self._call(call)
        if self.rng.random() < 0.5:
            raise Unavailable("comet", reason="simulated, in the middle")
        return returned(b"1", call) if self.rng.random() < 0.7 else raised(b'{"type":"E"}', call)

    async def _broken(self, call):
        await self._call(call)
        return raised(b'{"type":"E"}', call)

    def queue(self, owner: str, *, workers: int = 8, table: Faulty | None = None) -> AsyncQueue:
        metrics = QueueMetrics(CollectorRegistry())
        self.metrics.append(metrics)
        wakeup = Wakeup()
        self.wakeups.append(wakeup)
        return AsyncQueue(
            table or self.table,
            self.invoker,
            OwnerTokens(KEY, clock=self.clock),
            options=QueueOptions(
                owner=owner,
                workers=workers,
                batch=workers,
                lease_s=LEASE_S,
                safety_poll_s=5.0,
                call_timeout_s=lambda: 600.0,
            ),
            clock=self.clock,
            metrics=metrics,
            wakeup=wakeup,
            rng=self.rng,
        )

    async def enqueue(self, n: int, function: str, *, takes_s: float = 0.1, tenant: str = "t", max_attempts: int = 3):
        payload = json.dumps({"n": n, "takes_s": takes_s}).encode()
        job = NewJob(
            tenant=tenant,
            namespace="default",
            function_name=function,
            payload=payload,
            subject="apikey:ci",
            max_attempts=max_attempts,
        )
        return (await self.jobs.enqueue(job)).job

    def open(self) -> int:
        return sum(job.status in (JobStatus.QUEUED, JobStatus.RUNNING) for job in self.jobs.all())

    async def until_done(self, *, within_s: float):
        with anyio.fail_after(within_s):
            while self.open():
                await anyio.sleep(1.0)

    def check(self):
        """Nothing is lost, each job ended once, and no job ran twice at a time."""
        assert not self.overlaps
        for job in self.jobs.all():
            assert job.status in (JobStatus.SUCCEEDED, JobStatus.DEAD), job
            assert self.jobs.outcomes[job.id] == [job.status], job
            n = json.loads(job.payload)["n"]
            assert self.begun[n] <= job.max_attempts, job


async def _gone(call):
    raise NotFound("function", "gone")


async def _life(world: World, name: str):
    """One worker process: killed, or stopped in order, at random instants; started again at once."""
    life = 0
    while True:
        life += 1
        queue = world.queue(f"{name}.{life}")
        with anyio.move_on_after(world.rng.expovariate(1 / 60)) as alive:
            await queue.run()
        assert alive.cancelled_caught
        if world.rng.random() < 0.3:
            await _stop_in_order(world, f"{name}.{life}.orderly")


async def _stop_in_order(world: World, owner: str):
    queue = world.queue(owner)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(queue.run)
        await anyio.sleep(world.rng.expovariate(1 / 30))
        queue.drain()
        await anyio.sleep(5)
        queue.interrupt()


async def _weather(world: World):
    while True:
        await anyio.sleep(world.rng.expovariate(1 / 120))
        world.table.is_away = True
        await anyio.sleep(world.rng.expovariate(1 / LEASE_S))  # about a third of the outages outlast a lease
        world.table.is_away = False
        await anyio.sleep(world.rng.expovariate(1 / 60))
        world.comet_is_away = True
        await anyio.sleep(world.rng.expovariate(1 / 10))
        world.comet_is_away = False


@pytest.mark.parametrize("seed", range(12))
def test_crashes_and_outages_lose_no_job_and_end_none_twice(seed):
    async def main(rng: random.Random):
        world = World(rng, fault_rate=0.02)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_life, world, "a")
            tasks.start_soon(_life, world, "b")
            tasks.start_soon(_weather, world)
            for n in range(120):
                function = rng.choice(["ok", "ok", "ok", "flaky", "flaky", "broken", "gone"])
                # A third of the calls outlast their lease, so renewal is what keeps them.
                await world.enqueue(
                    n, function, takes_s=rng.choice([0.01, 2.0, 70.0]), max_attempts=rng.choice([1, 3, 8])
                )
                await anyio.sleep(rng.expovariate(1 / 1.0))
            await world.until_done(within_s=20_000)
            tasks.cancel_scope.cancel()
        world.check()

    simulate(main, seed=seed)


def test_call_longer_than_its_lease_runs_once():
    async def main(rng):
        world = World(rng)
        await world.enqueue(1, "ok", takes_s=10 * LEASE_S)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(world.queue("a").run)
            tasks.start_soon(world.queue("b").run)
            await world.until_done(within_s=1000)
            tasks.cancel_scope.cancel()
        assert world.begun[1] == 1
        world.check()

    simulate(main, seed=1)


def test_lost_lease_cancels_the_call_and_writes_nothing():
    async def main(rng):
        world = World(rng)
        job = await world.enqueue(1, "ok", takes_s=300, max_attempts=2)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(world.queue("a").run)
            await anyio.sleep(1)
            assert world.running == {1}
            world.table.is_away = True  # for longer than a lease
            await anyio.sleep(LEASE_S + 1)
            assert world.running == set()
            assert world.jobs.outcomes[job.id] == []
            world.table.is_away = False
            await world.until_done(within_s=1000)
            tasks.cancel_scope.cancel()
        assert world.begun[1] == 2
        assert world.metrics[0].lease_losses._value.get() == 1
        world.check()

    simulate(main, seed=1)


def test_outcome_waits_for_the_database_and_the_call_is_not_repeated():
    async def main(rng):
        world = World(rng)
        job = await world.enqueue(1, "ok", takes_s=3)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(world.queue("a").run)
            await anyio.sleep(2)
            world.table.is_away = True
            await anyio.sleep(LEASE_S / 2)
            world.table.is_away = False
            await world.until_done(within_s=5)
            tasks.cancel_scope.cancel()
        assert (await world.jobs.get("t", "default", job.id)).attempt == 1
        assert world.begun[1] == 1

    simulate(main, seed=1)


def test_write_that_arrives_after_its_lease_ended_changes_nothing():
    async def main(rng):
        world = World(rng)
        job = await world.enqueue(1, "slow_again", takes_s=1)
        frozen = Faulty(world.jobs, rng, fault_rate=0)
        frozen.slow_s["complete"] = 2 * LEASE_S
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: world.queue("a", table=frozen).run())
            await anyio.sleep(0.5)
            frozen.refused = {"renew", "claim"}
            await anyio.sleep(LEASE_S - 2)
            tasks.start_soon(world.queue("b").run)
            await world.until_done(within_s=5 * LEASE_S)
            await anyio.sleep(5 * LEASE_S)
            tasks.cancel_scope.cancel()
        done = await world.jobs.get("t", "default", job.id)
        assert (done.attempt, done.output) == (2, b"2")
        world.check()

    simulate(main, seed=2)


def test_deleted_job_has_its_call_cancelled_at_the_next_renewal():
    async def main(rng):
        world = World(rng)
        job = await world.enqueue(1, "ok", takes_s=300)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(world.queue("a").run)
            await anyio.sleep(1)
            del world.jobs._rows[job.id]
            await anyio.sleep(LEASE_S / 2)
            assert world.running == set()
            tasks.cancel_scope.cancel()

    simulate(main, seed=1)


def test_comet_being_away_uses_no_attempt_up():
    async def main(rng):
        world = World(rng)
        world.comet_is_away = True
        for n in range(20):
            await world.enqueue(n, "ok", max_attempts=1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(world.queue("a").run)
            await anyio.sleep(3600)
            tries = world.undelivered.total()
            world.comet_is_away = False
            await world.until_done(within_s=10)
            tasks.cancel_scope.cancel()
        assert all(job.status is JobStatus.SUCCEEDED and job.attempt == 1 for job in world.jobs.all())
        assert tries < 3600, "an absent comet is asked about once a second or two, by one job at a time"

    simulate(main, seed=3)


def test_handler_that_raises_is_dead_after_its_attempts_with_growing_pauses():
    async def main(rng):
        world = World(rng)
        began = world.clock.now()
        job = await world.enqueue(1, "broken", max_attempts=4)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(world.queue("a").run)
            await world.until_done(within_s=100)
            tasks.cancel_scope.cancel()
        dead = await world.jobs.get("t", "default", job.id)
        assert (dead.status, dead.attempt, dead.error) == (JobStatus.DEAD, 4, b'{"type":"E"}')
        took = dead.finished_at - began
        assert timedelta(seconds=7 * 0.75) < took < timedelta(seconds=7 * 1.25 + 2)  # 1 + 2 + 4, a quarter either way

    simulate(main, seed=4)


def test_unknown_function_is_dead_at_once():
    async def main(rng):
        world = World(rng)
        job = await world.enqueue(1, "gone", max_attempts=8)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(world.queue("a").run)
            await world.until_done(within_s=5)
            tasks.cancel_scope.cancel()
        dead = await world.jobs.get("t", "default", job.id)
        assert (dead.status, dead.attempt) == (JobStatus.DEAD, 1)
        assert json.loads(dead.error)["code"] == "not_found"

    simulate(main, seed=5)


def test_worker_never_holds_more_than_its_slots():
    async def main(rng):
        world = World(rng)
        for n in range(50):
            await world.enqueue(n, "ok", takes_s=1)
        most = 0
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: world.queue("a", workers=4).run())
            while world.open():
                most = max(most, sum(job.status is JobStatus.RUNNING for job in world.jobs.all()))
                await anyio.sleep(0.05)
            tasks.cancel_scope.cancel()
        assert most == 4

    simulate(main, seed=6)


def test_one_tenants_backlog_does_not_delay_another():
    async def main(rng):
        world = World(rng)
        for n in range(1000):
            await world.enqueue(n, "ok", takes_s=1, tenant="busy")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: world.queue("a", workers=4).run())
            await anyio.sleep(10)
            late = await world.enqueue(5000, "ok", takes_s=1, tenant="quiet")
            await anyio.sleep(4)
            assert (await world.jobs.get("quiet", "default", late.id)).status is JobStatus.SUCCEEDED
            tasks.cancel_scope.cancel()

    simulate(main, seed=7)


def test_orderly_stop_finishes_short_calls_and_puts_long_ones_back():
    async def main(rng):
        world = World(rng)
        short = await world.enqueue(1, "ok", takes_s=2)
        long = await world.enqueue(2, "ok", takes_s=500)
        queue = world.queue("a")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(queue.run)
            await anyio.sleep(1)
            queue.drain()
            await anyio.sleep(5)
            queue.interrupt()
        assert (await world.jobs.get("t", "default", short.id)).status is JobStatus.SUCCEEDED
        waiting = await world.jobs.get("t", "default", long.id)
        assert (waiting.status, waiting.attempt) == (JobStatus.QUEUED, 1)
        assert json.loads(waiting.error)["code"] == "attempt_interrupted"
        assert world.running == set()

    simulate(main, seed=8)
