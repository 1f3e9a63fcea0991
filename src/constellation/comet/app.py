"""Construct the execution plane and run it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import structlog

from constellation.aurora.logging.setup import follow_level
from constellation.aurora.metrics.registry import DURATION_BUCKETS_S
from constellation.aurora.observability.plane import PlaneContext, plane_context, socket_path, telemetry
from constellation.base.address import parse_address
from constellation.base.lifecycle import until_signal
from constellation.base.sockets import listen_tcp
from constellation.comet.asks.answers import answers_of
from constellation.comet.asks.desk import AskDesk
from constellation.comet.backend.contract import Backend, BackendSupport
from constellation.comet.backend.router import Router
from constellation.comet.breakers import BreakerWatch
from constellation.comet.builds.contract import Builder
from constellation.comet.builds.start import build_options, builder_of, ended_builds
from constellation.comet.builds.worker import BuildWorker
from constellation.comet.databases.proxy import proxy_of
from constellation.comet.dataplane.builds import BuildRoutes
from constellation.comet.dataplane.calls import CallRoutes
from constellation.comet.dataplane.executions import ExecutionRoutes
from constellation.comet.dataplane.history import HistoryRoutes
from constellation.comet.dataplane.inside import InsideRoutes
from constellation.comet.dataplane.jobs import JobRoutes
from constellation.comet.dataplane.messages import MessageRoutes
from constellation.comet.dataplane.mount import Mount
from constellation.comet.dataplane.sandboxes import SandboxRoutes
from constellation.comet.dataplane.state import StateRoutes
from constellation.comet.dataplane.statistics import StatisticsRoutes
from constellation.comet.dataplane.status import StatusRoutes
from constellation.comet.dataplane.topics import TopicRoutes
from constellation.comet.docker.backend import DockerBackend
from constellation.comet.docker.settings import DockerSettings
from constellation.comet.executor.executor import Executor
from constellation.comet.executor.meters import Meters
from constellation.comet.executor.once import Once
from constellation.comet.executor.record import RecordWriter
from constellation.comet.executor.rows import RowWriter
from constellation.comet.functions import FunctionCache
from constellation.comet.lane import LaneKeeper
from constellation.comet.materials import materials_of
from constellation.comet.namespace.backend import NamespaceBackend
from constellation.comet.namespace.settings import SLOTS, NamespaceSettings, group_name
from constellation.comet.network.expected import NetworkExpected
from constellation.comet.pool.pool import Pool
from constellation.comet.port import serving_port
from constellation.comet.publishing import Publishing
from constellation.comet.qualified import Names, Qualified
from constellation.comet.resolving import NovaAnswers
from constellation.comet.sandboxes.holds import Holds
from constellation.comet.sandboxes.machines import Machines
from constellation.comet.sandboxes.start import machines_of
from constellation.comet.sandboxes.tunnels import Tunnels
from constellation.comet.secrets import uses
from constellation.comet.service import NovaServicer
from constellation.comet.templates import TemplateKeeper
from constellation.comet.tenants import Tenants
from constellation.comet.wakefulness import Wakefulness
from constellation.comet.wasm.backend import WasmBackend
from constellation.comet.wasm.settings import WasmSettings
from constellation.native.h2 import Ports
from constellation.native.json_check import is_json
from constellation.native.link import Links
from constellation.native.reactor import Reactor
from constellation.native.table import Table
from constellation.native.table_values import TableOptions
from constellation.native.tls import hear_refusals
from constellation.nova.config.interpreters import configured_in
from constellation.nova.config.live import InForce
from constellation.nova.config.load import Loaded
from constellation.nova.config.sections import Settings
from constellation.nova.domain.function import AUTO_BACKEND
from constellation.nova.domain.runtimes import WASM
from constellation.nova.store.aliases import Aliases
from constellation.nova.store.artifacts import Artifacts
from constellation.nova.store.builds import CHANNEL as BUILDS
from constellation.nova.store.builds import PROGRESS, Builds
from constellation.nova.store.call_keys import CallKeys
from constellation.nova.store.changes import CHANNEL as CHANGES
from constellation.nova.store.changes import Changes
from constellation.nova.store.executors import BackendAbility, Executors
from constellation.nova.store.functions import Functions
from constellation.nova.store.invocations import CHANNEL as RECORDS
from constellation.nova.store.invocations import Invocations
from constellation.nova.store.jobs import Jobs
from constellation.nova.store.listen import Listener
from constellation.nova.store.messages import Messages
from constellation.nova.store.notifications import Notifications
from constellation.nova.store.pool import Database, connect_as
from constellation.nova.store.quotas import Quotas
from constellation.nova.store.sandboxes import Sandboxes
from constellation.nova.store.settings import CHANNEL as SETTINGS
from constellation.nova.store.settings import SettingsFollower, SetValues
from constellation.nova.store.state import State
from constellation.nova.store.statistics import Statistics
from constellation.nova.store.steps import Steps
from constellation.nova.store.topics import Topics
from constellation.rpc.near import listening_near
from constellation.rpc.server import Guarded
from constellation.rpc.tls import plane_tls, renewing

log = structlog.get_logger()

# Executors of one platform have host uids of their own: comet's, and those of planes in local mode.
_UID_BLOCKS = {"comet": 0, "corona": 1, "nebula": 2}
_SANDBOX_UID_BLOCK = 2 * len(_UID_BLOCKS)  # behind those of functions: namespaces', then containers'
FLUSH_S = 5.0  # chosen: the last records of the log get this long to reach the database


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionPlane:
    """What runs calls, and the parts that its transports need."""

    executor: Executor
    once: Once
    pool: Pool
    backends: Sequence[Backend]  # the first is the default
    meters: Meters
    jobs: Jobs
    builds: Builds
    state: State
    steps: Steps
    topics: Topics
    messages: Messages
    publishing: Publishing
    invocations: Invocations
    statistics: Statistics
    listener: Listener
    lane: LaneKeeper  # serves nothing until it is given a port
    sandboxes: Sandboxes
    machines: Machines  # tends nothing in local mode
    in_force: InForce


async def run(loaded: Loaded) -> None:
    """Run the execution plane until SIGTERM or SIGINT, then finish the calls in hand for up to `comet.drain`."""
    settings = loaded.settings
    context = await plane_context("comet", settings.platform)
    dsn = await context.dsn(loaded.own_dsn)
    tls = await plane_tls(settings.comet.tls)
    listener, address = listen_tcp(parse_address(settings.comet.grpc))
    is_native = settings.platform.native_lane
    sockets = socket_path(context.state_dir, context.plane).parent
    reactor = Reactor()
    hear_refusals(reactor, of_clients=None if tls is None else tls.refusals.native, of_servers=None)
    with (
        reactor.turning(),
        # at once, so that a caller that comes while we start does not stay with TCP; with TLS nobody is let in without
        listening_near(sockets, listener) if is_native and tls is None else nullcontext() as near,
    ):
        async with (
            connect_as(dsn, settings.postgres, application="comet") as db,
            execution_plane(context, settings, reactor, db=db, dsn=dsn) as plane,
            telemetry(context, admin=settings.platform.admin),
            renewing(tls),
            serving_port(
                context,
                [Guarded(servicer(context, plane), context.verifier)],
                listener=listener,
                near=near,
                ports=Ports(reactor) if is_native else None,
                lane=plane.lane,
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
    context: PlaneContext,
    settings: Settings,
    reactor: Reactor,
    *,
    db: Database,
    dsn: str,
    backend: Backend | None = None,
    builder: Builder | None = None,
) -> AsyncIterator[ExecutionPlane]:
    """Run everything that calls need for the length of the block; on leaving, every instance is destroyed.

    Args:
        context: of the plane whose process this is; comet itself, or one in local mode.
        reactor: the process's own; it turns around the block.
        db: connections of a role that may read functions and code, and write jobs and the invocation log.
        dsn: for the listener, which has a connection of its own.
        backend: instead of the configured ones.
        builder: likewise.
    """
    in_force = InForce(Loaded(settings=settings))
    in_force.watch(follow_level)
    links = Links(reactor)
    code_root = context.state_dir / ("code" if context.plane == "comet" else f"code-{context.plane}")
    router = Router(
        [backend] if backend is not None else _backends(context, settings, links, code_root), usual={WASM.id: "wasm"}
    )
    table = Table(
        TableOptions(
            max_instances=settings.pool.max_instances,
            max_boots=settings.pool.max_boots,
            max_calls=settings.comet.max_inflight,
            idle_ttl_s=settings.pool.idle_ttl_s,
            max_records=settings.invocation_log.buffer_rows,
            max_meters=settings.aurora.max_function_labels + 1,
            bucket_bounds_s=DURATION_BUCKETS_S,
            hash_seed=secrets.randbits(64),
        )
    )
    meters = Meters(context.registry, table)
    functions, invocations, jobs = Functions(db), Invocations(db), Jobs(db)
    builds = Builds(db, queue_depth=lambda tenant: in_force.of(tenant).builds.queue_depth)
    state = State(db, max_keys=lambda tenant: in_force.of(tenant).state.max_keys)
    steps, messages, tenants = Steps(db, jobs), Messages(db), Tenants(Quotas(db), table, context.clock)
    publishing = Publishing(messages, tenants, clock=context.clock, registry=context.registry)
    looks_ahead = context.plane == "comet"  # in local mode the others serve a few calls of few functions
    nova = NovaAnswers(settings.comet.nova_url, context)
    proxy = proxy_of(context, settings, nova, db)
    materials = materials_of(context, settings, db, functions, nova, proxy, looks_ahead=looks_ahead)
    pool = Pool(
        router,
        materials.sources,
        table,
        context.clock,
        boot_timeout_s=settings.pool.boot_timeout_s,
        meter_of=meters.number_of,
    )
    records = RecordWriter(invocations, settings.invocation_log, dropped=meters.records_dropped)
    rows = RowWriter(table, invocations, settings.invocation_log, dropped=meters.records_dropped)
    wakefulness = Wakefulness(lambda: meters.invocations_total, context.clock)

    def wake() -> None:
        rows.wake_nowait()
        wakefulness.wake_nowait()

    lane = LaneKeeper(
        reactor, links, table, pool, on_records=wake, service_token=context.service_token, node=context.node
    )
    breakers = BreakerWatch(table, pool, Notifications(db), clock=context.clock)
    networks = [each for each in router.backends if isinstance(each, NamespaceBackend | DockerBackend)]
    cache = FunctionCache(
        functions,
        tenants,
        Changes(db),
        clock=context.clock,
        versions=Aliases(db),
        on_kept=Names(table, pool).tell,
        watchers=(
            pool,
            materials.code,
            materials.layers,
            lane,
            breakers,
            *(_network_expected(each, router.name) for each in networks),
        ),
        on_secret=lambda change: pool.renew(uses(change)),
        looks_ahead=looks_ahead,
    )
    executor = Executor(
        functions=cache,
        pool=pool,
        jobs=jobs,
        records=records,
        meters=meters,
        clock=context.clock,
        node=context.node,
        is_json=is_json,
        qualified=Qualified(table, pool, cache),
        queue_depth=tenants.queue_depth,
    )
    once = Once(
        executor, CallKeys(db), lambda: in_force.settings.idempotency, clock=context.clock, registry=context.registry
    )
    desk = AskDesk(
        answers_of(
            executor,
            state,
            steps,
            publishing,
            clock=context.clock,
            max_steps=lambda tenant: in_force.of(tenant).state.max_steps,
        ),
        clock=context.clock,
        registry=context.registry,
        max_functions=settings.aurora.max_function_labels,
    )
    links.hear_asks(desk.take_nowait)
    templates = TemplateKeeper(functions, router, memory_bytes=settings.sandbox.template_memory_bytes)
    sandboxes = Sandboxes(db, node=context.node, limits=lambda tenant: in_force.of(tenant).sandboxes)
    first_uid = settings.sandbox.uid_base + _SANDBOX_UID_BLOCK * SLOTS
    machines = machines_of(context, settings, sandboxes, router, Holds(tenants, table), uid_base=first_uid)
    listener = Listener(dsn, application=context.plane, channels=(CHANGES, RECORDS, BUILDS, PROGRESS, SETTINGS))
    async with router.run():
        if looks_ahead:
            await Executors(db).tell(context.node, [_ability(each.support()) for each in router.backends])
        if builder is None:
            builder = builder_of(context, settings, router)
        async with anyio.create_task_group() as tasks, lane.kept():
            await tasks.start(listener.run)
            await tasks.start(SettingsFollower(SetValues(db), in_force).run, listener.subscribe(SETTINGS))
            await tasks.start(desk.run)
            await tasks.start(materials.run)
            await tasks.start(pool.run)
            await tasks.start(cache.run, listener.subscribe(CHANGES))
            await tasks.start(tenants.run)
            await tasks.start(once.run)
            await tasks.start(templates.run, listener.subscribe(CHANGES))
            if builder is not None:
                worker = BuildWorker(
                    builds,
                    Artifacts(db),
                    functions,
                    builder,
                    root=context.state_dir / "builds",
                    options=build_options(context, in_force),
                    ended=ended_builds(context.registry),
                )
                await tasks.start(worker.run, listener.subscribe(BUILDS))
            if context.plane == "comet":
                await tasks.start(machines.run)
            tasks.start_soon(records.run)
            tasks.start_soon(breakers.run)
            tasks.start_soon(proxy.requests.run)
            tasks.start_soon(rows.run, lane.hear_records)
            if settings.comet.low_latency and looks_ahead:
                tasks.start_soon(wakefulness.run)
            yield ExecutionPlane(
                executor=executor,
                once=once,
                pool=pool,
                backends=router.backends,
                meters=meters,
                jobs=jobs,
                builds=builds,
                state=state,
                steps=steps,
                topics=Topics(db),
                messages=messages,
                publishing=publishing,
                invocations=invocations,
                statistics=Statistics(db),
                listener=listener,
                lane=lane,
                sandboxes=sandboxes,
                machines=machines,
                in_force=in_force,
            )
            tasks.cancel_scope.cancel()
        nova.close()
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as ending:
                for flush in (records.flush, rows.flush, proxy.requests.flush, tenants.flush):
                    ending.start_soon(partial(flush, within_s=FLUSH_S))


def servicer(context: PlaneContext, plane: ExecutionPlane) -> NovaServicer:
    """Return the gRPC service over a plane, data-plane routes included."""
    settings_of = plane.in_force.of
    status = StatusRoutes(plane.pool, plane.backends, context.registry, node=context.node, clock=context.clock)
    calls = CallRoutes(plane.executor)
    jobs = JobRoutes(plane.jobs, plane.executor)
    builds = BuildRoutes(plane.builds, plane.executor, lambda: plane.listener.subscribe(PROGRESS))
    statistics = StatisticsRoutes(plane.statistics, plane.executor, plane.in_force)
    state = StateRoutes(plane.state, plane.executor)
    executions = ExecutionRoutes(plane.jobs, plane.steps, plane.executor, context.clock)
    topics = TopicRoutes(plane.topics, plane.messages)
    messages = MessageRoutes(plane.messages, plane.topics, plane.publishing, clock=context.clock)
    history = HistoryRoutes(plane.invocations, plane.executor, lambda: plane.listener.subscribe(RECORDS))
    sandboxes = SandboxRoutes(
        plane.sandboxes, plane.machines, max_ttl_s=lambda tenant: settings_of(tenant).sandboxes.max_ttl_s
    )
    inside = InsideRoutes(plane.machines)
    operations = {
        name: getattr(group, name)
        for group in (
            calls,
            jobs,
            executions,
            state,
            topics,
            messages,
            builds,
            history,
            statistics,
            status,
            sandboxes,
            inside,
        )
        for name in vars(type(group))
        if not name.startswith("_") and name not in ("uptime_s", "functions")
    }
    dataplane = Mount(operations, clock=context.clock)
    return NovaServicer(
        plane.executor,
        plane.once,
        dataplane,
        status,
        plane.meters,
        context.clock,
        learn=plane.lane.learn,
        tunnels=Tunnels(plane.machines),
    )


def _backends(context: PlaneContext, settings: Settings, links: Links, code_root: Path) -> tuple[Backend, ...]:
    run_dir, block = context.state_dir / "run", _UID_BLOCKS[context.plane]
    platform = group_name(context.state_dir / context.plane)
    sandboxes = NamespaceSettings(
        run_dir=run_dir / f"{context.plane}-sandboxes",
        kit_dir=context.state_dir / "kits",
        group=platform,
        uid_base=settings.sandbox.uid_base + block * SLOTS,
        interpreters=configured_in(settings.runtimes),
        tmp_mb=max(1, settings.sandbox.tmp_bytes >> 20),
    )
    docker = DockerSettings.of(
        settings.docker,
        run_dir=run_dir / f"{context.plane}-containers",
        platform=platform,
        uid_base=settings.sandbox.uid_base + (len(_UID_BLOCKS) + block) * SLOTS,
    )
    namespace = NamespaceBackend(sandboxes, links)
    wasm = WasmBackend(WasmSettings(code_root=code_root), links, namespace)
    return namespace, DockerBackend(docker, links), wasm


def _ability(support: BackendSupport) -> BackendAbility:
    return BackendAbility(
        name=support.name, is_available=support.available, egress_reason=support.reason or support.egress_reason
    )


def _network_expected(backend: NamespaceBackend | DockerBackend, default: str) -> NetworkExpected:
    named = {backend.name, AUTO_BACKEND} if backend.name == default else {backend.name}
    return NetworkExpected(backend.start_network_nowait, backends=named)
