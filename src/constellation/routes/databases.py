"""The routes of databases."""

from __future__ import annotations

from constellation.nova.domain.access import Permission
from constellation.routes.models.databases import DatabaseBody, DatabaseCreate, DatabaseRequestBody, DatabaseUpdate
from constellation.routes.models.functions import Deleted
from constellation.routes.models.paging import Page
from constellation.routes.route import PAGING, Query, Route, nova

P = Permission
_DATABASE = "/databases/{name}"

DATABASES: tuple[Route, ...] = (
    nova("create_database", "POST", "/databases", P.DATABASE_MANAGE,
         "Make a database that functions of the namespace can use, or a role for them in one that is there",
         status=201, request=DatabaseCreate, response=DatabaseBody),
    nova("list_databases", "GET", "/databases", P.DATABASE_READ, "Databases by name, and who uses them",
         response=Page[DatabaseBody], query=(*PAGING, Query(name="search", about="part of the name"))),
    nova("get_database", "GET", _DATABASE, P.DATABASE_READ, "One database", response=DatabaseBody),
    nova("update_database", "PATCH", _DATABASE, P.DATABASE_MANAGE,
         "Change the limits of a database: instances with the old ones finish their calls and go",
         request=DatabaseUpdate, response=DatabaseBody),
    nova("delete_database", "DELETE", _DATABASE, P.DATABASE_MANAGE,
         "Delete a database that no function uses; what was made on the platform's server is gone with it",
         response=Deleted),
    nova("list_database_requests", "GET", f"{_DATABASE}/requests", P.DATABASE_READ,
         "What functions asked of a database, newest first", response=Page[DatabaseRequestBody],
         query=(*PAGING, Query(name="function", about="only of this one"),
                Query(name="outcome", about="succeeded, failed, cut or refused"),
                Query(name="since", about="RFC 3339 instant"), Query(name="until", about="RFC 3339 instant"),
                Query(name="min_ms", type="integer", about="only what took at least so many milliseconds"))),
)  # fmt: skip
