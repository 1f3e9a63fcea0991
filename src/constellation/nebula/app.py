"""Builds nebula: the queue over its database and a comet, the plane's telemetry beside."""

from __future__ import annotations

import random
from contextlib import AbstractAsyncContextManager

import anyio

from constellation.aurora.logging.setup import follow_level
from constellation.aurora.observability.plane import PlaneContext, plane_context, run_until_signal, telemetry
from constellation.nebula.asyncqueue.metrics import QueueMetrics
from constellation.nebula.asyncqueue.upkeep import Upkeep
from constellation.nebula.asyncqueue.worker import AsyncQueue, QueueOptions
from constellation.nova.config.live import InForce
from constellation.nova.config.load import Loaded
from constellation.nova.store.bell import JOBS
from constellation.nova.store.jobs import Jobs
from constellation.nova.store.listen import Listener
from constellation.nova.store.messages import Messages
from constellation.nova.store.pool import connect_as
from constellation.nova.store.settings import CHANNEL as SETTINGS
from constellation.nova.store.settings import SettingsFollower, SetValues
from constellation.rpc.invoker import Invoker, grpc_invoker
from constellation.rpc.owner import OwnerTokens

DRAIN_S = 5.0  # chosen: most calls end within it; the others go back in line
SETTLE_S = 2.0  # chosen: the commits of what was just interrupted


async def run(loaded: Loaded, *, comet_grpc: str | None) -> None:
    """Run the plane until SIGTERM or SIGINT."""
    settings, in_force = loaded.settings, InForce(loaded)
    in_force.watch(follow_level)
    context = await plane_context("nebula", settings.platform)
    dsn = await context.dsn(loaded.own_dsn)
    metrics = QueueMetrics(context.registry)
    async with (
        telemetry(context, admin=settings.platform.admin),
        connect_as(dsn, settings.postgres, application="nebula") as db,
        _invoker(loaded, context, comet_grpc) as invoker,
        anyio.create_task_group() as services,
    ):
        jobs = Jobs(db)
        listener = Listener(dsn, application="nebula", channels=[JOBS, SETTINGS])
        with listener.subscribe(JOBS) as wakeup:
            queue = AsyncQueue(
                jobs,
                invoker,
                OwnerTokens(context.identity_key, clock=context.clock),
                options=QueueOptions(
                    owner=context.new_owner(),
                    workers=settings.queue.workers,
                    batch=settings.queue.batch,
                    lease_s=settings.queue.lease_s,
                    safety_poll_s=settings.queue.safety_poll_s,
                    call_timeout_s=lambda: in_force.settings.queue.call_timeout_s,
                ),
                clock=context.clock,
                metrics=metrics,
                wakeup=wakeup,
                rng=random.SystemRandom(),
            )
            await services.start(listener.run)
            await services.start(SettingsFollower(SetValues(db), in_force).run, listener.subscribe(SETTINGS))
            await services.start(Upkeep(jobs, Messages(db), metrics=metrics).run)
            await run_until_signal(queue, ending=[(queue.drain, DRAIN_S), (queue.interrupt, SETTLE_S)])
        services.cancel_scope.cancel()


def _invoker(loaded: Loaded, context: PlaneContext, comet_grpc: str | None) -> AbstractAsyncContextManager[Invoker]:
    """Comet behind its port, or an executor of our own when no port is given."""
    if comet_grpc is not None:
        tls = loaded.settings.queue.comet_tls
        return grpc_invoker(comet_grpc, service_token=context.service_token, tls=tls, where="queue.comet_tls")
    from constellation.comet.local import local_executor  # noqa: PLC0415  local mode alone pays for the executor

    return local_executor(context, loaded)
