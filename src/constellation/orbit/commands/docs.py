"""What is written about functions: `docs`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from constellation.client import ShareBody, ShareCreate
from constellation.orbit.commands.arguments import FunctionName
from constellation.orbit.failures import OrbitError
from constellation.orbit.output import Column
from constellation.orbit.session import Session

app = typer.Typer(help="Write about a function, and let others read it.", no_args_is_help=True)

DAY_S = 24 * 3600


@app.command("show")
def show(context: typer.Context, name: FunctionName) -> None:
    """Print what is written about a function."""
    session = Session.of(context)
    docs = session.client.get_docs(name)
    if session.output.is_table:
        session.output.line(docs.content)
    else:
        session.output.data(docs)


@app.command("set")
def set_(
    context: typer.Context,
    name: FunctionName,
    file: Annotated[str, typer.Argument(metavar="FILE", help="Markdown; -: from the standard input")],
) -> None:
    """Write about a function what is in a file."""
    try:
        content = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OrbitError(f"{file}: {error}") from error
    session = Session.of(context)
    session.output.made(session.client.put_docs(name, content), f"wrote the docs of {name}")


@app.command("delete")
def delete(context: typer.Context, name: FunctionName) -> None:
    """Forget what is written about a function."""
    session = Session.of(context)
    session.output.made(session.client.delete_docs(name), f"forgot the docs of {name}")


@app.command("share")
def share(
    context: typer.Context,
    name: FunctionName,
    title: Annotated[str, typer.Option(help="for its readers")] = "",
    days: Annotated[float, typer.Option(help="how long the link is good", min=0.001, max=366)] = 7,
) -> None:
    """Make a link under which whoever has it reads the docs of a function. It is shown this once."""
    session = Session.of(context)
    made = session.client.create_share(name, ShareCreate(title=title, expires_in_s=max(round(days * DAY_S), 60)))
    session.output.made(made, f"{session.settings['server'].value}{made.path}")


@app.command("shares")
def shares(context: typer.Context, name: FunctionName) -> None:
    """List the links to the docs of a function."""
    session = Session.of(context)
    columns = [
        Column[ShareBody]("ID", lambda found: found.id),
        Column[ShareBody]("TITLE", lambda found: found.title),
        Column[ShareBody]("BY", lambda found: found.created_by),
        Column[ShareBody]("EXPIRES", lambda found: session.output.age(found.expires_at)),
    ]
    session.output.rows(list(session.client.list_shares(name)), columns, empty="There are no links.")


@app.command("unshare")
def unshare(context: typer.Context, name: FunctionName, share: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Let a link show nothing any more."""
    session = Session.of(context)
    session.output.made(session.client.delete_share(name, share), f"deleted the link {share}")
