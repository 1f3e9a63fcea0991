"""Values that only functions see: `secrets`."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from constellation.client import MasterKeyBody, SecretBody
from constellation.orbit.commands.arguments import Agreed
from constellation.orbit.failures import OrbitError
from constellation.orbit.output import Column
from constellation.orbit.session import Session

app = typer.Typer(
    help='Values that only functions see. A variable "$SECRET:NAME" of a function stands for one.',
    no_args_is_help=True,
)
SecretName = Annotated[str, typer.Argument(metavar="NAME")]
_LOOK_S = 0.2  # chosen: a person waits


@app.command("list")
def list_(context: typer.Context, search: Annotated[str, typer.Option(help="part of the name")] = "") -> None:
    """List secrets, and which functions use them; values are never shown."""
    session = Session.of(context)
    output = session.output
    columns = [
        Column[SecretBody]("NAME", lambda each: each.name),
        Column[SecretBody]("VERSION", lambda each: each.version),
        Column[SecretBody]("UPDATED", lambda each: output.age(each.updated_at)),
        Column[SecretBody]("USED BY", _users),
    ]
    output.rows(list(session.client.list_secrets(search=search or None)), columns, empty="There are no secrets.")


@app.command("get")
def get(context: typer.Context, name: SecretName) -> None:
    """Show what is known of a secret, but its value."""
    session = Session.of(context)
    session.output.data(session.client.get_secret(name))


@app.command("put")
def put(
    context: typer.Context,
    name: SecretName,
    value: Annotated[
        str | None,
        typer.Option(
            help="the value itself: it stays in the shell's history, and others see it among the processes",
            show_default=False,
        ),
    ] = None,
    *,
    is_new: Annotated[bool, typer.Option("--new", help="refuse to replace one that is there")] = False,
    is_exact: Annotated[bool, typer.Option("--exact", help="keep a newline at the end of standard input")] = False,
) -> None:
    """Keep a value, or replace it: asked for on a terminal, else read from standard input."""
    session = Session.of(context)
    if value is None:
        value = _asked() if sys.stdin.isatty() else _read(is_exact=is_exact)
    keep = session.client.create_secret if is_new else session.client.put_secret
    kept = keep(name, value)
    session.output.made(kept, f"kept {kept.name} (version {kept.version})")


@app.command("delete")
def delete(context: typer.Context, name: SecretName, *, is_agreed: Agreed = False) -> None:
    """Delete a secret that no function uses."""
    session = Session.of(context)
    session.confirm(f"Delete the secret {name}? Its value can not be had back.", is_agreed=is_agreed)
    session.client.delete_secret(name)
    session.output.done(f"deleted {name}")


@app.command("keys")
def keys(context: typer.Context) -> None:
    """List the master keys that seal the secrets of all tenants, and how many each still seals."""
    session = Session.of(context)
    output = session.output
    columns = [
        Column[MasterKeyBody]("VERSION", lambda each: each.version),
        Column[MasterKeyBody]("SECRETS", lambda each: each.secrets_count),
        Column[MasterKeyBody]("PRESENT", lambda each: "yes" if each.is_present else "no"),
        Column[MasterKeyBody]("MADE", lambda each: output.age(each.created_at)),
    ]
    output.rows(list(session.client.list_master_keys()), columns, empty="There are no master keys.")


@app.command("rotate")
def rotate(
    context: typer.Context,
    *,
    is_waiting: Annotated[bool, typer.Option("--wait/--no-wait", help="until every secret is sealed anew")] = True,
) -> None:
    """Make a new master key and seal every secret with it."""
    session = Session.of(context)
    made = session.client.rotate_master_key()
    if is_waiting:
        while (left := _left(session, made.version)) > 0:
            session.output.note(f"{left} secrets to be sealed anew")
            time.sleep(_LOOK_S)
    session.output.made(made, f"master key {made.version} seals")


def _left(session: Session, version: int) -> int:
    return sum(
        key.secrets_count for key in session.client.list_master_keys() if key.version < version and key.is_present
    )


def _users(secret: SecretBody) -> str:
    more = secret.functions_count - len(secret.functions)
    return ", ".join(secret.functions) + (f" and {more} more" if more > 0 else "")


def _asked() -> str:
    value: str = typer.prompt("Value", hide_input=True, err=True)
    return value


def _read(*, is_exact: bool) -> str:
    """Return standard input as text, without the newline that editors and `echo` put at its end."""
    try:
        text = sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise OrbitError("standard input is not text", hint="Encode bytes, in base64 for example.") from error
    if not is_exact:
        text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise OrbitError("standard input is empty", hint="Such as: orbit secrets put NAME < file")
    return text
