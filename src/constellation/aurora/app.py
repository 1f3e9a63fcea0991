"""Builds aurora: what every plane of this node counted, over HTTP, and housekeeping of the history tables."""

from __future__ import annotations

from dataclasses import replace

import anyio
import structlog

from constellation.aurora.housekeeping import Housekeeping, HousekeepingOptions
from constellation.aurora.logging.setup import follow_level
from constellation.aurora.observability.collect import PLANES, PlaneCollector
from constellation.aurora.observability.overview import Overview
from constellation.aurora.observability.plane import plane_context, socket_path, telemetry
from constellation.aurora.pages import pages
from constellation.base.address import parse_address
from constellation.base.lifecycle import until_signal
from constellation.base.sockets import listen_tcp
from constellation.nova.config.live import InForce
from constellation.nova.config.load import Loaded
from constellation.nova.config.sections import Settings
from constellation.nova.store.listen import Listener, Wakeup
from constellation.nova.store.pool import connect_as
from constellation.nova.store.retention import Retention
from constellation.nova.store.settings import CHANNEL as SETTINGS
from constellation.nova.store.settings import SettingsFollower, SetValues
from constellation.rpc.http import serving_http

log = structlog.get_logger()

DRAIN_S = 2.0  # chosen: a scrape takes less, and Prometheus comes again


async def run(loaded: Loaded) -> None:
    """Run the plane until SIGTERM or SIGINT."""
    settings = loaded.settings
    context = await plane_context("aurora", settings.platform)
    dsn = await context.dsn(loaded.own_dsn)
    listener, address = listen_tcp(parse_address(settings.aurora.listen))
    # Housekeeping is one statement at a time; a partition of a busy table may wait for its lock.
    housekeeping_connections = replace(settings.postgres, min_conns=0, max_conns=2, statement_timeout_s=60.0)
    planes = PlaneCollector(
        {plane: socket_path(context.state_dir, plane) for plane in PLANES},
        service_token=context.service_token,
        timeout_s=settings.aurora.collect_timeout_s,
    )
    overview = Overview(planes, node=context.node, max_function_labels=settings.aurora.max_function_labels)
    try:
        async with (
            telemetry(context, admin=settings.platform.admin),
            connect_as(dsn, housekeeping_connections, application="aurora") as db,
            serving_http(pages(overview), listener=listener, drain_s=DRAIN_S),
            anyio.create_task_group() as services,
        ):
            in_force, listener_of_db = InForce(loaded), Listener(dsn, application="aurora", channels=[SETTINGS])
            in_force.watch(follow_level)
            changed = Wakeup()
            in_force.watch(lambda _now: changed.wake_nowait())
            await services.start(listener_of_db.run)
            await services.start(SettingsFollower(SetValues(db), in_force).run, listener_of_db.subscribe(SETTINGS))
            housekeeping = Housekeeping(
                Retention(db),
                options=lambda: _options(in_force.settings),
                changed=changed,
                clock=context.clock,
                registry=context.registry,
            )
            await services.start(housekeeping.run)
            log.info("plane.ready", address=str(address))
            signal = await until_signal()
            log.info("plane.stopping", signal=signal.name)
            services.cancel_scope.cancel()
    finally:
        planes.close()


def _options(settings: Settings) -> HousekeepingOptions:
    return HousekeepingOptions(
        interval_s=settings.aurora.housekeeping_interval_s,
        retention_days=settings.invocation_log.retention_days,
        audit_days=settings.audit.retention_days,
        notifications_days=settings.notifications.retention_days,
    )
