"""What functions are to keep to: `slo`."""

from __future__ import annotations

from typing import Annotated

import typer
from msgspec import ValidationError, convert, to_builtins

from constellation.client import SloBreach, SloPolicyBody
from constellation.orbit.commands.arguments import FunctionName, seconds_of
from constellation.orbit.failures import OrbitError
from constellation.orbit.output import Column
from constellation.orbit.session import Session

app = typer.Typer(
    help="Say what a function is to keep to, and see how it does. `orbit notifications` tells when it does not.",
    no_args_is_help=True,
)

_NONE = "; none: it is not looked at"


@app.command("set")
def set_(
    context: typer.Context,
    name: FunctionName,
    success: Annotated[str | None, typer.Option(help="percent of the calls that end well, at least" + _NONE)] = None,
    p95: Annotated[
        str | None, typer.Option(help="milliseconds that 19 of 20 calls take at most, in line included" + _NONE)
    ] = None,
    cold: Annotated[str | None, typer.Option(help="percent of the calls that start cold, at most" + _NONE)] = None,
    window: Annotated[str | None, typer.Option(help="how far back calls are looked at, 1m to 24h; first 15m")] = None,
    min_samples: Annotated[int | None, typer.Option(min=1, help="fewer calls say nothing; first 20")] = None,
    *,
    is_enabled: Annotated[
        bool, typer.Option("--enable/--disable", help="disabled, it is kept and not looked at")
    ] = True,
) -> None:
    """Change some of a policy; the rest stays."""
    session = Session.of(context)
    policy = to_builtins(session.client.get_slo(name))
    given = {"success_rate_pct": success, "p95_duration_ms": p95, "cold_start_rate_pct": cold}
    policy["objectives"] |= {field: _number(text) for field, text in given.items() if text is not None}
    policy |= {"enabled": is_enabled}
    if window is not None:
        policy["window_s"] = seconds_of(window)
    if min_samples is not None:
        policy["min_samples"] = min_samples
    try:
        wanted = convert(policy, SloPolicyBody)
    except ValidationError as error:
        raise OrbitError(str(error)) from error
    session.output.item(session.client.put_slo(name, wanted))


@app.command("get")
def get(context: typer.Context, name: FunctionName) -> None:
    """Show what a function is to keep to."""
    session = Session.of(context)
    session.output.item(session.client.get_slo(name))


@app.command("status")
def status(context: typer.Context, name: FunctionName) -> None:
    """Show how the calls of the window that ends now do."""
    session = Session.of(context)
    output, found = session.output, session.client.slo_status(name)
    if not output.is_table:
        output.data(found)
        return
    output.item(found.snapshot)
    columns = [
        Column[SloBreach]("OBJECTIVE", lambda breach: breach.objective),
        Column[SloBreach]("LIMIT", lambda breach: f"{breach.limit:g}"),
        Column[SloBreach]("ACTUAL", lambda breach: f"{breach.actual:.2f}"),
    ]
    few = f"{found.snapshot.calls} calls say nothing yet; {found.policy.min_samples} are needed."
    output.rows(found.breaches, columns, empty="Nothing is missed." if found.has_enough_samples else few)
    told = f", {', '.join(found.breached)}; begun {output.age(found.breached_at)}" if found.breached else ""
    output.note(f"{name}: {found.state}{told}")


@app.command("rm")
def rm(context: typer.Context, name: FunctionName) -> None:
    """Ask nothing of a function any more."""
    session = Session.of(context)
    session.output.made(session.client.delete_slo(name), f"Nothing is asked of {name} any more.")


def _number(text: str) -> float | None:
    if text == "none":
        return None
    try:
        return float(text)
    except ValueError as error:
        raise OrbitError(f"{text!r} is no number, and not none") from error
