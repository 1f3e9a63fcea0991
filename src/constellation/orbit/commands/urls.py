"""How functions are reached by their URLs: `url`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from msgspec import convert, structs, to_builtins

from constellation.client import FunctionUrlBody, FunctionUrlSettings
from constellation.orbit.failures import OrbitError
from constellation.orbit.session import Session

app = typer.Typer(help="Say who may call a function's URL, and how it answers.", no_args_is_help=True)

Function = Annotated[str, typer.Argument(metavar="FUNCTION")]


class Auth(StrEnum):
    KEY = "key"
    NONE = "none"


class Mode(StrEnum):
    BUFFERED = "buffered"
    STREAM = "stream"


@app.command("show")
def show(context: typer.Context, function: Function) -> None:
    """Show where a function's URL is, who may call it, and how it answers."""
    session = Session.of(context)
    _show(session, session.client.get_function_url(function))


@app.command("set")
def set_(
    context: typer.Context,
    function: Function,
    auth: Annotated[Auth | None, typer.Option(help="key: who may call functions; none: anybody")] = None,
    mode: Annotated[
        Mode | None, typer.Option(help="when the answer is sent: when it is whole, or as it is made")
    ] = None,
    is_enabled: Annotated[bool | None, typer.Option("--enable/--disable", help="whether it answers at all")] = None,
    origins: Annotated[
        list[str] | None, typer.Option("--origin", metavar="ORIGIN", help='pages that may call it; "*": all; "": none')
    ] = None,
) -> None:
    """Change some of a URL's settings; the others stay."""
    if auth is None and mode is None and is_enabled is None and not origins:
        raise OrbitError("nothing to change", hint="Give --auth, --mode, --enable, --disable or --origin.")
    session = Session.of(context)
    now = to_builtins(session.client.get_function_url(function))
    del now["path"]
    changes = {"auth": auth, "invoke_mode": mode, "enabled": is_enabled}
    now |= {name: value for name, value in changes.items() if value is not None}
    wanted = convert(now, FunctionUrlSettings)
    if origins:
        cors = structs.replace(wanted.cors, allow_origins=tuple(each for each in origins if each))
        wanted = structs.replace(wanted, cors=cors)
    _show(session, session.client.put_function_url(function, wanted))


@app.command("reset")
def reset(context: typer.Context, function: Function) -> None:
    """Go back to the defaults: a key is needed, and answers are sent when they are whole."""
    session = Session.of(context)
    _show(session, session.client.delete_function_url(function))


def _show(session: Session, url: FunctionUrlBody) -> None:
    session.output.item(url)
