"""Custom domains and the routes under them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from constellation.base.errors import AlreadyExists, NotFound, StateConflict, VersionConflict
from constellation.base.ids import uuid7
from constellation.nova.domain.gateway import MAX_DOMAINS, MAX_ROUTES, Auth, Domain, GatewayRoute
from constellation.nova.domain.host import cover_of
from constellation.nova.store.aliases import refuse_unknown
from constellation.nova.store.page import Page
from constellation.nova.store.pool import Database, Record, Session
from constellation.nova.store.queries import load

SQL = load("gateway")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedDomain:
    """A domain as gateways read it: its enabled routes, and whether its tenant is suspended."""

    domain: Domain
    is_suspended: bool
    routes: tuple[GatewayRoute, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRoute:
    """A route of a domain that is to be; its fields are those of `GatewayRoute`."""

    path: str
    shape: str
    methods: tuple[str, ...]
    function_name: str
    qualifier: str
    auth: Auth
    enabled: bool
    policy: str

    @property
    def key(self) -> tuple[str, frozenset[str]]:
        """What makes it the same route as one that is there."""
        return self.path, frozenset(self.methods)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced:
    """What became of a domain's routes."""

    added: tuple[NewRoute, ...]
    changed: tuple[NewRoute, ...]
    deleted: tuple[GatewayRoute, ...]
    kept: int


class _OnlyAsked(Exception):
    """Nothing of it is to be written."""


class Domains:
    """The tables domains and gateway_routes."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def create(self, tenant: str, namespace: str, host: str) -> Domain:
        """Claim a host for a scope.

        Raises:
            AlreadyExists: the scope has it.
            StateConflict: it, or a wildcard that covers it or that it covers, is another's; or the tenant has too many.
        """
        async with self._db.transaction() as tx:
            await tx.fetch_value(SQL["serialize"])  # of two claims at once, one sees the other
            if await tx.fetch_row(SQL["get_domain"], tenant, namespace, host) is not None:
                raise AlreadyExists("domain", host)
            if await tx.fetch_value(SQL["claimed"], tenant, host, cover_of(host)):
                raise StateConflict("domain", host, state="another tenant's", wanted="unclaimed")
            if await tx.fetch_value(SQL["count_tenant_domains"], tenant) >= MAX_DOMAINS:
                raise StateConflict(
                    "domain", host, state=f"one too many for the tenant, which has {MAX_DOMAINS}", wanted="one of fewer"
                )
            try:
                row = await tx.fetch_row(SQL["insert_domain"], tenant, namespace, host)
            except asyncpg.UniqueViolationError as error:
                raise StateConflict("domain", host, state="in another namespace", wanted="unclaimed") from error
        assert row is not None
        return Domain(**row)

    async def get(self, tenant: str, namespace: str, host: str) -> Domain:
        """Return a domain. Raises `NotFound`."""
        row = await self._db.fetch_row(SQL["get_domain"], tenant, namespace, host)
        if row is None:
            raise NotFound("domain", host)
        return Domain(**row)

    async def list(self, tenant: str, namespace: str, *, limit: int = 100, offset: int = 0) -> Page[Domain]:
        """Return the domains of a scope by host, with the exact total."""
        rows = await self._db.fetch(SQL["list_domains"], tenant, namespace, limit, offset)
        total: int = await self._db.fetch_value(SQL["count_domains"], tenant, namespace)
        return Page(items=tuple(Domain(**row) for row in rows), total=total, has_more=offset + len(rows) < total)

    async def delete(self, tenant: str, namespace: str, host: str) -> None:
        """Delete a domain and its routes. Raises `NotFound`."""
        async with self._db.transaction() as tx:
            if not await tx.execute(SQL["delete_domain"], tenant, namespace, host):
                raise NotFound("domain", host)

    async def create_route(
        self, *, tenant: str, namespace: str, host: str, path: str, shape: str, methods: tuple[str, ...],
        function_name: str, auth: Auth, enabled: bool, policy: str = "{}", qualifier: str = "",
    ) -> GatewayRoute:  # fmt: skip
        """Write a new route.

        Raises:
            NotFound: the domain, the function, or the version or alias of it does not exist in the scope.
            AlreadyExists: another route of the domain has the same paths and one of the methods.
            StateConflict: the domain has too many.
        """
        route_id = uuid7()
        try:
            async with self._db.transaction() as tx:
                await tx.fetch_value(SQL["serialize"])
                await _check_rival(tx, tenant, namespace, host, route_id, shape, path, methods)
                await refuse_unknown(tx, tenant, namespace, function_name, qualifier)
                if await tx.fetch_value(SQL["count_host_routes"], tenant, namespace, host) >= MAX_ROUTES:
                    raise StateConflict("domain", host, state=f"full with {MAX_ROUTES} routes", wanted="one with fewer")
                row = await tx.fetch_row(
                    SQL["insert_route"], tenant, namespace, route_id, host, path, shape, list(methods),
                    function_name, auth.value, enabled, policy, qualifier,
                )  # fmt: skip
        except asyncpg.ForeignKeyViolationError as error:
            raise _absent(error, host, function_name) from error
        assert row is not None
        return _route(row)

    async def replace_routes(
        self, tenant: str, namespace: str, host: str, wanted: Sequence[NewRoute], *,
        is_same: Callable[[NewRoute, GatewayRoute], bool], is_dry_run: bool,
    ) -> Replaced:  # fmt: skip
        """Put routes in place of all that a domain has: all of them, or none. Those that stay keep their ids.

        Args:
            is_dry_run: check all of it, and write nothing.

        Raises:
            NotFound, AlreadyExists, StateConflict: as `create_route`; two of them may be rivals, too.
        """
        if len(wanted) > MAX_ROUTES:
            raise StateConflict("domain", host, state=f"full with {MAX_ROUTES} routes", wanted="one with fewer")
        added: list[NewRoute] = []
        changed: list[NewRoute] = []
        deleted: list[GatewayRoute] = []
        new: NewRoute | None = None
        try:
            async with self._db.transaction() as tx:
                await tx.fetch_value(SQL["serialize"])
                if await tx.fetch_row(SQL["get_domain"], tenant, namespace, host) is None:
                    raise NotFound("domain", host)
                rows = await tx.fetch(SQL["list_routes"], tenant, namespace, host, None, MAX_ROUTES, 0)
                held = {(route.path, frozenset(route.methods)): route for route in map(_route, rows)}
                for key in held.keys() - {each.key for each in wanted}:
                    deleted.append(held.pop(key))
                    await tx.execute(SQL["delete_route"], tenant, namespace, deleted[-1].id)
                for new in wanted:
                    old = held.get(new.key)
                    route_id = uuid7() if old is None else old.id
                    await _check_rival(tx, tenant, namespace, host, route_id, new.shape, new.path, new.methods)
                    await refuse_unknown(tx, tenant, namespace, new.function_name, new.qualifier)
                    if old is None:
                        await tx.fetch_row(
                            SQL["insert_route"], tenant, namespace, route_id, host, new.path, new.shape,
                            list(new.methods), new.function_name, new.auth.value, new.enabled, new.policy, new.qualifier,
                        )  # fmt: skip
                        added.append(new)
                    elif not is_same(new, old):
                        await tx.fetch_row(
                            SQL["update_route"], tenant, namespace, old.id, new.path, new.shape, list(new.methods),
                            new.function_name, new.auth.value, new.enabled, new.policy, old.version, new.qualifier,
                        )  # fmt: skip
                        changed.append(new)
                _refuse_if(is_dry_run=is_dry_run)
        except _OnlyAsked:
            pass
        except asyncpg.ForeignKeyViolationError as error:
            assert new is not None
            raise _absent(error, host, new.function_name) from error
        kept = len(wanted) - len(added) - len(changed)
        return Replaced(added=tuple(added), changed=tuple(changed), deleted=tuple(deleted), kept=kept)

    async def get_route(self, tenant: str, namespace: str, route_id: UUID) -> GatewayRoute:
        """Return a route. Raises `NotFound`."""
        row = await self._db.fetch_row(SQL["get_route"], tenant, namespace, route_id)
        if row is None:
            raise NotFound("gateway route", str(route_id))
        return _route(row)

    async def list_routes(
        self, tenant: str, namespace: str, *, host: str | None = None, function_name: str | None = None,
        limit: int = 100, offset: int = 0,
    ) -> Page[GatewayRoute]:  # fmt: skip
        """Return routes of a scope by host and path, with the exact total."""
        rows = await self._db.fetch(SQL["list_routes"], tenant, namespace, host, function_name, limit, offset)
        total: int = await self._db.fetch_value(SQL["count_routes"], tenant, namespace, host, function_name)
        return Page(items=tuple(map(_route, rows)), total=total, has_more=offset + len(rows) < total)

    async def update_route(self, route: GatewayRoute) -> GatewayRoute:
        """Write a route over the row that the caller read; its host stays.

        Raises:
            NotFound: it was deleted, or the function does not exist.
            VersionConflict: it was changed since it was read.
            AlreadyExists: as `create_route`.
        """
        key = (route.tenant, route.namespace, route.id)
        try:
            async with self._db.transaction() as tx:
                await tx.fetch_value(SQL["serialize"])
                await _check_rival(
                    tx, route.tenant, route.namespace, route.host, route.id, route.shape, route.path, route.methods
                )
                await refuse_unknown(tx, route.tenant, route.namespace, route.function_name, route.qualifier)
                row = await tx.fetch_row(
                    SQL["update_route"], *key, route.path, route.shape, list(route.methods), route.function_name,
                    route.auth.value, route.enabled, route.policy, route.version, route.qualifier,
                )  # fmt: skip
                if row is None:
                    if await tx.fetch_row(SQL["get_route"], *key) is None:
                        raise NotFound("gateway route", str(route.id))
                    raise VersionConflict("gateway route", str(route.id))
        except asyncpg.ForeignKeyViolationError as error:
            raise _absent(error, route.host, route.function_name) from error
        return _route(row)

    async def delete_route(self, tenant: str, namespace: str, route_id: UUID) -> None:
        """Delete a route. Raises `NotFound`."""
        async with self._db.transaction() as tx:
            if not await tx.execute(SQL["delete_route"], tenant, namespace, route_id):
                raise NotFound("gateway route", str(route_id))

    async def served_after(self, host: str, *, limit: int) -> tuple[ServedDomain, ...]:
        """Return domains of all tenants with hosts behind this one, in order, for gateways."""
        rows = await self._db.fetch(SQL["domains_after"], host, limit)
        return tuple([await self._served(row) for row in rows])

    async def served_at(self, host: str) -> ServedDomain | None:
        """Return the domain of a host, whosever it is, for gateways; None when nobody has it."""
        row = await self._db.fetch_row(SQL["domain_at"], host)
        return None if row is None else await self._served(row)

    async def _served(self, row: Record) -> ServedDomain:
        columns = dict(row)
        is_suspended = columns.pop("tenant_status") != "active"
        domain = Domain(**columns)
        routes = await self._db.fetch(SQL["routes_at"], domain.tenant, domain.namespace, domain.host)
        return ServedDomain(domain=domain, is_suspended=is_suspended, routes=tuple(map(_route, routes)))


def _refuse_if(*, is_dry_run: bool) -> None:
    if is_dry_run:
        raise _OnlyAsked


async def _check_rival(
    tx: Session, tenant: str, namespace: str, host: str, route_id: UUID, shape: str, path: str, methods: tuple[str, ...]
) -> None:
    if await tx.fetch_value(SQL["rival"], tenant, namespace, host, route_id, shape, list(methods)) is not None:
        raise AlreadyExists("gateway route", f"{','.join(methods) or 'any method'} {host}{path}")


def _absent(error: asyncpg.ForeignKeyViolationError, host: str, function_name: str) -> NotFound:
    is_function = "function_name" in (error.constraint_name or "")
    return NotFound("function", function_name) if is_function else NotFound("domain", host)


def _route(row: Record) -> GatewayRoute:
    columns = dict(row)
    return GatewayRoute(**columns | {"methods": tuple(columns["methods"]), "auth": Auth(columns["auth"])})
