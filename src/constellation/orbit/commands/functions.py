"""Functions as they are: `list`, `get`, `invoke`, `delete`."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from constellation.client import FunctionBody
from constellation.orbit.commands.arguments import Agreed, FunctionName
from constellation.orbit.commands.calls import invoke
from constellation.orbit.output import Column
from constellation.orbit.session import Session

HIDDEN = "***"  # stands for a value that may be a secret


def register(app: typer.Typer) -> None:
    app.command("list")(list_)
    app.command("get")(get)
    app.command("invoke")(invoke)
    app.command("delete")(delete)


def list_(
    context: typer.Context,
    search: Annotated[
        str | None,
        typer.Argument(metavar="[TEXT]", help="beginnings of words in names, descriptions, tags, docs and sources"),
    ] = None,
    runtime: Annotated[str | None, typer.Option(help="only of this language")] = None,
    tag: Annotated[str | None, typer.Option(metavar="KEY[=VALUE]", help="only with this tag")] = None,
) -> None:
    """List the functions of the namespace."""
    session = Session.of(context)
    output = session.output
    functions = [without_env(found) for found in session.client.list_functions(search=search, runtime=runtime, tag=tag)]
    columns = [
        Column[FunctionBody]("NAME", lambda found: found.name),
        Column[FunctionBody]("RUNTIME", lambda found: found.runtime),
        Column[FunctionBody]("VERSION", lambda found: found.live_version),
        Column[FunctionBody]("MEMORY", lambda found: f"{found.memory_mb} MiB"),
        Column[FunctionBody]("TIMEOUT", lambda found: f"{found.timeout_s:g} s"),
        Column[FunctionBody]("STATE", _state),
        Column[FunctionBody]("CHANGED", lambda found: output.age(found.updated_at)),
    ]
    output.rows(functions, columns, empty="There are no functions yet; `orbit init` starts one.")


def get(
    context: typer.Context,
    name: FunctionName,
    is_env_shown: Annotated[bool, typer.Option("--show-env", help="print the values of the environment")] = False,
) -> None:
    """Show one function."""
    session = Session.of(context)
    function = session.client.get_function(name)
    session.output.item(function if is_env_shown else without_env(function))


def delete(context: typer.Context, name: FunctionName, is_agreed: Agreed = False) -> None:
    """Delete a function with its schedules, jobs and logs."""
    session = Session.of(context)
    session.client.get_function(name)  # so that a mistyped name is told before anybody is asked
    session.confirm(f"Delete {name} and all that hangs on it?", is_agreed=is_agreed)
    session.output.made(session.client.delete_function(name), f"deleted {name}")


def _state(function: FunctionBody) -> str:
    if function.halted:
        return "halted"
    if function.code_version == 0 and function.build is not None:
        return f"build {function.build.state}"
    return "live"


def without_env(function: FunctionBody) -> FunctionBody:
    """Return the function with the values of its environment covered."""
    return msgspec.structs.replace(function, env=dict.fromkeys(function.env, HIDDEN))
