"""What functions were: `versions`, `rollback`."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import msgspec
import typer

from constellation.client import VersionDiff, VersionSummary
from constellation.orbit.commands.arguments import Agreed, FunctionName
from constellation.orbit.commands.functions import without_env
from constellation.orbit.output import Column
from constellation.orbit.session import Session

app = typer.Typer(help="Versions: what a function was at each change.", no_args_is_help=True)

Number = Annotated[int, typer.Argument(metavar="VERSION", min=1)]


@app.command("list")
def list_(
    context: typer.Context, name: FunctionName, limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50
) -> None:
    """List the versions of a function, the newest first."""
    session = Session.of(context)
    output = session.output
    columns = [
        Column[VersionSummary]("VERSION", lambda each: each.version),
        Column[VersionSummary]("LIVE", lambda each: "live" if each.is_live else ""),
        Column[VersionSummary]("CODE", lambda each: each.code_hash[:12]),
        Column[VersionSummary]("HANDLER", lambda each: each.handler),
        Column[VersionSummary]("MEMORY", lambda each: f"{each.memory_mb} MiB"),
        Column[VersionSummary]("CREATED", lambda each: output.age(each.created_at)),
    ]
    found = session.client.list_versions(name, page_size=min(limit, 500))
    output.rows(list(islice(found, limit)), columns, empty=f"{name} has no version yet; its first build is not done.")


@app.command("show")
def show(
    context: typer.Context,
    name: FunctionName,
    version: Number,
    is_env_shown: Annotated[bool, typer.Option("--show-env", help="print the values of the environment")] = False,
) -> None:
    """Show a version."""
    session = Session.of(context)
    found = session.client.get_version(name, version)
    if not is_env_shown:
        found = msgspec.structs.replace(found, configuration=without_env(found.configuration))
    session.output.item(found)


@app.command("diff")
def diff(context: typer.Context, name: FunctionName, version: Number, other: Number) -> None:
    """Show what changed from one version to another."""
    session = Session.of(context)
    found = session.client.diff_versions(name, version, other)
    if session.output.is_table:
        _show_diff(session, found)
    else:
        session.output.data(found)


@app.command("delete")
def delete(context: typer.Context, name: FunctionName, version: Number, is_agreed: Agreed = False) -> None:
    """Delete a version that nothing uses."""
    session = Session.of(context)
    session.confirm(f"Delete version {version} of {name}?", is_agreed=is_agreed)
    session.output.made(session.client.delete_version(name, version), f"deleted version {version} of {name}")


def rollback(
    context: typer.Context,
    name: FunctionName,
    version: Annotated[int | None, typer.Argument(metavar="[VERSION]", min=1)] = None,
) -> None:
    """Make a function what it was in a version: without a number, in the one before the live one."""
    session = Session.of(context)
    function = session.client.rollback_function(name, version=version)
    session.output.made(without_env(function), f"{name} is version {function.live_version} again")


def register(root: typer.Typer) -> None:
    root.command("rollback")(rollback)
    root.add_typer(app, name="versions")


def _show_diff(session: Session, found: VersionDiff) -> None:
    output = session.output
    if not found.changes and not found.files:
        output.note(f"Versions {found.version} and {found.other} of {found.function} are equal.")
    for change in found.changes:
        is_env = change.field.startswith("env.")
        before, after = ("***", "***") if is_env else (change.before, change.after)
        output.line(
            f"{change.field}: {'-' if change.before is None else before} -> {'-' if change.after is None else after}"
        )
    for file in found.files:
        output.line(f"{file.state} {file.path}")
        if file.diff:
            output.line(file.diff)
