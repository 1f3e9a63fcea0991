"""Construct the execution plane and run it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import structlog

from constellation.aurora.observability.plane import PlaneContext, plane_context, telemetry
from constellation.base.address import parse_address
from constellation.base.lifecycle import until_signal
from constellation.base.sockets import listen_tcp
from constellation.comet.backend.contract import Backend
from constellation.comet.code import CodeShelf
from constellation.comet.dataplane.calls import CallRoutes
from constellation.comet.dataplane.history import HistoryRoutes
from constellation.comet.dataplane.jobs import JobRoutes
from constellation.comet.dataplane.mount import Mount
from constellation.comet.dataplane.status import StatusRoutes
from constellation.comet.executor.executor import Executor
from constellation.comet.executor.meters import Meters, PoolCollector
from constellation.comet.executor.record import RecordWriter
from constellation.comet.functions import FunctionCache
from constellation.comet.namespace.backend import NamespaceBackend
from constellation.comet.namespace.settings import SLOTS, NamespaceSettings, group_name
from constellation.comet.pool.decide import Bounds
from constellation.comet.pool.pool import Pool
from constellation.comet.port import serving_port
from constellation.comet.service import NovaServicer
from constellation.comet.templates import TemplateKeeper
from constellation.native.json_check import is_json
from constellation.native.reactor import Reactor
from constellation.nova.config.load import Loaded
from constellation.nova.config.sections import Settings
from constellation.nova.store.changes import CHANNEL as CHANGES
from constellation.nova.store.changes import Changes
from constellation.nova.store.functions import Functions
from constellation.nova.store.invocations import CHANNEL as RECORDS
from constellation.nova.store.invocations import Invocations
from constellation.nova.store.jobs import Jobs
from constellation.nova.store.listen import Listener
from constellation.nova.store.pool import Database, connect_as
from constellation.nova.store.tenancy import Tenancy
from constellation.rpc.server import Guarded
from constellation.rpc.tls import plane_tls, renewing

log = structlog.get_logger()

# Executors of one platform have host uids of their own: comet's, and those of planes in local mode.
_UID_BLOCKS = {"comet": 0, "corona": 1, "nebula": 2}
FLUSH_S = 5.0  # chosen: the last records of the log get this long to reach the database


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionPlane:
    """What runs calls, and the parts that its transports need."""

    executor: Executor
    pool: Pool
    backend: Backend
    meters: Meters
    jobs: Jobs
    invocations: Invocations
    listener: Listener


async def run(loaded: Loaded) -> None:
    """Run the execution plane until SIGTERM or SIGINT, then finish the calls in hand for up to `comet.drain`."""
    settings = loaded.settings
    context = await plane_context("comet", settings.platform)
    dsn = await context.dsn(loaded.own_dsn)
    tls = await plane_tls(settings.comet.tls)
    listener, address = listen_tcp(parse_address(settings.comet.grpc))
    reactor = Reactor()
    with reactor.turning():
        async with (
            connect_as(dsn, settings.postgres, application="comet") as db,
            execution_plane(context, settings, db=db, dsn=dsn) as plane,
            telemetry(context, admin=settings.platform.admin),
            renewing(tls),
            serving_port(
                context,
                [Guarded(servicer(context, plane), context.verifier)],
                listener=listener,
                reactor=reactor if settings.platform.native_lane else None,
                tls=tls,
            ),
        ):
            log.info("comet.ready", grpc=str(address), tls=tls is not None, state_dir=str(context.state_dir))
            received = await until_signal()
            log.info("comet.stopping", signal=received.name, inflight=plane.executor.inflight)
            if not await plane.executor.drain(within_s=settings.comet.drain_s):
                log.warning("comet.calls_cut_off", count=plane.executor.inflight)


@asynccontextmanager
async def execution_plane(
    context: PlaneContext, settings: Settings, *, db: Database, dsn: str, backend: Backend | None = None
) -> AsyncIterator[ExecutionPlane]:
    """Run everything that calls need for the length of the block; on leaving, every instance is destroyed.

    Args:
        context: of the plane whose process this is; comet itself, or one in local mode.
        db: connections of a role that may read functions and code, and write jobs and the invocation log.
        dsn: for the listener, which has a connection of its own.
        backend: instead of the configured one.
    """
    if backend is None:
        backend = _backend(context, settings)
    meters = Meters(context.registry, max_functions=settings.aurora.max_function_labels)
    functions, invocations, jobs = Functions(db), Invocations(db), Jobs(db)
    code = CodeShelf(
        context.state_dir / ("code" if context.plane == "comet" else f"code-{context.plane}"),
        functions,
        tmp_mb=max(1, settings.sandbox.tmp_bytes >> 20),
        log_limit_bytes=settings.sandbox.log_limit_bytes,
    )
    bounds = Bounds(
        max_instances=settings.pool.max_instances,
        max_boots=settings.pool.max_boots,
        idle_ttl_s=settings.pool.idle_ttl_s,
    )
    pool = Pool(backend, code, bounds, context.clock, boot_timeout_s=settings.pool.boot_timeout_s)
    context.registry.register(PoolCollector(pool))
    cache = FunctionCache(functions, Tenancy(db), Changes(db), clock=context.clock, watchers=(pool, code))
    records = RecordWriter(invocations, settings.invocation_log, dropped=meters.records_dropped)
    executor = Executor(
        functions=cache,
        pool=pool,
        jobs=jobs,
        records=records,
        meters=meters,
        clock=context.clock,
        node=context.node,
        max_inflight=settings.comet.max_inflight,
        is_json=is_json,
    )
    templates = TemplateKeeper(functions, backend, memory_bytes=settings.sandbox.template_memory_bytes)
    listener = Listener(dsn, application=context.plane, channels=(CHANGES, RECORDS))
    async with backend.run():
        async with anyio.create_task_group() as tasks:
            await tasks.start(listener.run)
            await tasks.start(code.run)
            await tasks.start(pool.run)
            await tasks.start(cache.run, listener.subscribe(CHANGES))
            await tasks.start(templates.run, listener.subscribe(CHANGES))
            tasks.start_soon(records.run)
            yield ExecutionPlane(
                executor=executor,
                pool=pool,
                backend=backend,
                meters=meters,
                jobs=jobs,
                invocations=invocations,
                listener=listener,
            )
            tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await records.flush(within_s=FLUSH_S)


def servicer(context: PlaneContext, plane: ExecutionPlane) -> NovaServicer:
    """Return the gRPC service over a plane, data-plane routes included."""
    status = StatusRoutes(plane.pool, [plane.backend], node=context.node, clock=context.clock)
    calls = CallRoutes(plane.executor)
    jobs = JobRoutes(plane.jobs, plane.executor)
    history = HistoryRoutes(plane.invocations, plane.executor, lambda: plane.listener.subscribe(RECORDS))
    operations = {
        name: getattr(group, name)
        for group in (calls, jobs, history, status)
        for name in vars(type(group))
        if not name.startswith("_") and name not in ("uptime_s", "functions")
    }
    dataplane = Mount(operations, clock=context.clock)
    return NovaServicer(plane.executor, dataplane, status, plane.meters, context.clock)


def _backend(context: PlaneContext, settings: Settings) -> Backend:
    return NamespaceBackend(
        NamespaceSettings(
            run_dir=context.state_dir / "run" / f"{context.plane}-sandboxes",
            group=group_name(context.state_dir / context.plane),
            uid_base=settings.sandbox.uid_base + _UID_BLOCKS[context.plane] * SLOTS,
        )
    )
