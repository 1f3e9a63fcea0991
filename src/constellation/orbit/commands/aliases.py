"""Names under which versions are called: `alias`."""

from __future__ import annotations

from typing import Annotated

import typer

from constellation.client import AliasBody, AliasPut
from constellation.orbit.commands.arguments import Agreed, FunctionName
from constellation.orbit.failures import OrbitError
from constellation.orbit.output import Column
from constellation.orbit.session import Session

app = typer.Typer(help="Aliases: names under which versions are called, as in NAME:ALIAS.", no_args_is_help=True)

AliasName = Annotated[str, typer.Argument(metavar="ALIAS")]
Versions = Annotated[
    list[str],
    typer.Argument(metavar="VERSION[=PERCENT]...", help="one version, or several with their shares: 3=90 4=10"),
]


@app.command("list")
def list_(context: typer.Context, name: FunctionName) -> None:
    """List the aliases of a function."""
    session = Session.of(context)
    output = session.output
    columns = [
        Column[AliasBody]("ALIAS", lambda each: each.alias),
        Column[AliasBody]("VERSIONS", _weights),
        Column[AliasBody]("STICKY", lambda each: each.is_sticky),
        Column[AliasBody]("CHANGED", lambda each: output.age(each.updated_at)),
    ]
    output.rows(list(session.client.list_aliases(name)), columns, empty=f"{name} has no aliases.")


@app.command("show")
def show(context: typer.Context, name: FunctionName, alias: AliasName) -> None:
    """Show an alias."""
    session = Session.of(context)
    session.output.item(session.client.get_alias(name, alias))


@app.command("set")
def set_(
    context: typer.Context,
    name: FunctionName,
    alias: AliasName,
    versions: Versions,
    description: Annotated[str, typer.Option(help="what it is for")] = "",
    *,
    is_sticky: Annotated[
        bool,
        typer.Option("--sticky", help="calls with one X-Nova-Sticky header, or nova-sticky cookie, get one version"),
    ] = False,
) -> None:
    """Have an alias, new or not, stand for one version or several."""
    session = Session.of(context)
    wanted = AliasPut(weights=weights_of(versions), is_sticky=is_sticky, description=description)
    set_to = session.client.put_alias(name, alias, wanted)
    session.output.made(set_to, f"{name}:{alias} is {_weights(set_to)}")


@app.command("promote")
def promote(
    context: typer.Context,
    name: FunctionName,
    alias: AliasName,
    version: Annotated[int | None, typer.Argument(metavar="[VERSION]", min=1)] = None,
) -> None:
    """Give one version every call of an alias: without a number, the newest of its own."""
    session = Session.of(context)
    promoted = session.client.promote_alias(name, alias, version=version)
    session.output.made(promoted, f"{name}:{alias} is {_weights(promoted)}")


@app.command("delete")
def delete(context: typer.Context, name: FunctionName, alias: AliasName, is_agreed: Agreed = False) -> None:
    """Delete an alias; its versions stay."""
    session = Session.of(context)
    session.confirm(f"Delete {name}:{alias}? Calls under it fail then.", is_agreed=is_agreed)
    session.output.made(session.client.delete_alias(name, alias), f"deleted {name}:{alias}")


def weights_of(texts: list[str]) -> dict[int, int]:
    """Return the weights that "3" or "3=90 4=10" mean.

    Raises:
        OrbitError: they can not be read.
    """
    weights: dict[int, int] = {}
    for text in texts:
        number, equals, percent = text.partition("=")
        weight = percent.removesuffix("%") if equals else "100"
        if not (number.isdigit() and weight.isdigit()) or int(number) in weights:
            raise OrbitError(f"{text!r} is no version with its share", hint="Such are 3, or 3=90 4=10.")
        weights[int(number)] = int(weight)
    return weights


def _weights(alias: AliasBody) -> str:
    if len(alias.weights) == 1:
        return f"version {next(iter(alias.weights))}"
    return ", ".join(f"{version}={weight}%" for version, weight in alias.weights.items())
