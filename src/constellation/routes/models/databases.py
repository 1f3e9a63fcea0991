"""Bodies of databases and of what functions asked of them. No password is ever in an answer."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from constellation.routes.models.secrets import SecretName

DatabaseName = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9_-]{0,62}$")]
Sessions = Annotated[int, Meta(ge=1, le=1000)]
Seconds = Annotated[float, Meta(ge=0.1, le=3600)]
Rows = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Bytes = Annotated[int, Meta(ge=1024, le=1 << 40)]
SizeMb = Annotated[int, Meta(ge=16, le=1 << 20)]
Rate = Annotated[int, Meta(ge=1, le=100_000)]


class DatabaseLimitsChange(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What is left out stays as it is, or gets the default."""

    max_sessions: Sessions | UnsetType = UNSET
    instance_sessions: Sessions | UnsetType = UNSET
    statement_timeout_s: Seconds | UnsetType = UNSET
    idle_transaction_s: Seconds | UnsetType = UNSET
    max_rows: Rows | UnsetType = UNSET
    max_bytes: Bytes | UnsetType = UNSET
    statements_per_s: Rate | UnsetType = UNSET
    size_mb: SizeMb | UnsetType = (
        UNSET  # of databases on the platform's own server; as large as the tenant's tier lets it
    )


class DatabaseLimitsBody(Struct, kw_only=True, frozen=True):
    max_sessions: int  # of all functions together
    instance_sessions: int  # of one instance of a function
    statement_timeout_s: float
    idle_transaction_s: float  # how long a transaction may wait for its next statement
    max_rows: int  # that one statement gives back
    max_bytes: int  # likewise
    statements_per_s: int  # on each comet; what is over it waits
    size_mb: int | None  # of all that is in it; null: it is on another server


class DatabaseCreate(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    name: DatabaseName
    kind: Literal["postgres"] = "postgres"
    # A secret with postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=MODE of one who may make roles; null: the
    # platform makes a database on its own server
    admin_secret: SecretName | None = None
    access: Literal["read", "write", "create"] | None = None  # null: create on the platform's server, else write
    limits: DatabaseLimitsChange = DatabaseLimitsChange()


class DatabaseUpdate(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    limits: DatabaseLimitsChange
    version: int | None = None  # of the row that was read; null: whatever it is


class DatabaseBody(Struct, kw_only=True, frozen=True):
    name: str
    kind: str
    access: str
    admin_secret: str | None  # null: on the platform's own server
    database_name: str  # on the server
    role_name: str  # on the server: who the functions are there
    status: str  # ready, or creating
    size_bytes: int | None  # as it was measured last; null: not yet, or it is on another server
    fullness: str  # ok, nearly_full (from 90 % of its size on), or full: functions read and delete, and add nothing
    limits: DatabaseLimitsBody
    functions: list[str]  # the first 20 of those that use it, by name
    functions_count: int
    version: int
    created_at: datetime
    updated_at: datetime


class DatabaseRequestBody(Struct, kw_only=True, frozen=True):
    id: UUID
    at: datetime  # when it began
    function_name: str
    function_version: str
    session: str  # what the requests of one session have in common
    statement: str  # its beginning, with ? in the place of literals
    outcome: str  # succeeded, failed, cut (a limit of the platform ended it) or refused
    code: str  # SQLSTATE of what failed
    rows: int  # given back, or touched
    bytes: int  # given back
    duration_ms: float
