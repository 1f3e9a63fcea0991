"""Durable calls: `async`."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from constellation.client import AsyncInvocationBody
from constellation.orbit.commands.arguments import Agreed, JobId, id_of
from constellation.orbit.commands.calls import settled, show_job
from constellation.orbit.failures import OrbitError
from constellation.orbit.output import Column
from constellation.orbit.session import Session

app = typer.Typer(help="Durable calls: `orbit invoke --async` makes them.", no_args_is_help=True)

Which = Annotated[str | None, typer.Argument(metavar="[ID]", help="a durable call")]
All = Annotated[bool, typer.Option("--all", help="the whole namespace's queue")]
Function = Annotated[str | None, typer.Option("--function", help="only this function's")]


@app.command("list")
def list_(
    context: typer.Context,
    function: Annotated[str | None, typer.Argument(metavar="[FUNCTION]", help="only this function's")] = None,
    status: Annotated[str | None, typer.Option(help="queued, running, succeeded or dead")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
) -> None:
    """List durable calls, the newest first."""
    session = Session.of(context)
    client, output = session.client, session.output
    size = min(limit, 500)
    if function is None:
        found = client.list_async(status=status, page_size=size)
    else:
        found = client.list_function_async(function, status=status, page_size=size)
    columns = [
        Column[AsyncInvocationBody]("ID", lambda job: job.id),
        Column[AsyncInvocationBody]("FUNCTION", lambda job: job.function),
        Column[AsyncInvocationBody]("STATUS", lambda job: job.status),
        Column[AsyncInvocationBody]("TRIES", lambda job: f"{job.attempt}/{job.max_attempts}"),
        Column[AsyncInvocationBody]("SOURCE", lambda job: job.source),
        Column[AsyncInvocationBody]("CREATED", lambda job: output.age(job.created_at)),
        Column[AsyncInvocationBody]("NEXT TRY", lambda job: output.age(job.run_at) if job.status == "queued" else "-"),
    ]
    output.rows(list(islice(found, limit)), columns, empty="There are no durable calls.")


@app.command("get")
def get(
    context: typer.Context,
    job: JobId,
    is_awaited: Annotated[bool, typer.Option("--wait", help="wait for the result")] = False,
) -> None:
    """Show a durable call; with --wait, its output once it is done."""
    session = Session.of(context)
    found = session.client.get_async(id_of(job))
    if is_awaited:
        show_job(session, settled(session.client, found))
    else:
        session.output.item(found)


@app.command("retry")
def retry(
    context: typer.Context,
    job: JobId,
    max_attempts: Annotated[int | None, typer.Option(min=1, max=100, help="attempts from now on")] = None,
) -> None:
    """Queue a dead call again."""
    session = Session.of(context)
    queued = session.client.retry_async(id_of(job), max_attempts=max_attempts)
    session.output.made(queued, f"{queued.status} {queued.id}")


@app.command("redrive")
def redrive(context: typer.Context, function: Function = None) -> None:
    """Queue all dead calls again."""
    session = Session.of(context)
    done = session.client.redrive_async(function=function)
    session.output.made(done, f"queued {done.retried} again")


@app.command("purge")
def purge(context: typer.Context, function: Function = None, is_agreed: Agreed = False) -> None:
    """Forget all dead calls."""
    session = Session.of(context)
    session.confirm(f"Forget all dead calls{f' of {function}' if function else ''}?", is_agreed=is_agreed)
    done = session.client.purge_async(function=function)
    session.output.made(done, f"forgot {done.deleted}")


@app.command("pause")
def pause(context: typer.Context, job: Which = None, function: Function = None, is_all: All = False) -> None:
    """Hold up a queued call, or with --function or --all a whole queue: what runs goes on, what comes waits."""
    session = Session.of(context)
    client = session.client
    _check_one(job, function, is_all)
    if job is not None:
        session.output.made(client.pause_async(id_of(job)), f"paused {job}")
    else:
        session.output.item(client.pause_all_async() if function is None else client.pause_function_async(function))


@app.command("resume")
def resume(context: typer.Context, job: Which = None, function: Function = None, is_all: All = False) -> None:
    """Let a paused call, or with --function or --all a queue, go on."""
    session = Session.of(context)
    client = session.client
    _check_one(job, function, is_all)
    if job is not None:
        session.output.made(client.resume_async(id_of(job)), f"queued {job}")
    else:
        session.output.item(client.resume_all_async() if function is None else client.resume_function_async(function))


@app.command("summary")
def summary(
    context: typer.Context,
    function: Annotated[str | None, typer.Argument(metavar="[FUNCTION]", help="only this function's")] = None,
) -> None:
    """Show how the queue stands."""
    session = Session.of(context)
    client = session.client
    session.output.item(client.async_summary() if function is None else client.function_async_summary(function))


def _check_one(job: str | None, function: str | None, is_all: bool) -> None:
    if (job is not None) + (function is not None) + is_all != 1:
        raise OrbitError("say which: a call's id, --function NAME or --all")


@app.command("delete")
def delete(context: typer.Context, job: JobId) -> None:
    """Cancel a queued call, or forget a dead one."""
    session = Session.of(context)
    session.client.delete_async(id_of(job))
    session.output.done(f"deleted {job}")
