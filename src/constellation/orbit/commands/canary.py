"""An alias that goes over to another version in steps: `canary`."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from constellation.client import CanaryBody, CanaryStart
from constellation.orbit.commands.arguments import FunctionName, seconds_of
from constellation.orbit.failures import Exit, OrbitError
from constellation.orbit.output import Column
from constellation.orbit.session import Session

app = typer.Typer(help="Canaries: an alias goes over to another version in steps, or back.", no_args_is_help=True)

POLL_S = 2.0  # as often as the platform looks


@app.command("start")
def start(
    context: typer.Context,
    name: FunctionName,
    alias: Annotated[str, typer.Argument(metavar="ALIAS")],
    version: Annotated[int, typer.Argument(metavar="VERSION", min=1, help="that is to get the calls")],
    steps: Annotated[str, typer.Option(help="percent of the calls, ascending")] = "10,25,50",
    step: Annotated[str, typer.Option(help="how long a step lasts at least: 30s, 5m, 1h")] = "60s",
    min_calls: Annotated[int, typer.Option(min=1, help="of the new version, in a step")] = 20,
    max_errors: Annotated[float, typer.Option(min=0, max=100, help="points above the old version's percentage")] = 5.0,
    max_p95: Annotated[float, typer.Option(min=1, help="times the old version's p95")] = 1.5,
    *,
    is_awaited: Annotated[bool, typer.Option("--wait", help="until it ends; exits with 1 when it went back")] = False,
) -> None:
    """Begin a canary."""
    session = Session.of(context)
    wanted = CanaryStart(
        alias=alias,
        version=version,
        steps=_steps(steps),
        step_s=float(seconds_of(step)),
        min_calls=min_calls,
        max_error_percent=max_errors,
        max_p95_ratio=max_p95,
    )
    canary: CanaryBody = session.client.start_canary(name, wanted)
    while is_awaited and canary.state == "running":
        time.sleep(POLL_S)
        canary = session.client.get_canary(name)
    session.output.made(canary, _told(canary))
    if canary.state == "rolled_back":
        raise typer.Exit(int(Exit.FUNCTION_FAILED))


@app.command("status")
def status(context: typer.Context, name: FunctionName) -> None:
    """Show the newest canary of a function, and how its versions do."""
    session = Session.of(context)
    session.output.item(session.client.get_canary(name))


@app.command("list")
def list_(context: typer.Context, name: FunctionName) -> None:
    """List the canaries of a function, the newest first."""
    session = Session.of(context)
    output = session.output
    columns = [
        Column[CanaryBody]("ALIAS", lambda each: each.alias),
        Column[CanaryBody]("FROM", lambda each: each.old_version),
        Column[CanaryBody]("TO", lambda each: each.new_version),
        Column[CanaryBody]("STATE", lambda each: each.state),
        Column[CanaryBody]("PERCENT", lambda each: each.percent),
        Column[CanaryBody]("BEGAN", lambda each: output.age(each.created_at)),
        Column[CanaryBody]("REASON", lambda each: each.reason[:60]),
    ]
    output.rows(list(session.client.list_canaries(name)), columns, empty=f"{name} had no canaries.")


@app.command("promote")
def promote(context: typer.Context, name: FunctionName) -> None:
    """Give the new version every call now."""
    session = Session.of(context)
    canary = session.client.promote_canary(name)
    session.output.made(canary, _told(canary))


@app.command("cancel")
def cancel(context: typer.Context, name: FunctionName) -> None:
    """Give the old version every call again."""
    session = Session.of(context)
    canary = session.client.cancel_canary(name)
    session.output.made(canary, _told(canary))


def _steps(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise OrbitError(f"{text!r} are no steps such as 10,25,50") from error


def _told(canary: CanaryBody) -> str:
    name = f"{canary.function}:{canary.alias}"
    told = f"{name}: version {canary.new_version} has {canary.percent} % of the calls ({canary.state})"
    return f"{told}: {canary.reason}" if canary.reason else told
