"""How often, how fast, how dear: `metrics`, `diagnose`, `recommend`, `cost`, and `prewarm` against the first slow call."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from constellation.client import Cost, CountedFunction, Recommendation, SlowCall, StatisticsBucket
from constellation.orbit.commands.arguments import FunctionName
from constellation.orbit.failures import OrbitError
from constellation.orbit.output import Column
from constellation.orbit.session import Session

Range = Annotated[str | None, typer.Option("--range", help="how far back from now: 15m, 6h, 30d")]
OneOrAll = Annotated[str | None, typer.Argument(metavar="[NAME]", help="one function; all when absent")]


def register(app: typer.Typer) -> None:
    app.command("metrics")(metrics)
    app.command("diagnose")(diagnose)
    app.command("recommend")(recommend)
    app.command("cost")(cost)
    app.command("prewarm")(prewarm)


def metrics(
    context: typer.Context,
    name: OneOrAll = None,
    range_: Range = None,
    is_prometheus: Annotated[
        bool,
        typer.Option(
            "--prometheus", help="the namespace's figures since the executor started, as Prometheus reads them"
        ),
    ] = False,
    is_now: Annotated[
        bool, typer.Option("--now", help="the same figures as a table, with instances and lines")
    ] = False,
) -> None:
    """Show calls by time: how many, how many failed, how long they took."""
    session = Session.of(context)
    client, output = session.client, session.output
    if (is_prometheus or is_now) and (name is not None or range_ is not None or (is_prometheus and is_now)):
        raise OrbitError("--prometheus and --now take no function, no range and not each other")
    if is_now:
        _counted(session)
        return
    if is_prometheus:
        with client.metrics() as pieces:
            sys.stdout.write(b"".join(pieces).decode())
        return
    found = client.timeseries(range_=range_) if name is None else client.function_metrics(name, range_=range_)
    if not output.is_table:
        output.data(found)
        return
    columns = [
        Column[StatisticsBucket]("FROM", lambda step: f"{step.at:%Y-%m-%d %H:%M:%S}"),
        Column[StatisticsBucket]("CALLS", lambda step: step.calls),
        Column[StatisticsBucket]("ERRORS", lambda step: step.errors),
        Column[StatisticsBucket]("COLD", lambda step: step.cold_starts),
        Column[StatisticsBucket]("P50", lambda step: _ms(step.p50_ms)),
        Column[StatisticsBucket]("P95", lambda step: _ms(step.p95_ms)),
        Column[StatisticsBucket]("P99", lambda step: _ms(step.p99_ms)),
        Column[StatisticsBucket]("LONGEST", lambda step: _ms(step.max_ms)),
    ]
    output.rows(found.series, columns, empty="No calls are on record in that time.")
    total = found.total
    if total.calls:
        output.note(
            f"{total.calls} calls, {total.errors} errors, {total.cold_starts} cold starts; "
            f"p50 {_ms(total.p50_ms)}, p95 {_ms(total.p95_ms)}, p99 {_ms(total.p99_ms)}"
        )


def _counted(session: Session) -> None:
    output, found = session.output, session.client.metrics_summary()
    if not output.is_table:
        output.data(found)
        return
    columns = [
        Column[CountedFunction]("FUNCTION", lambda each: each.function),
        Column[CountedFunction]("CALLS", lambda each: each.calls),
        Column[CountedFunction]("ERRORS", lambda each: f"{each.errors} ({each.error_rate:.1%})"),
        Column[CountedFunction]("COLD", lambda each: each.cold_starts),
        Column[CountedFunction]("P50", lambda each: _ms(each.p50_ms)),
        Column[CountedFunction]("P95", lambda each: _ms(each.p95_ms)),
        Column[CountedFunction]("IDLE", lambda each: each.idle),
        Column[CountedFunction]("BUSY", lambda each: each.busy),
        Column[CountedFunction]("IN LINE", lambda each: each.queued),
    ]
    output.rows(found.functions, columns, empty="No function was called since the executor started.")
    output.note(f"{found.total.calls} calls and {found.total.errors} errors in {found.uptime_s:.0f} s")


def diagnose(context: typer.Context, name: FunctionName, range_: Range = None) -> None:
    """Show what of a function is slow, and what fails."""
    session = Session.of(context)
    output, found = session.output, session.client.diagnostics(name, range_=range_)
    if not output.is_table:
        output.data(found)
        return
    output.item(found.total)
    statuses = ", ".join(f"{status} {count}" for status, count in found.statuses.items()) or "no calls"
    output.note(f"{statuses}; {found.error_rate:.1%} errors, {found.cold_start_rate:.1%} cold starts")
    columns = [
        Column[SlowCall]("SLOW CALL", lambda call: call.id),
        Column[SlowCall]("TOOK", lambda call: _ms(call.duration_ms)),
        Column[SlowCall]("START", lambda call: "cold" if call.cold_start else "warm"),
        Column[SlowCall]("STATUS", lambda call: call.status),
    ]
    output.rows(found.slow_calls, columns, empty=f"No call took longer than {_ms(found.slow_threshold_ms)}.")


def recommend(
    context: typer.Context,
    name: FunctionName,
    days: Annotated[int | None, typer.Option(min=1, max=90, help="how many days of calls are looked at; 7")] = None,
) -> None:
    """Say which settings the calls of a function speak against, by what was measured."""
    session = Session.of(context)
    output, found = session.output, session.client.recommendations(name, days=days)
    if not output.is_table:
        output.data(found)
        return
    columns = [
        Column[Recommendation]("PRIORITY", lambda each: each.priority),
        Column[Recommendation]("CATEGORY", lambda each: each.category),
        Column[Recommendation]("SETTING", lambda each: each.setting or "-"),
        Column[Recommendation]("IS", lambda each: f"{each.current_value:g}"),
        Column[Recommendation](
            "BETTER", lambda each: "-" if each.recommended_value is None else f"{each.recommended_value:g}"
        ),
        Column[Recommendation]("WHY", lambda each: each.reasoning),
    ]
    output.rows(found.recommendations, columns, empty="Nothing speaks against the settings.")
    output.note(f"{found.calls} calls of version {found.version} in {found.days} days")


def cost(context: typer.Context, name: OneOrAll = None, range_: Range = None) -> None:
    """Show what calls cost by the configured prices."""
    session = Session.of(context)
    client, output = session.client, session.output
    if name is not None:
        output.item(client.function_cost(name, range_=range_))
        return
    found = client.cost_summary(range_=range_)
    if not output.is_table:
        output.data(found)
        return
    columns = [
        Column[Cost]("FUNCTION", lambda each: each.function),
        Column[Cost]("CALLS", lambda each: each.calls),
        Column[Cost]("GB-SECONDS", lambda each: f"{each.gb_seconds:.3f}"),
        Column[Cost](f"COST ({found.currency})", lambda each: f"{each.total_cost:.6f}"),
    ]
    output.rows(found.functions, columns, empty="No calls are on record in that time.")
    output.note(f"{found.total_cost:.6f} {found.currency} in all")


def prewarm(
    context: typer.Context,
    name: FunctionName,
    target: Annotated[int, typer.Option(min=1, max=1000, help="instances, those that there are counted in")] = 1,
) -> None:
    """Begin instances before calls come; they expire as others do when nobody calls."""
    session = Session.of(context)
    done = session.client.prewarm(name, target=target)
    session.output.made(done, f"{done.ready} ready, {done.booting} booting")


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"
