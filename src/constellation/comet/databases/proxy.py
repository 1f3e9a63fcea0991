"""The parts of the proxy of one plane, put together."""

from __future__ import annotations

from dataclasses import dataclass

from constellation.aurora.observability.plane import PlaneContext
from constellation.comet.databases.doors import Doors
from constellation.comet.databases.meters import DatabaseMeters
from constellation.comet.databases.sources import DatabaseSources, NovaLogins
from constellation.comet.executor.record import RecordWriter
from constellation.comet.pool.sources import Sources
from constellation.comet.resolving import NovaAnswers
from constellation.nova.config.load import ConfigInvalid
from constellation.nova.config.sections import Settings
from constellation.nova.domain.database import Networks, read_networks
from constellation.nova.store.databases import DatabaseRequest, Databases
from constellation.nova.store.pool import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """What leads functions to their databases."""

    logins: NovaLogins
    doors: Doors
    requests: RecordWriter[DatabaseRequest]

    def sources(self, sources: Sources) -> DatabaseSources:
        """Return what instances are made of, with sockets that lead here."""
        return DatabaseSources(sources, self.logins, self.doors)


def proxy_of(context: PlaneContext, settings: Settings, nova: NovaAnswers, db: Database) -> Proxy:
    """Return the proxy of a plane, which serves once its doors run. Raises `ConfigInvalid`."""
    meters = DatabaseMeters(context.registry)
    logins = NovaLogins(nova)
    databases = Databases(db)
    requests = RecordWriter(databases, settings.invocation_log, dropped=meters.requests_dropped)
    doors = Doors(
        context.state_dir / "run" / f"{context.plane}-databases",
        clock=context.clock,
        meters=meters,
        record=requests.put_nowait,
        repair=logins.repair,
        size_of=databases.size_of,
        allowed=_networks(settings.databases.networks),
        max_sessions=settings.databases.max_sessions,
    )
    return Proxy(logins=logins, doors=doors, requests=requests)


def _networks(text: str) -> Networks:
    try:
        return read_networks(text)
    except ValueError as error:
        raise ConfigInvalid("databases.networks", str(error)) from error
