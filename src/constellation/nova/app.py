"""Construct the control plane and run it: one process a state directory."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType

import anyio
import structlog
from prometheus_client import CollectorRegistry

import constellation
from constellation.aurora.logging.setup import follow_level
from constellation.aurora.observability.plane import new_context, state_dir_of, telemetry
from constellation.base.address import parse_address
from constellation.base.clock import Clock
from constellation.base.errors import ConstellationError, InvalidRequest
from constellation.base.json_schema import Checker
from constellation.base.lifecycle import until_signal
from constellation.base.sockets import listen_tcp
from constellation.base.statedir import make_private
from constellation.nova.ai.endpoint import Endpoint
from constellation.nova.api import internal
from constellation.nova.api.changes import ChangeFeed
from constellation.nova.api.controlplane.ai import AiRoutes
from constellation.nova.api.controlplane.aliases import AliasRoutes
from constellation.nova.api.controlplane.audit import AuditRoutes
from constellation.nova.api.controlplane.canaries import CanaryRoutes
from constellation.nova.api.controlplane.databases import DatabaseRoutes
from constellation.nova.api.controlplane.destinations import DestinationUses
from constellation.nova.api.controlplane.docs import DocsRoutes
from constellation.nova.api.controlplane.functions import FunctionRoutes, NeedsBuild
from constellation.nova.api.controlplane.gateway import DomainRoutes
from constellation.nova.api.controlplane.ingress import IngressRoutes
from constellation.nova.api.controlplane.keys import KeyRoutes
from constellation.nova.api.controlplane.layers import LayerRoutes, LayerUses
from constellation.nova.api.controlplane.notifications import NotificationRoutes
from constellation.nova.api.controlplane.oidc import OidcRoutes
from constellation.nova.api.controlplane.quotas import QuotaRoutes
from constellation.nova.api.controlplane.rbac import RbacRoutes
from constellation.nova.api.controlplane.runtimes import RuntimeRoutes, probe
from constellation.nova.api.controlplane.schedules import ScheduleRoutes
from constellation.nova.api.controlplane.secrets import SecretRoutes
from constellation.nova.api.controlplane.service_accounts import ServiceAccountRoutes
from constellation.nova.api.controlplane.sessions import Begins, SessionRoutes
from constellation.nova.api.controlplane.settings import SettingRoutes
from constellation.nova.api.controlplane.slos import SloRoutes
from constellation.nova.api.controlplane.tenancy import TenancyRoutes
from constellation.nova.api.controlplane.urls import UrlRoutes
from constellation.nova.api.controlplane.users import UserRoutes
from constellation.nova.api.controlplane.versions import VersionRoutes
from constellation.nova.api.controlplane.volumes import VolumeRoutes, VolumeUses
from constellation.nova.api.mount import Mount, operations_of
from constellation.nova.api.notification_feed import NotificationFeed
from constellation.nova.api.openapi import OpenApiRoutes
from constellation.nova.auth.authenticate import Authenticator
from constellation.nova.auth.oidc import OidcLogins
from constellation.nova.auth.provider import ProviderDoor
from constellation.nova.auth.tokens import Tokens
from constellation.nova.config.interpreters import configured_in
from constellation.nova.config.live import InForce
from constellation.nova.config.load import ConfigInvalid, Loaded
from constellation.nova.config.sections import AuthSettings, DatabaseSettings, NovaSettings
from constellation.nova.domain.build import needs_build
from constellation.nova.domain.database import Networks, read_networks
from constellation.nova.domain.host import check_host, function_domain_in
from constellation.nova.secrets.vault import Vault, open_vault
from constellation.nova.seed.hello_python import hello_python
from constellation.nova.seed.starter import starter
from constellation.nova.service.canaries import CanaryKeeper
from constellation.nova.service.database_sizes import DatabaseSizes
from constellation.nova.service.databases import DatabaseKeeper, EmbeddedServer, OwnSizes
from constellation.nova.service.notices import NoticeKeeper
from constellation.nova.service.slos import SloKeeper
from constellation.nova.store.aliases import Aliases
from constellation.nova.store.api_keys import ApiKeys
from constellation.nova.store.audit import Audit
from constellation.nova.store.bindings import Bindings
from constellation.nova.store.bootstrap import BootstrapSettings, bootstrap
from constellation.nova.store.builds import Builds
from constellation.nova.store.canaries import CHANNEL as CANARIES
from constellation.nova.store.canaries import Canaries
from constellation.nova.store.changes import CHANNEL, Changes
from constellation.nova.store.databases import Databases
from constellation.nova.store.docs import FunctionDocs
from constellation.nova.store.executors import Executors
from constellation.nova.store.function_urls import FunctionUrls
from constellation.nova.store.functions import Functions
from constellation.nova.store.gateway import Domains
from constellation.nova.store.identities import Identities
from constellation.nova.store.ingress import Ingress
from constellation.nova.store.invocations import Invocations
from constellation.nova.store.layers import Layers
from constellation.nova.store.listen import Listener
from constellation.nova.store.logins import Logins
from constellation.nova.store.notifications import CHANNEL as NOTIFICATIONS
from constellation.nova.store.notifications import OUTBOX, Notifications
from constellation.nova.store.passwords import Passwords
from constellation.nova.store.pool import Database, connect_as
from constellation.nova.store.provider_sessions import ProviderSessions
from constellation.nova.store.quotas import Quotas
from constellation.nova.store.schedules import Schedules
from constellation.nova.store.secrets import Secrets
from constellation.nova.store.service_accounts import ServiceAccounts
from constellation.nova.store.settings import CHANNEL as SETTINGS
from constellation.nova.store.settings import SettingsFollower, SetValues
from constellation.nova.store.slos import CHANNEL as SLOS
from constellation.nova.store.slos import Slos
from constellation.nova.store.statistics import Statistics
from constellation.nova.store.tenancy import Tenancy
from constellation.nova.store.topics import Topics
from constellation.nova.store.users import Users
from constellation.nova.store.versions import Versions
from constellation.nova.store.volumes import Volumes
from constellation.routes.registry import ROUTES
from constellation.routes.route import Plane
from constellation.rpc.caller import CallerVerifier
from constellation.rpc.http import serving_http

log = structlog.get_logger()

CLOSE_S = 1.0  # chosen: of connections that nobody uses any more
DRAIN_S = 10.0  # chosen: a request in hand has its answer by then, or its caller has given up


class AlreadyRunning(ConstellationError):
    """Another nova works in this state directory."""

    code, http_status = "already_running", 409

    def __init__(self, state_dir: Path, *, pid: str) -> None:
        super().__init__(
            f"nova runs in {state_dir} already (pid {pid or 'unknown'}); give this one another --state-dir"
        )


async def run(loaded: Loaded) -> None:
    """Run the control plane until SIGTERM or SIGINT.

    Raises:
        AlreadyRunning, AddressUnusable: before anything was touched.
        ConstellationError: as `bootstrap`.
    """
    settings = loaded.settings
    own_hosts = own_hosts_of(settings.nova)
    networks = networks_of(settings.databases)
    state_dir = state_dir_of(settings.platform)
    with _alone_in(state_dir):
        listener, address = listen_tcp(parse_address(settings.nova.http))
        platform = await bootstrap(
            BootstrapSettings(
                state_dir=state_dir,
                pg_dsn=settings.postgres.dsn or None,
                service_token=settings.platform.service_token or None,
                identity_key=settings.platform.identity_key or None,
                role_prefix=settings.postgres.role_prefix,
                postgres_uid=settings.postgres.uid,
                seed=hello_python() if settings.nova.seed else None,
            )
        )
        if platform.admin_key is not None:
            _show_once(platform.admin_key)
        context = new_context(
            "nova",
            settings.platform,
            state_dir=state_dir,
            service_token=platform.service_token,
            identity_key=platform.identity_key.decode(),
        )
        async with (
            connect_as(platform.dsn, settings.postgres, application="nova") as db,
            anyio.create_task_group() as tasks,
        ):
            if platform.postgres is not None:
                await tasks.start(platform.postgres.watch)
            wakeups = Listener(
                platform.dsn, application="nova", channels=(CHANNEL, CANARIES, SLOS, SETTINGS, OUTBOX, NOTIFICATIONS)
            )
            feed = ChangeFeed(Changes(db), wakeups=wakeups)
            await tasks.start(wakeups.run)
            await tasks.start(feed.run)
            in_force = InForce(loaded)
            in_force.watch(follow_level)
            await tasks.start(SettingsFollower(SetValues(db), in_force).run, wakeups.subscribe(SETTINGS))
            await tasks.start(CanaryKeeper(Canaries(db)).run, wakeups.subscribe(CANARIES))
            await tasks.start(SloKeeper(Slos(db)).run, wakeups.subscribe(SLOS))
            told, endpoint = Notifications(db), Endpoint()
            news = NotificationFeed(told, wakeups, now_s=context.clock.monotonic_s)
            await tasks.start(NoticeKeeper(told).run, wakeups.subscribe(OUTBOX))
            vault = await open_vault(
                Secrets(db), state_dir=state_dir, configured=settings.secrets.key, resealed=told.tell_resealed
            )
            await tasks.start(vault.run)
            own_databases: EmbeddedServer | None = None
            if settings.databases.own_server:
                own_databases = EmbeddedServer(state_dir, uid=settings.databases.uid)
                await tasks.start(own_databases.run)
            keeper = DatabaseKeeper(
                Databases(db),
                vault,
                own_databases,
                networks=networks,
                own_per_tenant=settings.databases.per_tenant,
                sizes=OwnSizes(
                    default_mb=settings.databases.size_bytes >> 20, max_mb=settings.databases.max_size_bytes >> 20
                ),
                quotas=Quotas(db),
            )
            await tasks.start(keeper.run)
            if own_databases is not None:
                await tasks.start(DatabaseSizes(Databases(db), keeper).run)
            app = await control_app(
                db,
                vault=vault,
                keeper=keeper,
                feed=feed,
                news=news,
                endpoint=endpoint,
                verifier=context.verifier,
                clock=context.clock,
                registry=context.registry,
                max_body_bytes=settings.nova.max_body_bytes,
                interpreters=configured_in(settings.runtimes),
                in_force=in_force,
                identity_key=platform.identity_key,
                own_hosts=own_hosts,
                function_domain=function_domain_in(settings.zenith.function_domain),
            )
            async with (
                telemetry(context, admin=settings.platform.admin),
                serving_http(app, listener=listener, drain_s=DRAIN_S),
            ):
                log.info("nova.ready", http=str(address), state_dir=str(state_dir))
                received = await until_signal()
                log.info("nova.stopping", signal=received.name)
                feed.close()
                news.close()
            tasks.cancel_scope.cancel()
            with anyio.move_on_after(CLOSE_S, shield=True):
                await endpoint.close()


async def control_app(
    db: Database,
    *,
    vault: Vault,
    keeper: DatabaseKeeper,
    feed: ChangeFeed,
    news: NotificationFeed,
    endpoint: Endpoint,
    verifier: CallerVerifier,
    clock: Clock,
    registry: CollectorRegistry,
    max_body_bytes: int,
    interpreters: Mapping[str, Path] = MappingProxyType({}),
    in_force: InForce,
    identity_key: bytes,
    own_hosts: tuple[str, ...] = (),
    function_domain: str = "",
    needs_build: NeedsBuild = needs_build,
) -> Mount:
    """Return the control plane's HTTP over a database; `needs_build` says which sources can not run as they are."""
    functions = Functions(db, build_queue_depth=lambda tenant: in_force.of(tenant).builds.queue_depth)
    tenancy, keys, changes, secrets = Tenancy(db), ApiKeys(db), Changes(db), Secrets(db)
    users, bindings, passwords = Users(db), Bindings(db), Passwords()
    domains, layers, logins, databases = Domains(db), Layers(db), Logins(db), Databases(db)
    volumes, auth = Volumes(db), in_force.settings.auth
    oidc, at_providers = oidc_logins(auth, key=identity_key, clock=clock), ProviderSessions(db)
    begins = Begins(users, clock=clock, ttl_s=lambda: in_force.settings.auth.session_ttl_s)
    operations = operations_of(
        FunctionRoutes(
            functions,
            Builds(db),
            Executors(db),
            secrets,
            LayerUses(layers),
            databases,
            VolumeUses(volumes),
            DestinationUses(functions, Topics(db)),
            needs_build=needs_build,
        ),
        DocsRoutes(functions, FunctionDocs(db), clock=clock),
        VersionRoutes(functions, Versions(db), Builds(db), DestinationUses(functions, Topics(db))),
        SecretRoutes(secrets, vault),
        LayerRoutes(layers),
        DatabaseRoutes(databases, keeper),
        VolumeRoutes(volumes),
        AliasRoutes(functions, Aliases(db), Canaries(db)),
        CanaryRoutes(functions, Aliases(db), Canaries(db)),
        SloRoutes(functions, Slos(db)),
        AuditRoutes(audit := Audit(db)),
        NotificationRoutes(Notifications(db), news),
        ScheduleRoutes(Schedules(db), functions, Versions(db), Aliases(db), clock=clock),
        KeyRoutes(keys, bindings, tenancy, clock=clock),
        SessionRoutes(users, logins, passwords, begins, oidc, at_providers, clock=clock),
        OidcRoutes(oidc, Identities(db), users, logins, begins, at_providers, clock=clock),
        UserRoutes(users, bindings, passwords, clock=clock, providers=auth.oidc),
        ServiceAccountRoutes(ServiceAccounts(db), bindings),
        RbacRoutes(bindings, ROUTES, clock=clock),
        TenancyRoutes(tenancy, functions, seed_of=lambda tenant, by: starter(tenant, by=by)),
        QuotaRoutes(Quotas(db), clock=clock),
        UrlRoutes(urls := FunctionUrls(db)),
        DomainRoutes(domains, own_hosts=own_hosts, function_domain=function_domain, schemas=Checker()),
        IngressRoutes(functions, Ingress(db)),
        SettingRoutes(values := SetValues(db), in_force, vault),
        AiRoutes(
            endpoint,
            in_force,
            values,
            vault,
            functions=functions,
            versions=Versions(db),
            invocations=Invocations(db),
            statistics=Statistics(db),
        ),
        RuntimeRoutes(functions, find=partial(probe, interpreters)),
        OpenApiRoutes(ROUTES, version=constellation.__version__),
        internal.InternalRoutes(
            authenticator=Authenticator(
                keys, users, bindings, Tokens(in_force.settings.auth.issuers, clock=clock), clock=clock
            ),
            tenancy=tenancy,
            changes=changes,
            feed=feed,
            urls=urls,
            vault=vault,
            databases=databases,
            keeper=keeper,
            audit=audit,
            domains=domains,
            values=values,
        ),
    )
    return Mount(
        routes=[*(route for route in ROUTES if route.plane is Plane.NOVA), *internal.ROUTES],
        operations=operations,
        verifier=verifier,
        tenants=tenancy,
        max_body_bytes=max_body_bytes,
        registry=registry,
    )


def oidc_logins(auth: AuthSettings, *, key: bytes, clock: Clock) -> OidcLogins:
    """Return what knows the configured login providers. `key`: seals what browsers carry between two requests."""
    root = auth.public_url.rstrip("/")
    doors = [
        ProviderDoor(each, redirect_uri=f"{root}/auth/oidc/{each.name}/callback", clock=clock) for each in auth.oidc
    ]
    return OidcLogins(doors, key=key, clock=clock)


def own_hosts_of(settings: NovaSettings) -> tuple[str, ...]:
    """Return the names that no tenant may serve. Raises `ConfigInvalid` for one that is no name."""
    try:
        return tuple(check_host(part) for part in settings.own_hosts.split(",") if part.strip())
    except InvalidRequest as error:
        raise ConfigInvalid("nova.own_hosts", str(error)) from error


def networks_of(databases: DatabaseSettings) -> Networks:
    """Return where servers of databases may be besides. Raises `ConfigInvalid` for what is no network."""
    try:
        return read_networks(databases.networks)
    except ValueError as error:
        raise ConfigInvalid("databases.networks", str(error)) from error


@contextmanager
def _alone_in(state_dir: Path) -> Iterator[None]:
    """Hold the state directory for the length of the block; the kernel lets go of it however we end."""
    path = make_private(state_dir / "run") / "nova.lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyRunning(state_dir, pid=os.read(fd, 20).decode("ascii", "replace").strip()) from error
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


def _show_once(key: str) -> None:
    """Print the first administrator's key, past the log, which hides keys."""
    sys.stdout.write(
        "\nConstellation starts for the first time and has made an administrator.\n"
        f"Its API key is shown this once and stored nowhere:\n\n    {key}\n\n"
    )
    sys.stdout.flush()
