"""Functions fired by the clock: `schedules`."""

from __future__ import annotations

from typing import Annotated

import typer
from msgspec import UNSET, Raw, UnsetType

from constellation.client import ScheduleBody, ScheduleCreate, ScheduleUpdate
from constellation.orbit.commands.arguments import Agreed, event_of
from constellation.orbit.failures import Exit, OrbitError
from constellation.orbit.output import Column
from constellation.orbit.session import Session

app = typer.Typer(help="Fire functions by the clock.", no_args_is_help=True)

ScheduleId = Annotated[str, typer.Argument(metavar="ID", help="its id, or a part of it that no other has")]
Cron = Annotated[str, typer.Argument(metavar="CRON", help='five fields, "@hourly" and its like, or "@every 10m"')]
Input = Annotated[str | None, typer.Option("--data", "-d", metavar="JSON|@FILE|-", help="the event of each call")]
Version = Annotated[str | None, typer.Option("--version", help="a version's number or an alias; absent: the live one")]
Zone = Annotated[str | None, typer.Option("--time-zone", help="zone of the fields; UTC when absent")]


@app.command("list")
def list_(
    context: typer.Context,
    function: Annotated[str | None, typer.Argument(metavar="[FUNCTION]", help="only of this function")] = None,
) -> None:
    """List schedules."""
    session = Session.of(context)
    client, output = session.client, session.output
    found = client.list_schedules() if function is None else client.list_function_schedules(function)
    columns = [
        Column[ScheduleBody]("ID", lambda schedule: schedule.id),
        Column[ScheduleBody]("FUNCTION", lambda schedule: schedule.function),
        Column[ScheduleBody]("VERSION", lambda schedule: schedule.qualifier or "live"),
        Column[ScheduleBody]("CRON", lambda schedule: schedule.cron),
        Column[ScheduleBody]("ZONE", lambda schedule: schedule.time_zone),
        Column[ScheduleBody]("STATE", lambda schedule: "enabled" if schedule.enabled else "disabled"),
        Column[ScheduleBody]("NEXT", lambda schedule: output.age(schedule.next_run_at)),
        Column[ScheduleBody]("LAST", lambda schedule: output.age(schedule.last_run_at)),
    ]
    output.rows(list(found), columns, empty="There are no schedules.")


@app.command("create")
def create(
    context: typer.Context,
    function: Annotated[str, typer.Argument(metavar="FUNCTION")],
    cron: Cron,
    time_zone: Zone = None,
    data: Input = None,
    version: Version = None,
    is_disabled: Annotated[bool, typer.Option("--disabled", help="make it without letting it fire")] = False,
) -> None:
    """Schedule a function."""
    session = Session.of(context)
    function, _, named = function.partition(":")
    wanted = ScheduleCreate(
        cron=cron,
        time_zone=time_zone or "UTC",
        input=_input(data),
        enabled=not is_disabled,
        qualifier=version or named,
    )
    _show(session, session.client.create_schedule(function, wanted), "created")


@app.command("update")
def update(
    context: typer.Context,
    schedule: ScheduleId,
    cron: Annotated[str | None, typer.Option(help="the new times")] = None,
    time_zone: Zone = None,
    data: Input = None,
    version: Annotated[
        str | None, typer.Option("--version", help="a version's number or an alias; $LATEST: the live one")
    ] = None,
) -> None:
    """Change when a schedule fires, with what, or which version."""
    if cron is None and time_zone is None and data is None and version is None:
        raise OrbitError("nothing to change", hint="Give --cron, --time-zone, --data or --version.")
    changes = ScheduleUpdate(
        cron=UNSET if cron is None else cron,
        time_zone=UNSET if time_zone is None else time_zone,
        input=_input(data),
        qualifier=UNSET if version is None else version,
    )
    _change(context, schedule, changes, "updated")


@app.command("enable")
def enable(context: typer.Context, schedule: ScheduleId) -> None:
    """Let a schedule fire."""
    _change(context, schedule, ScheduleUpdate(enabled=True), "enabled")


@app.command("disable")
def disable(context: typer.Context, schedule: ScheduleId) -> None:
    """Keep a schedule from firing."""
    _change(context, schedule, ScheduleUpdate(enabled=False), "disabled")


@app.command("delete")
def delete(context: typer.Context, schedule: ScheduleId, is_agreed: Agreed = False) -> None:
    """Delete a schedule."""
    session = Session.of(context)
    found = _find(session, schedule)
    session.confirm(f"Delete the schedule {found.cron!r} of {found.function}?", is_agreed=is_agreed)
    session.client.delete_schedule(found.function, found.id)
    _show(session, found, "deleted")


def _change(context: typer.Context, schedule: str, changes: ScheduleUpdate, done: str) -> None:
    session = Session.of(context)
    found = _find(session, schedule)
    _show(session, session.client.update_schedule(found.function, found.id, changes), done)


def _find(session: Session, text: str) -> ScheduleBody:
    found = [schedule for schedule in session.client.list_schedules() if text in str(schedule.id)]
    if len(found) == 1:
        return found[0]
    if found:
        raise OrbitError(f"{text!r} fits {len(found)} schedules", hint="Give more of the id.")
    hint = "`orbit schedules list` shows their ids."
    raise OrbitError(f"there is no schedule {text!r}", hint=hint, exit=Exit.NOT_FOUND)


def _input(data: str | None) -> Raw | UnsetType:
    return UNSET if data is None else event_of(data)


def _named(schedule: ScheduleBody) -> str:
    return f"{schedule.function}:{schedule.qualifier}" if schedule.qualifier else schedule.function


def _show(session: Session, schedule: ScheduleBody, done: str) -> None:
    output = session.output
    if not output.is_table:
        output.data(schedule)
        return
    following = f"; next {output.age(schedule.next_run_at)}" if schedule.next_run_at and done != "deleted" else ""
    output.line(f"{done} {schedule.id}: {_named(schedule)} at {schedule.cron!r} ({schedule.time_zone}){following}")
