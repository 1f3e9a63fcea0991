"""Builds nebula: the queue over its database and a comet, the plane's telemetry beside."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import structlog
from anyio.abc import TaskStatus

from constellation.aurora.observability.plane import PlaneContext, plane_context, telemetry
from constellation.base.address import parse_address
from constellation.base.lifecycle import until_signal
from constellation.base.statedir import read_when_there
from constellation.nebula.asyncqueue.metrics import QueueMetrics
from constellation.nebula.asyncqueue.upkeep import Upkeep
from constellation.nebula.asyncqueue.worker import AsyncQueue, QueueOptions
from constellation.nova.config.load import Loaded
from constellation.nova.store.jobs import CHANNEL, Jobs
from constellation.nova.store.listen import Listener
from constellation.nova.store.pool import connect
from constellation.rpc.channel import PlaneChannel
from constellation.rpc.invoker import GrpcInvoker, Invoker
from constellation.rpc.owner import OwnerTokens

log = structlog.get_logger()

DRAIN_S = 5.0  # chosen: most calls end within it; the others go back in line
SETTLE_S = 2.0  # chosen: the commits of what was just interrupted


async def main(loaded: Loaded, *, comet_grpc: str | None) -> None:
    """Run the plane until SIGTERM or SIGINT."""
    settings = loaded.settings
    context = await plane_context("nebula", settings.platform)
    dsn = await context.dsn(settings.postgres.dsn)
    metrics = QueueMetrics(context.registry)
    owner = f"{context.node}:{os.getpid()}:{os.urandom(4).hex()}"
    async with (
        telemetry(context, admin=settings.platform.admin),
        connect(
            dsn,
            application="nebula",
            min_size=settings.postgres.min_conns,
            max_size=settings.postgres.max_conns,
            acquire_timeout_s=settings.postgres.acquire_timeout_s,
            statement_timeout_s=settings.postgres.statement_timeout_s,
        ) as db,
        _invoker(loaded, context, comet_grpc) as invoker,
        anyio.create_task_group() as services,
    ):
        jobs = Jobs(db)
        listener = Listener(dsn, application="nebula", channels=[CHANNEL])
        with listener.subscribe(CHANNEL) as wakeup:
            queue = AsyncQueue(
                jobs,
                invoker,
                OwnerTokens(context.identity_key, clock=context.clock),
                options=QueueOptions(
                    owner=owner,
                    workers=settings.queue.workers,
                    batch=settings.queue.batch,
                    lease_s=settings.queue.lease_s,
                    safety_poll_s=settings.queue.safety_poll_s,
                    call_timeout_s=settings.queue.call_timeout_s,
                ),
                clock=context.clock,
                metrics=metrics,
                wakeup=wakeup,
                rng=random.SystemRandom(),
            )
            await services.start(listener.run)
            await services.start(Upkeep(jobs, metrics=metrics).run)
            await _run_until_signal(queue)
        services.cancel_scope.cancel()


async def _run_until_signal(queue: AsyncQueue) -> None:
    ended = anyio.Event()

    async def work(*, task_status: TaskStatus[None]) -> None:
        await queue.run(task_status=task_status)
        ended.set()

    async with anyio.create_task_group() as tasks:
        await tasks.start(work)
        log.info("plane.ready")
        signal = await until_signal()
        log.info("plane.stopping", signal=signal.name)
        queue.drain()
        with anyio.move_on_after(DRAIN_S):
            await ended.wait()
        queue.interrupt()
        with anyio.move_on_after(SETTLE_S):
            await ended.wait()
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def _invoker(loaded: Loaded, context: PlaneContext, comet_grpc: str | None) -> AsyncIterator[Invoker]:
    """Comet behind its port, or an executor of our own when no port is given."""
    if comet_grpc is None:
        from constellation.comet.local import local_executor  # noqa: PLC0415  local mode alone pays for the executor

        settings = loaded.settings
        # The executor reads code and writes the log: it has comet's role, not ours.
        dsn = settings.postgres.dsn or await read_when_there(context.state_dir / "comet.dsn")
        async with (
            connect(dsn, application="nebula local comet", max_size=settings.postgres.max_conns) as db,
            local_executor(context, settings, db=db, dsn=dsn) as invoker,
        ):
            yield invoker
        return
    channel = PlaneChannel(name="comet", service_token=context.service_token, address=parse_address(comet_grpc))
    try:
        yield GrpcInvoker(channel)
    finally:
        channel.close()
