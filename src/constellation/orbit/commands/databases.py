"""Databases of functions: `databases`."""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Literal

import typer
from msgspec import UNSET, UnsetType

from constellation.client import (
    DatabaseBody,
    DatabaseCreate,
    DatabaseLimitsChange,
    DatabaseRequestBody,
    DatabaseUpdate,
)
from constellation.orbit.commands.arguments import Agreed, since_of
from constellation.orbit.output import Column
from constellation.orbit.session import Session

app = typer.Typer(
    help="Databases of functions. `databases: {main: orders}` in function.yaml gives a function DATABASE_URL_MAIN.",
    no_args_is_help=True,
)
DatabaseName = Annotated[str, typer.Argument(metavar="NAME")]
MaxSessions = Annotated[int | None, typer.Option(min=1, max=1000, help="of all functions together", show_default=False)]
InstanceSessions = Annotated[int | None, typer.Option(min=1, max=1000, help="of one instance", show_default=False)]
StatementTimeout = Annotated[
    float | None, typer.Option(min=0.1, max=3600, help="seconds of one statement", show_default=False)
]
IdleTransaction = Annotated[
    float | None, typer.Option(min=0.1, max=3600, help="seconds that a transaction may stand idle", show_default=False)
]
MaxRows = Annotated[int | None, typer.Option(min=1, max=10**9, help="that a statement gives back", show_default=False)]
MaxBytes = Annotated[int | None, typer.Option(min=1024, max=1 << 40, help="likewise", show_default=False)]
Rate = Annotated[int | None, typer.Option("--rate", min=1, max=100_000, help="statements a second", show_default=False)]
SizeMb = Annotated[
    int | None,
    typer.Option(min=16, max=1 << 20, help="of all that is in it, on the platform's own server", show_default=False),
]
How = Literal["read", "write", "create"]


@app.command("create")
def create(
    context: typer.Context,
    name: DatabaseName,
    admin_secret: Annotated[
        str | None,
        typer.Option(help="secret with the address of a server's administrator; without it the platform makes one"),
    ] = None,
    access: Annotated[How | None, typer.Option(help="what functions may do", show_default=False)] = None,
    max_sessions: MaxSessions = None,
    instance_sessions: InstanceSessions = None,
    statement_timeout: StatementTimeout = None,
    idle_transaction: IdleTransaction = None,
    max_rows: MaxRows = None,
    max_bytes: MaxBytes = None,
    rate: Rate = None,
    size_mb: SizeMb = None,
) -> None:
    """Make a database for functions, or a role for them in one that is there.

    The secret holds postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full (or verify-ca, require, disable).
    """
    session = Session.of(context)
    limits = _limits(
        max_sessions, instance_sessions, statement_timeout, idle_transaction, max_rows, max_bytes, rate, size_mb
    )
    made = session.client.create_database(
        DatabaseCreate(name=name, admin_secret=admin_secret, access=access, limits=limits)
    )
    session.output.made(made, f"made {made.name}: functions may {made.access} there as {made.role_name}")


@app.command("list")
def list_(context: typer.Context, search: Annotated[str, typer.Option(help="part of the name")] = "") -> None:
    """List databases, and which functions use them."""
    session = Session.of(context)
    columns = [
        Column[DatabaseBody]("NAME", lambda each: each.name),
        Column[DatabaseBody]("KIND", lambda each: each.kind),
        Column[DatabaseBody]("SERVER", lambda each: each.admin_secret or "the platform's"),
        Column[DatabaseBody]("ACCESS", lambda each: each.access),
        Column[DatabaseBody]("SIZE", _size),
        Column[DatabaseBody]("STATUS", lambda each: each.status if each.fullness == "ok" else each.fullness),
        Column[DatabaseBody]("USED BY", _users),
    ]
    found = list(session.client.list_databases(search=search or None))
    session.output.rows(found, columns, empty="There are no databases.")


@app.command("show")
def show(context: typer.Context, name: DatabaseName) -> None:
    """Show a database with its limits."""
    session = Session.of(context)
    session.output.data(session.client.get_database(name))


@app.command("limit")
def limit(
    context: typer.Context,
    name: DatabaseName,
    max_sessions: MaxSessions = None,
    instance_sessions: InstanceSessions = None,
    statement_timeout: StatementTimeout = None,
    idle_transaction: IdleTransaction = None,
    max_rows: MaxRows = None,
    max_bytes: MaxBytes = None,
    rate: Rate = None,
    size_mb: SizeMb = None,
) -> None:
    """Change limits; what is left out stays as it is."""
    session = Session.of(context)
    limits = _limits(
        max_sessions, instance_sessions, statement_timeout, idle_transaction, max_rows, max_bytes, rate, size_mb
    )
    changed = session.client.update_database(name, DatabaseUpdate(limits=limits))
    session.output.made(changed, f"changed the limits of {changed.name}")


@app.command("delete")
def delete(context: typer.Context, name: DatabaseName, *, is_agreed: Agreed = False) -> None:
    """Delete a database that no function uses; one on the platform's server goes with all that is in it."""
    session = Session.of(context)
    found = session.client.get_database(name)
    loss = (
        "Everything in it is lost." if found.admin_secret is None else "The functions' role goes; what is in it stays."
    )
    session.confirm(f"Delete the database {name}? {loss}", is_agreed=is_agreed)
    session.client.delete_database(name)
    session.output.done(f"deleted {name}")


@app.command("requests")
def requests(
    context: typer.Context,
    name: DatabaseName,
    function: Annotated[str | None, typer.Option(help="only of this one")] = None,
    outcome: Annotated[str | None, typer.Option(help="succeeded, failed, cut or refused")] = None,
    since: Annotated[str | None, typer.Option(help="15m, 24h, 30d ago, or an instant")] = None,
    until: Annotated[str | None, typer.Option(help="likewise")] = None,
    min_ms: Annotated[
        int | None, typer.Option(min=0, help="only what took at least so long", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000)] = 50,
) -> None:
    """Show what functions asked of a database, newest first."""
    session = Session.of(context)
    output = session.output
    found = session.client.list_database_requests(
        name,
        function=function,
        outcome=outcome,
        since=None if since is None else since_of(since, output.now()),
        until=None if until is None else since_of(until, output.now()),
        min_ms=min_ms,
        page_size=min(limit, 500),
    )
    columns = [
        Column[DatabaseRequestBody]("WHEN", lambda each: output.age(each.at)),
        Column[DatabaseRequestBody]("FUNCTION", lambda each: f"{each.function_name}:{each.function_version}"),
        Column[DatabaseRequestBody]("MS", lambda each: f"{each.duration_ms:.1f}"),
        Column[DatabaseRequestBody]("ROWS", lambda each: each.rows),
        Column[DatabaseRequestBody]("OUTCOME", lambda each: f"{each.outcome} {each.code}".rstrip()),
        Column[DatabaseRequestBody]("STATEMENT", lambda each: each.statement),
    ]
    output.rows(list(islice(found, limit)), columns, empty="Nothing was asked of it.")


def _limits(
    max_sessions: int | None,
    instance_sessions: int | None,
    statement_timeout: float | None,
    idle_transaction: float | None,
    max_rows: int | None,
    max_bytes: int | None,
    rate: int | None,
    size_mb: int | None,
) -> DatabaseLimitsChange:
    return DatabaseLimitsChange(
        max_sessions=_given(max_sessions),
        instance_sessions=_given(instance_sessions),
        statement_timeout_s=UNSET if statement_timeout is None else statement_timeout,
        idle_transaction_s=UNSET if idle_transaction is None else idle_transaction,
        max_rows=_given(max_rows),
        max_bytes=_given(max_bytes),
        statements_per_s=_given(rate),
        size_mb=_given(size_mb),
    )


def _given(value: int | None) -> int | UnsetType:
    return UNSET if value is None else value


def _size(database: DatabaseBody) -> str:
    if database.limits.size_mb is None:
        return "-"
    used = "?" if database.size_bytes is None else str(database.size_bytes >> 20)
    return f"{used} of {database.limits.size_mb} MB"


def _users(database: DatabaseBody) -> str:
    more = database.functions_count - len(database.functions)
    return ", ".join(database.functions) + (f" and {more} more" if more > 0 else "")
