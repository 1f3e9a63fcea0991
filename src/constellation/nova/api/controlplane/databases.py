"""Databases of the caller's namespace, and the log of what functions asked of them."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime

from msgspec import UNSET, structs

from constellation.base.errors import InvalidRequest, VersionConflict
from constellation.base.ids import uuid7_time_s
from constellation.nova.api.request import ApiRequest
from constellation.nova.domain.database import Access, Database, DatabaseLimits, check_database_name
from constellation.nova.service.databases import DatabaseKeeper
from constellation.nova.store.databases import DatabaseRequest, Databases, RequestFilter
from constellation.routes.models.databases import (
    DatabaseBody,
    DatabaseCreate,
    DatabaseLimitsBody,
    DatabaseLimitsChange,
    DatabaseRequestBody,
    DatabaseUpdate,
)
from constellation.routes.models.functions import Deleted
from constellation.routes.models.paging import Page
from constellation.routes.reading import instant_of, page_of

_OUTCOMES = ("succeeded", "failed", "cut", "refused")
_LONGEST_MS = 10**9


class DatabaseRoutes:
    """Operations on databases: no credential is in an answer."""

    def __init__(self, databases: Databases, keeper: DatabaseKeeper) -> None:
        self._databases, self._keeper = databases, keeper

    async def create_database(self, call: ApiRequest[DatabaseCreate]) -> DatabaseBody:
        body = call.body
        tenant, namespace = call.scope
        made = await self._keeper.create(
            tenant=tenant,
            namespace=namespace,
            name=check_database_name(body.name),
            access=None if body.access is None else Access(body.access),
            admin_secret=body.admin_secret,
            limits=_limits(DatabaseLimits(), body.limits),
        )
        return _body(made)

    async def list_databases(self, call: ApiRequest[None]) -> Page[DatabaseBody]:
        found = await self._databases.list(
            *call.scope,
            search=call.query.get("search") or None,
            limit=call.window.limit,
            offset=call.window.offset,
        )
        return page_of(found, call.window, _body)

    async def get_database(self, call: ApiRequest[None]) -> DatabaseBody:
        return _body(await self._databases.get(*call.scope, call.params["name"]))

    async def update_database(self, call: ApiRequest[DatabaseUpdate]) -> DatabaseBody:
        found = await self._databases.get(*call.scope, call.params["name"])
        if call.body.version not in (None, found.version):
            raise VersionConflict("database", found.name)
        return _body(await self._keeper.update(found, _limits(found.limits, call.body.limits)))

    async def delete_database(self, call: ApiRequest[None]) -> Deleted:
        found = await self._databases.get(*call.scope, call.params["name"])
        await self._keeper.delete(found)
        return Deleted(status="deleted", name=found.name)

    async def list_database_requests(self, call: ApiRequest[None]) -> Page[DatabaseRequestBody]:
        query = call.query
        outcome = query.get("outcome") or None
        if outcome is not None and outcome not in _OUTCOMES:
            raise InvalidRequest(
                f"outcome must be one of {', '.join(_OUTCOMES)}, not {outcome[:40]!r}", field="outcome"
            )
        found = await self._databases.requests(
            await self._databases.get(*call.scope, call.params["name"]),
            RequestFilter(
                function_name=query.get("function") or None,
                outcome=outcome,
                since=instant_of(query, "since"),
                until=instant_of(query, "until"),
                min_ms=_milliseconds(query.get("min_ms") or None),
            ),
            limit=call.window.limit,
            offset=call.window.offset,
        )
        return page_of(found, call.window, _request_body)


def _limits(base: DatabaseLimits, change: DatabaseLimitsChange) -> DatabaseLimits:
    return replace(base, **{name: value for name, value in structs.asdict(change).items() if value is not UNSET})


def _milliseconds(text: str | None) -> float | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or int(text[:20]) > _LONGEST_MS:
        raise InvalidRequest(f"min_ms must be a whole number up to {_LONGEST_MS}, not {text[:20]!r}", field="min_ms")
    return float(text)


def _body(database: Database) -> DatabaseBody:
    assert database.created_at is not None
    assert database.updated_at is not None
    return DatabaseBody(
        name=database.name,
        kind=database.kind,
        access=database.access.value,
        admin_secret=database.role.admin_secret,
        database_name=database.role.database_name,
        role_name=database.role.role_name,
        status="ready" if database.is_ready else "creating",
        size_bytes=database.size_bytes,
        fullness=database.fullness.value,
        limits=DatabaseLimitsBody(**asdict(database.limits)),
        functions=list(database.functions),
        functions_count=database.functions_count,
        version=database.version,
        created_at=database.created_at,
        updated_at=database.updated_at,
    )


def _request_body(request: DatabaseRequest) -> DatabaseRequestBody:
    return DatabaseRequestBody(
        id=request.id,
        at=datetime.fromtimestamp(uuid7_time_s(request.id), UTC),
        function_name=request.function_name,
        function_version=request.function_version,
        session=request.session,
        statement=request.statement,
        outcome=request.outcome,
        code=request.code,
        rows=request.rows,
        bytes=request.bytes,
        duration_ms=request.duration_ms,
    )
