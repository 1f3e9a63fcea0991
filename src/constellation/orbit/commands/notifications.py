"""What happened that people want to know: `notifications`."""

from __future__ import annotations

import time
from itertools import islice
from typing import Annotated

import typer

from constellation.client import NotificationBody
from constellation.orbit.commands.arguments import since_of
from constellation.orbit.failures import OrbitError
from constellation.orbit.output import Column
from constellation.orbit.session import Session

app = typer.Typer(
    help="Builds that failed, canaries that went back, breakers that opened, objectives missed, calls given up.",
    no_args_is_help=True,
)

PAUSE_S = 1.0  # between two streams


@app.command("list")
def list_(
    context: typer.Context,
    kind: Annotated[str | None, typer.Option(help="such as build_failed")] = None,
    severity: Annotated[str | None, typer.Option(help="info, warning or error")] = None,
    about: Annotated[str | None, typer.Option(help="such as a function's name")] = None,
    since: Annotated[str | None, typer.Option(help="15m, 24h, 30d ago, or an instant")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000)] = 50,
    *,
    is_unread: Annotated[bool, typer.Option("--unread", help="only what you have not read")] = False,
) -> None:
    """List notifications, what happened last first."""
    session = Session.of(context)
    output = session.output
    found = session.client.list_notifications(
        is_unread=is_unread,
        kind=kind,
        severity=severity,
        subject=about,
        since=None if since is None else since_of(since, output.now()),
        page_size=min(limit, 500),
    )
    columns = [
        Column[NotificationBody]("WHEN", lambda each: output.age(each.last_at)),
        Column[NotificationBody]("SEVERITY", lambda each: each.severity),
        Column[NotificationBody]("WHAT", lambda each: each.title),
        Column[NotificationBody]("TIMES", lambda each: each.count),
        Column[NotificationBody]("DETAIL", lambda each: each.detail[:80]),
        Column[NotificationBody]("READ", lambda each: "yes" if each.is_read else ""),
        Column[NotificationBody]("ID", lambda each: each.id),
    ]
    output.rows(list(islice(found, limit)), columns, empty="Nothing has happened.")


@app.command("count")
def count(context: typer.Context) -> None:
    """Show how many you have not read."""
    session = Session.of(context)
    session.output.item(session.client.unread_notifications())


@app.command("read")
def read(
    context: typer.Context,
    notification_id: Annotated[str | None, typer.Argument(metavar="ID")] = None,
    *,
    is_all: Annotated[bool, typer.Option("--all", help="all of them")] = False,
) -> None:
    """Mark one, or all, as read by you; what happens again is unread again."""
    session = Session.of(context)
    if (notification_id is None) is not is_all:
        raise OrbitError("either an ID or --all")
    client = session.client
    marked = client.read_all_notifications() if notification_id is None else client.read_notification(notification_id)
    session.output.made(marked, f"{marked.updated} marked as read")


@app.command("watch")
def watch(
    context: typer.Context,
    after: Annotated[int | None, typer.Option(min=0, help="a `seq`: what came after it first")] = None,
) -> None:
    """Show notifications as they come, until Ctrl-C."""
    session = Session.of(context)
    while True:
        with session.client.follow_notifications(after=after) as found:
            for each in found:
                session.output.made(each, f"{each.severity}: {each.title} ({each.count} times) {each.detail}")
                after = each.seq
        time.sleep(PAUSE_S)
