"""Files that functions share: `layers`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from constellation.client import LayerBody, LayerFileBody, LayerUserBody
from constellation.orbit import layer_files
from constellation.orbit.commands.arguments import Agreed
from constellation.orbit.failures import OrbitError
from constellation.orbit.output import Column, size
from constellation.orbit.session import Session

app = typer.Typer(
    help="Files that functions share. `layers: [NAME]` in function.yaml shows them on /opt: python/ is on Python's path, "
    "nodejs/node_modules on Node's, bin on PATH, lib on LD_LIBRARY_PATH.",
    no_args_is_help=True,
)
LayerName = Annotated[str, typer.Argument(metavar="NAME")]
LayerVersion = Annotated[int | None, typer.Option("--version", help="the newest when it is left out")]
Runtimes = Annotated[list[str] | None, typer.Option("--runtime", help="that may use it; all when it is left out")]


@app.command("put")
def put(
    context: typer.Context,
    name: LayerName,
    source: Annotated[Path, typer.Argument(metavar="PATH", help="a directory, or a ZIP archive", exists=True)],
    description: Annotated[str, typer.Option(help="what it is")] = "",
    runtime: Runtimes = None,
) -> None:
    """Keep a new version of a layer; what equals the newest one makes none."""
    session = Session.of(context)
    if source.is_file() and source.suffix != ".zip":
        raise OrbitError(f"{source} is neither a directory nor a ZIP archive")
    archive = layer_files.archive_of(source) if source.is_file() else layer_files.pack(source)
    kept = session.client.put_layer(name, archive=archive, description=description, runtimes=runtime or ())
    session.output.made(kept, f"{kept.name}:{kept.version} has {kept.files_count} files, {size(kept.size_bytes)}")


@app.command("list")
def list_(
    context: typer.Context,
    search: Annotated[str, typer.Option(help="part of the name")] = "",
    runtime: Annotated[str, typer.Option(help="only those that functions of it may use")] = "",
) -> None:
    """List layers, each in its newest version."""
    session = Session.of(context)
    found = list(session.client.list_layers(search=search or None, runtime=runtime or None))
    session.output.rows(found, _columns(session), empty="There are no layers.")


@app.command("show")
def show(context: typer.Context, name: LayerName, version: LayerVersion = None) -> None:
    """Show a version of a layer."""
    session = Session.of(context)
    session.output.data(session.client.get_layer(name, version=version))


@app.command("versions")
def versions(context: typer.Context, name: LayerName) -> None:
    """List the versions of a layer, newest first."""
    session = Session.of(context)
    session.output.rows(list(session.client.list_layer_versions(name)), _columns(session), empty="")


@app.command("files")
def files(context: typer.Context, name: LayerName, version: LayerVersion = None) -> None:
    """List the files of a version."""
    session = Session.of(context)
    columns = [
        Column[LayerFileBody]("PATH", lambda each: each.path),
        Column[LayerFileBody]("SIZE", lambda each: size(each.size_bytes)),
    ]
    session.output.rows(list(session.client.list_layer_files(name, version=version)), columns, empty="")


@app.command("functions")
def functions(context: typer.Context, name: LayerName, version: LayerVersion = None) -> None:
    """List the functions, and the versions of them that are kept, that use a layer."""
    session = Session.of(context)
    columns = [
        Column[LayerUserBody]("NAMESPACE", lambda each: each.namespace),
        Column[LayerUserBody]("FUNCTION", lambda each: each.function),
        Column[LayerUserBody]("VERSION", lambda each: each.function_version or "as it is"),
        Column[LayerUserBody]("LAYER", lambda each: f"{name}:{each.layer_version}"),
    ]
    found = list(session.client.list_layer_functions(name, version=version))
    session.output.rows(found, columns, empty="Nothing uses it.")


@app.command("delete")
def delete(
    context: typer.Context,
    name: LayerName,
    version: Annotated[int | None, typer.Option("--version", help="only this one")] = None,
    *,
    is_agreed: Agreed = False,
) -> None:
    """Delete a layer, or one version of it, that nothing uses."""
    session = Session.of(context)
    what = name if version is None else f"{name}:{version}"
    session.confirm(f"Delete the layer {what}?", is_agreed=is_agreed)
    session.output.made(session.client.delete_layer(name, version=version), f"deleted {what}")


def _columns(session: Session) -> list[Column[LayerBody]]:
    return [
        Column("NAME", lambda each: each.name),
        Column("VERSION", lambda each: each.version),
        Column("SIZE", lambda each: size(each.size_bytes)),
        Column("FILES", lambda each: each.files_count),
        Column("RUNTIMES", lambda each: ", ".join(each.runtimes) or "all"),
        Column("MADE", lambda each: session.output.age(each.created_at)),
        Column("DESCRIPTION", lambda each: each.description),
    ]
