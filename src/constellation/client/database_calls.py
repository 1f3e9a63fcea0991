"""The operations on databases, as `calls`: functions from their arguments to their `Call`."""

from __future__ import annotations

from datetime import datetime

from constellation.client.call import Call, call, page_call
from constellation.routes.models import databases as dbs
from constellation.routes.models.functions import Deleted
from constellation.routes.models.paging import DEFAULT_LIMIT, Page


def create_database(body: dbs.DatabaseCreate) -> Call[dbs.DatabaseBody]:
    """Make a database, or a role in one that is there."""
    return call("create_database", dbs.DatabaseBody, body=body)


def list_databases(*, search: str | None = None, page_size: int = DEFAULT_LIMIT) -> Call[Page[dbs.DatabaseBody]]:
    """Databases by name, and who uses them."""
    return page_call("list_databases", dbs.DatabaseBody, page_size=page_size, query={"search": search})


def get_database(name: str) -> Call[dbs.DatabaseBody]:
    """One database."""
    return call("get_database", dbs.DatabaseBody, params={"name": name})


def update_database(name: str, body: dbs.DatabaseUpdate) -> Call[dbs.DatabaseBody]:
    """Change the limits of a database."""
    return call("update_database", dbs.DatabaseBody, params={"name": name}, body=body)


def delete_database(name: str) -> Call[Deleted]:
    """Delete a database; an `ApiProblem` of 409 says which functions still use it."""
    return call("delete_database", Deleted, params={"name": name})


def list_database_requests(
    name: str,
    *,
    function: str | None = None,
    outcome: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    min_ms: int | None = None,
    page_size: int = DEFAULT_LIMIT,
) -> Call[Page[dbs.DatabaseRequestBody]]:
    """What functions asked of a database, newest first."""
    return page_call(
        "list_database_requests",
        dbs.DatabaseRequestBody,
        page_size=page_size,
        params={"name": name},
        query={
            "function": function,
            "outcome": outcome,
            "since": None if since is None else since.isoformat(),
            "until": None if until is None else until.isoformat(),
            "min_ms": None if min_ms is None else str(min_ms),
        },
    )
