"""Directories that outlive instances: `volumes`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from constellation.client import VolumeBody
from constellation.orbit.commands.arguments import Agreed
from constellation.orbit.output import Column
from constellation.orbit.session import Session

app = typer.Typer(
    help="Directories that outlive instances and that functions of a namespace share. "
    "`mounts: [{volume: NAME, path: /mnt/data}]` in function.yaml shows one.",
    no_args_is_help=True,
)
VolumeName = Annotated[str, typer.Argument(metavar="NAME")]


class Access(StrEnum):
    READ_WRITE = "read_write"
    READ_ONLY = "read_only"
    READ_WRITE_ONCE = "read_write_once"


@app.command("create")
def create(
    context: typer.Context,
    name: VolumeName,
    size_mb: Annotated[int, typer.Option(help="MiB, 8 to 10240; nothing of it is taken before it is used")] = 256,
    access: Annotated[Access, typer.Option(help="any number of functions; none that writes; one function")] = (
        Access.READ_WRITE
    ),
    description: Annotated[str, typer.Option(help="what it is for")] = "",
) -> None:
    """Make a volume."""
    session = Session.of(context)
    made = session.client.create_volume(name, size_mb=size_mb, access=access.value, description=description)
    session.output.made(made, f"made {made.name}: {made.size_mb} MiB, {made.access}")


@app.command("list")
def list_(context: typer.Context, search: Annotated[str, typer.Option(help="part of the name")] = "") -> None:
    """List volumes, and which functions mount them."""
    session = Session.of(context)
    columns = [
        Column[VolumeBody]("NAME", lambda each: each.name),
        Column[VolumeBody]("SIZE", lambda each: f"{each.size_mb} MiB"),
        Column[VolumeBody]("ACCESS", lambda each: each.access),
        Column[VolumeBody]("MADE", lambda each: session.output.age(each.created_at)),
        Column[VolumeBody]("MOUNTED BY", _users),
        Column[VolumeBody]("DESCRIPTION", lambda each: each.description),
    ]
    session.output.rows(
        list(session.client.list_volumes(search=search or None)), columns, empty="There are no volumes."
    )


@app.command("show")
def show(context: typer.Context, name: VolumeName) -> None:
    """Show a volume."""
    session = Session.of(context)
    session.output.data(session.client.get_volume(name))


@app.command("update")
def update(
    context: typer.Context,
    name: VolumeName,
    access: Annotated[Access | None, typer.Option(help="who may mount it, and how")] = None,
    description: Annotated[str | None, typer.Option(help="what it is for")] = None,
) -> None:
    """Change who may mount a volume."""
    session = Session.of(context)
    changed = session.client.update_volume(
        name, access=None if access is None else access.value, description=description
    )
    session.output.made(changed, f"{changed.name} is {changed.access}")


@app.command("delete")
def delete(context: typer.Context, name: VolumeName, *, is_agreed: Agreed = False) -> None:
    """Delete a volume that nothing mounts, and its files."""
    session = Session.of(context)
    session.confirm(f"Delete the volume {name} and all files in it?", is_agreed=is_agreed)
    session.client.delete_volume(name)
    session.output.done(f"deleted {name}")


def _users(volume: VolumeBody) -> str:
    more = volume.functions_count - len(volume.functions)
    return ", ".join(volume.functions) + (f" and {more} more" if more > 0 else "")
