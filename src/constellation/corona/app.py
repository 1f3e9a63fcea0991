"""Builds corona: the scheduler over its database and a comet, the plane's telemetry beside."""

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
from constellation.corona.scheduler.metrics import SchedulerMetrics
from constellation.corona.scheduler.scheduler import Scheduler, SchedulerOptions
from constellation.nova.config.load import Loaded
from constellation.nova.store.listen import Listener
from constellation.nova.store.pool import connect
from constellation.nova.store.schedules import CHANNEL, Schedules
from constellation.rpc.channel import PlaneChannel
from constellation.rpc.invoker import GrpcInvoker, Invoker
from constellation.rpc.owner import OwnerTokens

log = structlog.get_logger()

DRAIN_S = 3.0  # chosen: a submission takes milliseconds; what is not submitted then fires when its lease ends


async def main(loaded: Loaded, *, comet_grpc: str | None) -> None:
    """Run the plane until SIGTERM or SIGINT."""
    settings = loaded.settings
    context = await plane_context("corona", settings.platform)
    dsn = await context.dsn(settings.postgres.dsn)
    metrics = SchedulerMetrics(context.registry)
    owner = f"{context.node}:{os.getpid()}:{os.urandom(4).hex()}"
    async with (
        telemetry(context, admin=settings.platform.admin),
        connect(
            dsn,
            application="corona",
            min_size=settings.postgres.min_conns,
            max_size=settings.postgres.max_conns,
            acquire_timeout_s=settings.postgres.acquire_timeout_s,
            statement_timeout_s=settings.postgres.statement_timeout_s,
        ) as db,
        _invoker(loaded, context, comet_grpc) as invoker,
        anyio.create_task_group() as services,
    ):
        listener = Listener(dsn, application="corona", channels=[CHANNEL])
        with listener.subscribe(CHANNEL) as wakeup:
            scheduler = Scheduler(
                Schedules(db),
                invoker,
                OwnerTokens(context.identity_key, clock=context.clock),
                options=SchedulerOptions(
                    owner=owner,
                    lease_s=settings.corona.lease_s,
                    batch=settings.corona.batch,
                    safety_poll_s=settings.corona.safety_poll_s,
                ),
                clock=context.clock,
                metrics=metrics,
                wakeup=wakeup,
                rng=random.SystemRandom(),
            )
            await services.start(listener.run)
            await _run_until_signal(scheduler)
        services.cancel_scope.cancel()


async def _run_until_signal(scheduler: Scheduler) -> None:
    ended = anyio.Event()

    async def work(*, task_status: TaskStatus[None]) -> None:
        await scheduler.run(task_status=task_status)
        ended.set()

    async with anyio.create_task_group() as tasks:
        await tasks.start(work)
        log.info("plane.ready")
        signal = await until_signal()
        log.info("plane.stopping", signal=signal.name)
        scheduler.drain()
        with anyio.move_on_after(DRAIN_S):
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
            connect(dsn, application="corona local comet", max_size=settings.postgres.max_conns) as db,
            local_executor(context, settings, db=db, dsn=dsn) as invoker,
        ):
            yield invoker
        return
    channel = PlaneChannel(name="comet", service_token=context.service_token, address=parse_address(comet_grpc))
    try:
        yield GrpcInvoker(channel)
    finally:
        channel.close()
