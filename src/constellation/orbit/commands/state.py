"""What functions keep: `state`."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from constellation.client import StateKeyBody
from constellation.orbit.commands.arguments import event_of, seconds_of
from constellation.orbit.output import Column, size
from constellation.orbit.session import Session

app = typer.Typer(help="Values that functions keep between calls.", no_args_is_help=True)

StoreName = Annotated[str, typer.Argument(metavar="FUNCTION", help="whose store; with --shared, the store's own name")]
Key = Annotated[str, typer.Argument(metavar="KEY")]
Shared = Annotated[bool, typer.Option("--shared", help="a store that all functions of the namespace share")]
IfVersion = Annotated[int | None, typer.Option("--if-version", help="only if the key has this version", min=0)]


@app.command("list")
def list_(
    context: typer.Context,
    name: StoreName,
    prefix: Annotated[str, typer.Option(help="only keys that begin so")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 100,
    *,
    is_shared: Shared = False,
) -> None:
    """List keys, in order."""
    session = Session.of(context)
    output, page_size = session.output, min(limit, 500)
    found = (
        session.client.list_shared_state(name, prefix=prefix or None, page_size=page_size)
        if is_shared
        else session.client.list_state(name, prefix=prefix or None, page_size=page_size)
    )
    columns = [
        Column[StateKeyBody]("KEY", lambda each: each.key),
        Column[StateKeyBody]("VERSION", lambda each: each.version),
        Column[StateKeyBody]("SIZE", lambda each: size(each.size_bytes)),
        Column[StateKeyBody]("EXPIRES", lambda each: output.age(each.expires_at)),
        Column[StateKeyBody]("UPDATED", lambda each: output.age(each.updated_at)),
    ]
    output.rows(list(islice(found, limit)), columns, empty="There are no keys.")


@app.command("get")
def get(context: typer.Context, name: StoreName, key: Key, *, is_shared: Shared = False) -> None:
    """Print a value."""
    session = Session.of(context)
    client = session.client
    found = client.get_shared_state(name, key) if is_shared else client.get_state(name, key)
    session.output.data(found.value if session.output.is_table else found)


@app.command("put")
def put(
    context: typer.Context,
    name: StoreName,
    key: Key,
    value: Annotated[str, typer.Argument(metavar="JSON|@FILE|-")],
    ttl: Annotated[str | None, typer.Option(help="it is gone after so long, such as 90s or 24h")] = None,
    if_version: IfVersion = None,
    *,
    is_shared: Shared = False,
) -> None:
    """Keep a value."""
    session = Session.of(context)
    client = session.client
    keep = client.put_shared_state if is_shared else client.put_state
    written = keep(
        name, key, event_of(value), ttl_s=None if ttl is None else float(seconds_of(ttl)), if_version=if_version
    )
    session.output.made(written, f"kept {key} (version {written.version})")


@app.command("delete")
def delete(
    context: typer.Context, name: StoreName, key: Key, if_version: IfVersion = None, *, is_shared: Shared = False
) -> None:
    """Delete a key."""
    session = Session.of(context)
    client = session.client
    (client.delete_shared_state if is_shared else client.delete_state)(name, key, if_version=if_version)
    session.output.done(f"deleted {key}")
