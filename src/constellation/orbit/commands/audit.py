"""Who changed what, and who was refused: `audit`."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from constellation.client import AuditBody
from constellation.orbit.commands.arguments import since_of
from constellation.orbit.output import Column
from constellation.orbit.session import Session


def register(app: typer.Typer) -> None:
    app.command("audit")(audit)


def audit(
    context: typer.Context,
    since: Annotated[str | None, typer.Option(help="15m, 24h, 30d ago, or an instant")] = None,
    until: Annotated[str | None, typer.Option(help="likewise")] = None,
    actor: Annotated[str | None, typer.Option(help="a subject, such as apikey:ci")] = None,
    action: Annotated[str | None, typer.Option(help="an operation, such as update_function")] = None,
    outcome: Annotated[str | None, typer.Option(help="succeeded, refused, failed or unknown")] = None,
    resource: Annotated[str | None, typer.Option(help="what it begins with, such as /functions/hello")] = None,
    request: Annotated[str | None, typer.Option(help="id of one request")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000)] = 50,
    *,
    is_everywhere: Annotated[bool, typer.Option("--all-tenants", help="and of callers that nobody knows")] = False,
) -> None:
    """Show who changed what in the tenant, and who was refused, newest first."""
    session = Session.of(context)
    output = session.output
    found = session.client.list_audit(
        since=None if since is None else since_of(since, output.now()),
        until=None if until is None else since_of(until, output.now()),
        actor=actor,
        action=action,
        outcome=outcome,
        resource=resource,
        request_id=request,
        all_tenants=is_everywhere,
        page_size=min(limit, 500),
    )
    columns = [
        Column[AuditBody]("WHEN", lambda each: output.age(each.at)),
        Column[AuditBody]("WHO", lambda each: each.actor or "?"),
        Column[AuditBody]("FROM", lambda each: each.peer),
        Column[AuditBody]("ACTION", lambda each: each.action),
        Column[AuditBody]("RESOURCE", lambda each: each.resource),
        Column[AuditBody]("OUTCOME", _outcome),
    ]
    output.rows(list(islice(found, limit)), columns, empty="Nothing was changed and nobody refused.")


def _outcome(event: AuditBody) -> str:
    times = f" x{event.count}" if event.count > 1 else ""
    return f"{event.outcome} {event.status}{times}"
