"""Who may call functions: `ingress`."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from msgspec import ValidationError, convert, to_builtins

from constellation.client import IngressPolicyBody
from constellation.orbit.failures import OrbitError
from constellation.orbit.session import Session

app = typer.Typer(help="Say who may call a function.", no_args_is_help=True)

Function = Annotated[str, typer.Argument(metavar="FUNCTION")]
_NONE = '; "": restricts nothing'


@app.command("show")
def show(context: typer.Context, function: Function) -> None:
    """Show who may call a function."""
    session = Session.of(context)
    session.output.item(session.client.get_ingress(function))


@app.command("set")
def set_(
    context: typer.Context,
    function: Function,
    callers: Annotated[
        list[str] | None, typer.Option("--caller", help="a way in: url, api, function, schedule, queue" + _NONE)
    ] = None,
    functions: Annotated[
        list[str] | None, typer.Option("--function", help='a function that may call it; "order-*": all' + _NONE)
    ] = None,
    allow: Annotated[list[str] | None, typer.Option(help="a network that may call it: 10.1.0.0/16" + _NONE)] = None,
    deny: Annotated[list[str] | None, typer.Option(help="a network that may not" + _NONE)] = None,
) -> None:
    """Change some of a policy's lists; the others stay."""
    given = {"callers": callers, "functions": functions, "allow": allow, "deny": deny}
    changes: dict[str, Any] = {name: [each for each in rules if each] for name, rules in given.items() if rules}
    if not changes:
        raise OrbitError("nothing to change", hint="Give --caller, --function, --allow or --deny.")
    session = Session.of(context)
    now = to_builtins(session.client.get_ingress(function))
    try:
        wanted = convert(now | changes, IngressPolicyBody)
    except ValidationError as error:
        raise OrbitError(str(error)) from error
    session.output.item(session.client.put_ingress(function, wanted))


@app.command("reset")
def reset(context: typer.Context, function: Function) -> None:
    """Let whoever may call functions call this one again."""
    session = Session.of(context)
    session.output.item(session.client.delete_ingress(function))
