"""Builds of functions: `builds`."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import islice
from typing import Annotated
from uuid import UUID

import typer

from constellation.client import ApiProblem, BuildBody, NoAnswer, Unreachable
from constellation.orbit.commands.arguments import BuildId, FunctionName, id_of
from constellation.orbit.failures import Exit, OrbitError
from constellation.orbit.output import Column, brief
from constellation.orbit.session import Session

app = typer.Typer(help="Builds: what code goes through before it runs.", no_args_is_help=True)

OVER = ("success", "failed", "cancelled")
RETRY_S = (0.5, 1.0, 2.0, 5.0, 5.0)  # chosen: a restart of the platform takes a few seconds

Followed = Annotated[bool, typer.Option("--follow", "-f", help="go on until the build ends")]


@app.command("list")
def list_(
    context: typer.Context,
    name: FunctionName,
    state: Annotated[str | None, typer.Option(help="pending, compiling, success, failed or cancelled")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
) -> None:
    """List the builds of a function, the newest first."""
    session = Session.of(context)
    output = session.output
    found = session.client.list_function_builds(name, state=state, page_size=min(limit, 500))
    columns = [
        Column[BuildBody]("ID", lambda build: build.id),
        Column[BuildBody]("VERSION", lambda build: build.code_version),
        Column[BuildBody]("STATE", lambda build: build.state),
        Column[BuildBody]("TOOK", _took),
        Column[BuildBody]("CREATED", lambda build: output.age(build.created_at)),
        Column[BuildBody]("ERROR", lambda build: (build.error or "").partition("\n")[0][:60]),
    ]
    output.rows(list(islice(found, limit)), columns, empty=f"{name} runs as it is; nothing of it was built.")


@app.command("show")
def show(context: typer.Context, build: BuildId) -> None:
    """Show a build."""
    session = Session.of(context)
    session.output.item(session.client.get_build(id_of(build)))


@app.command("logs")
def logs(context: typer.Context, build: BuildId, is_followed: Followed = False) -> None:
    """Print what a build printed; with --follow until it ends, and fail with it."""
    session = Session.of(context)
    if is_followed:
        refuse_failed(followed(session, id_of(build), show=session.output.printed))
        return
    with session.client.build_log(id_of(build)) as pieces:
        for piece in pieces:
            if isinstance(piece, str):
                session.output.printed(piece)


@app.command("cancel")
def cancel(context: typer.Context, build: BuildId) -> None:
    """End a build that is not over."""
    session = Session.of(context)
    ended = session.client.cancel_build(id_of(build))
    session.output.made(ended, f"{ended.state} {ended.id}")


@app.command("retry")
def retry(context: typer.Context, name: FunctionName, is_followed: Followed = False) -> None:
    """Build what was deployed last again, after its build failed or was cancelled."""
    session = Session.of(context)
    build = session.client.retry_build(name)
    if is_followed:
        refuse_failed(followed(session, build.id, show=session.output.told))
    session.output.made(build, f"building {name} version {build.code_version} ({build.id})")


def followed(session: Session, build_id: UUID, *, show: Callable[[str], None]) -> BuildBody:
    """Show the log of a build until it ends, through breaks of the connection, and return what became of it."""
    shown, waits = 0, 0  # characters; a new connection tells the log from its beginning
    while True:
        at = 0
        try:
            with session.client.build_log(build_id, follow=True) as pieces:
                for piece in pieces:
                    if isinstance(piece, BuildBody):
                        return piece
                    show(piece[max(0, shown - at) :])
                    at += len(piece)
                    shown, waits = max(shown, at), 0
            time.sleep(RETRY_S[0])  # the platform closes a stream that is open for very long
        except NoAnswer:
            continue  # a silent minute: ask again
        except (ApiProblem, Unreachable) as error:
            if waits == len(RETRY_S) or (isinstance(error, ApiProblem) and error.status < 500):
                raise
            time.sleep(RETRY_S[waits])
            waits += 1


def refuse_failed(build: BuildBody) -> None:
    """Let a build that succeeded through.

    Raises:
        OrbitError: it did not.
    """
    if build.state != "success":
        reason = (build.error or "").partition("\n")[0]  # the log, which was shown, has the rest
        raise OrbitError(
            f"{build.function}: version {build.code_version} was not built ({build.state}): {reason}",
            hint=f"`orbit builds logs {build.id}` shows all that it printed.",
            exit=Exit.FUNCTION_FAILED,
        )


def _took(build: BuildBody) -> str:
    if build.started_at is None or build.finished_at is None:
        return "-"
    return "cached" if build.is_cached else brief((build.finished_at - build.started_at).total_seconds())
