"""Functions as they are: `list`, `get`, `invoke`, `files`, `upload`, `delete`."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from msgspec import UNSET

from constellation.client import CodeUpdate, FileBody, FunctionBody
from constellation.orbit.commands.arguments import Agreed, FunctionName
from constellation.orbit.commands.calls import invoke
from constellation.orbit.failures import OrbitError
from constellation.orbit.output import Column, size
from constellation.orbit.session import Session

HIDDEN = "***"  # stands for a value that may be a secret


def register(app: typer.Typer) -> None:
    app.command("list")(list_)
    app.command("get")(get)
    app.command("invoke")(invoke)
    app.command("delete")(delete)
    app.command("files")(files)
    app.command("upload")(upload)


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


def files(context: typer.Context, name: FunctionName) -> None:
    """List the files of the code that was deployed last."""
    session = Session.of(context)
    columns = [
        Column[FileBody]("PATH", lambda file: file.path),
        Column[FileBody]("SIZE", lambda file: size(file.size_bytes)),
    ]
    session.output.rows(list(session.client.list_files(name)), columns, empty="It has no files.")


def upload(
    context: typer.Context,
    name: FunctionName,
    archive: Annotated[Path, typer.Argument(metavar="ARCHIVE", help="a zip, tar or tar.gz of all files of the code")],
    handler: Annotated[str | None, typer.Option(help="module.function, when it is another one")] = None,
) -> None:
    """Replace the code of a function by what is in an archive."""
    try:
        data = archive.read_bytes()
    except OSError as error:
        raise OrbitError(f"{archive}: {error.strerror}") from error
    session = Session.of(context)
    code = CodeUpdate(archive=b64encode(data).decode("ascii"), handler=UNSET if handler is None else handler)
    changed = session.client.put_code(name, code)
    session.output.made(without_env(changed), f"{name} has the code of {archive}")


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
