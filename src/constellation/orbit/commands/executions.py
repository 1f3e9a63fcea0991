"""Durable executions: `executions`."""

from __future__ import annotations

import time
from itertools import islice
from typing import Annotated

import msgspec
import typer

from constellation.client import Client, ExecutionBody, ExecutionDetail, StepBody
from constellation.orbit.commands.arguments import event_of, id_of, since_of
from constellation.orbit.failures import Exit, OrbitError
from constellation.orbit.output import Column
from constellation.orbit.session import Session

app = typer.Typer(help="Durable executions: `orbit invoke --durable` begins them.", no_args_is_help=True)

ExecutionId = Annotated[str, typer.Argument(metavar="ID", help="id of the execution")]
POLL_S = 0.25  # chosen: what a person who waits does not notice
_OVER = ("succeeded", "failed", "cancelled")


@app.command("list")
def list_(
    context: typer.Context,
    function: Annotated[str | None, typer.Argument(metavar="[FUNCTION]", help="only this function's")] = None,
    status: Annotated[str | None, typer.Option(help="queued, running, succeeded, failed or cancelled")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="WHEN", help="begun within a period (10m, 2h) or since an instant")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="WHEN", help="likewise, where to stop")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
) -> None:
    """List durable executions, the newest first."""
    session = Session.of(context)
    client, output = session.client, session.output
    first, last, page_size = since_of(since, output.now()), since_of(until, output.now()), min(limit, 500)
    found = (
        client.list_executions(status=status, since=first, until=last, page_size=page_size)
        if function is None
        else client.list_function_executions(function, status=status, since=first, until=last, page_size=page_size)
    )
    columns = [
        Column[ExecutionBody]("ID", lambda each: each.id),
        Column[ExecutionBody]("FUNCTION", lambda each: each.function),
        Column[ExecutionBody]("STATUS", lambda each: each.status),
        Column[ExecutionBody]("CREATED", lambda each: output.age(each.created_at)),
        Column[ExecutionBody]("RESUMES", lambda each: output.age(each.resumes_at)),
    ]
    output.rows(list(islice(found, limit)), columns, empty="There are no durable executions.")


@app.command("get")
def get(
    context: typer.Context,
    execution: ExecutionId,
    is_awaited: Annotated[bool, typer.Option("--wait", help="wait until it is over, and print its output")] = False,
    limit: Annotated[int, typer.Option(min=1, max=500, help="steps to show")] = 100,
    offset: Annotated[int, typer.Option(min=0, help="steps to skip")] = 0,
) -> None:
    """Show a durable execution and its steps."""
    session = Session.of(context)
    found = session.client.get_execution(id_of(execution), limit=limit, offset=offset)
    if is_awaited:
        show(session, settled(session.client, found))
        return
    output = session.output
    if not output.is_table:
        output.data(found)
        return
    output.item(found, hide=("tenant", "namespace", "steps"))
    columns = [
        Column[StepBody]("STEP", lambda step: step.seq),
        Column[StepBody]("KIND", lambda step: step.kind),
        Column[StepBody]("NAME", lambda step: step.name),
        Column[StepBody]("STATUS", lambda step: step.status),
        Column[StepBody]("DUE", lambda step: output.age(step.due_at)),
        Column[StepBody]("OUTPUT", _brief),
    ]
    output.rows(found.steps.items, columns, empty="It has taken no step.")


@app.command("cancel")
def cancel(context: typer.Context, execution: ExecutionId) -> None:
    """End an execution: nothing of it is run any more."""
    session = Session.of(context)
    ended = session.client.cancel_execution(id_of(execution))
    session.output.made(ended, f"{ended.status} {ended.id}")


@app.command("retry")
def retry(
    context: typer.Context,
    execution: ExecutionId,
    version: Annotated[
        str | None,
        typer.Option(help="go on with this version, alias or $LATEST, not the version that it began with"),
    ] = None,
) -> None:
    """Go on with a failed execution from its last step on."""
    session = Session.of(context)
    queued = session.client.retry_execution(id_of(execution), qualifier=version)
    session.output.made(queued, f"{queued.status} {queued.id} on version {queued.version}")


@app.command("signal")
def signal(
    context: typer.Context,
    execution: ExecutionId,
    event: Annotated[str, typer.Argument(metavar="EVENT", help="name of the event")],
    data: Annotated[
        str | None, typer.Option("--data", "-d", metavar="JSON|@FILE|-", help="its payload; {} when absent")
    ] = None,
) -> None:
    """Send an event to an execution."""
    session = Session.of(context)
    sent = session.client.signal_execution(id_of(execution), event, event_of(data))
    session.output.made(sent, f"sent {event}")


def settled(client: Client, execution: ExecutionBody, *, within_s: float = 3600.0) -> ExecutionBody:
    """Wait until an execution is over.

    Raises:
        OrbitError: it took longer than that.
    """
    until = time.monotonic() + within_s
    while execution.status not in _OVER:
        if time.monotonic() > until:
            raise OrbitError(f"{execution.id} is still {execution.status} after {within_s:g} s", exit=Exit.SERVER)
        time.sleep(POLL_S)
        execution = client.get_execution(execution.id, limit=1)
    return execution


def show(session: Session, execution: ExecutionBody | ExecutionDetail) -> None:
    """Print an execution: its id while it is not over, then its output.

    Raises:
        typer.Exit: it failed or was cancelled.
    """
    output = session.output
    is_bad = execution.status in ("failed", "cancelled")
    if not output.is_table:
        output.data(execution)
    elif execution.status == "succeeded":
        output.data(execution.output)
    elif not is_bad:
        output.line(str(execution.id))
        output.aside(f"{execution.status}; `orbit executions get {execution.id}` shows how far it is")
    if is_bad:
        reason = execution.error if isinstance(execution.error, dict) else {}
        what = reason.get("type") if "message" in reason else reason.get("code") or "failed"
        message = reason.get("message") or reason.get("detail") or ""
        output.error(f"{execution.status}: {what}: {message}", str(reason.get("stack", "")).rstrip())
        raise typer.Exit(int(Exit.FUNCTION_FAILED))


def _brief(step: StepBody) -> str:
    value = step.output if step.error is None else step.error
    if step.status == "waiting":
        return "-"
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else text[:57] + "..."
