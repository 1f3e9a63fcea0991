"""Builds corona: the scheduler over its database and a comet, the plane's telemetry beside."""

from __future__ import annotations

import random
from contextlib import AbstractAsyncContextManager

import anyio

from constellation.aurora.logging.setup import follow_level
from constellation.aurora.observability.plane import PlaneContext, plane_context, run_until_signal, telemetry
from constellation.corona.scheduler.metrics import SchedulerMetrics
from constellation.corona.scheduler.scheduler import Scheduler, SchedulerOptions
from constellation.nova.config.live import InForce
from constellation.nova.config.load import Loaded
from constellation.nova.store.listen import Listener
from constellation.nova.store.pool import connect_as
from constellation.nova.store.schedules import CHANNEL, Schedules
from constellation.nova.store.settings import CHANNEL as SETTINGS
from constellation.nova.store.settings import SettingsFollower, SetValues
from constellation.rpc.invoker import Invoker, grpc_invoker
from constellation.rpc.owner import OwnerTokens

DRAIN_S = 3.0  # chosen: a submission takes milliseconds; what is not submitted then fires when its lease ends


async def run(loaded: Loaded, *, comet_grpc: str | None) -> None:
    """Run the plane until SIGTERM or SIGINT."""
    settings, in_force = loaded.settings, InForce(loaded)
    in_force.watch(follow_level)
    context = await plane_context("corona", settings.platform)
    dsn = await context.dsn(loaded.own_dsn)
    metrics = SchedulerMetrics(context.registry)
    async with (
        telemetry(context, admin=settings.platform.admin),
        connect_as(dsn, settings.postgres, application="corona") as db,
        _invoker(loaded, context, comet_grpc) as invoker,
        anyio.create_task_group() as services,
    ):
        listener = Listener(dsn, application="corona", channels=[CHANNEL, SETTINGS])
        with listener.subscribe(CHANNEL) as wakeup:
            scheduler = Scheduler(
                Schedules(db),
                invoker,
                OwnerTokens(context.identity_key, clock=context.clock),
                options=SchedulerOptions(
                    owner=context.new_owner(),
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
            await services.start(SettingsFollower(SetValues(db), in_force).run, listener.subscribe(SETTINGS))
            await run_until_signal(scheduler, ending=[(scheduler.drain, DRAIN_S)])
        services.cancel_scope.cancel()


def _invoker(loaded: Loaded, context: PlaneContext, comet_grpc: str | None) -> AbstractAsyncContextManager[Invoker]:
    """Comet behind its port, or an executor of our own when no port is given."""
    if comet_grpc is not None:
        tls = loaded.settings.corona.comet_tls
        return grpc_invoker(comet_grpc, service_token=context.service_token, tls=tls, where="corona.comet_tls")
    from constellation.comet.local import local_executor  # noqa: PLC0415  local mode alone pays for the executor

    return local_executor(context, loaded)
