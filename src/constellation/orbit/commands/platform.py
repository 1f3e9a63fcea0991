"""The platform itself: `runtimes`, `backends`, `stats`, `health`, `whoami`."""

from __future__ import annotations

import typer

from constellation.client import ApiProblem, BackendBody, FunctionStatsBody, RuntimeBody
from constellation.orbit.failures import Exit
from constellation.orbit.output import Column, brief
from constellation.orbit.session import Session


def register(app: typer.Typer) -> None:
    app.command("runtimes")(runtimes)
    app.command("backends")(backends)
    app.command("stats")(stats)
    app.command("health")(health)
    app.command("whoami")(whoami)


def runtimes(context: typer.Context) -> None:
    """List languages, and why one is not available."""
    session = Session.of(context)
    columns = [
        Column[RuntimeBody]("ID", lambda runtime: runtime.id),
        Column[RuntimeBody]("NAME", lambda runtime: runtime.name),
        Column[RuntimeBody]("VERSION", lambda runtime: runtime.version),
        Column[RuntimeBody]("STATUS", lambda runtime: runtime.status),
        Column[RuntimeBody]("HANDLER", lambda runtime: runtime.default_handler),
        Column[RuntimeBody]("FUNCTIONS", lambda runtime: runtime.functions_count),
        Column[RuntimeBody]("WHY NOT", lambda runtime: runtime.reason),
    ]
    session.output.rows(list(session.client.list_runtimes()), columns, empty="There are no runtimes.")


def _why_not(backend: BackendBody) -> str:
    lacking = [f"{runtime}: {reason}" for runtime, reason in backend.missing_runtimes.items()]
    if backend.available and backend.egress_reason:
        lacking.append(f"egress: {backend.egress_reason}")
    return backend.reason or "; ".join(lacking)


def backends(context: typer.Context) -> None:
    """Show which isolators can run here, and how each limit is enforced."""
    session = Session.of(context)
    columns = [
        Column[BackendBody]("NAME", lambda backend: backend.name),
        Column[BackendBody]("AVAILABLE", lambda backend: backend.available),
        Column[BackendBody]("DEFAULT", lambda backend: backend.is_default),
        Column[BackendBody]("LIMITS", lambda backend: backend.limits),
        Column[BackendBody]("WHY NOT", _why_not),
    ]
    session.output.rows(session.client.list_backends().backends, columns, empty="There are no backends.")


def stats(context: typer.Context) -> None:
    """Show instances, calls in hand and calls in line."""
    session = Session.of(context)
    output, found = session.output, session.client.stats()
    if not output.is_table:
        output.data(found)
        return
    output.line(f"{found.node}: {found.instances} instances, up {brief(found.uptime_s)}")
    columns = [
        Column[FunctionStatsBody]("FUNCTION", lambda function: function.function),
        Column[FunctionStatsBody]("IDLE", lambda function: function.idle),
        Column[FunctionStatsBody]("BUSY", lambda function: function.busy),
        Column[FunctionStatsBody]("BOOTING", lambda function: function.booting),
        Column[FunctionStatsBody]("IN HAND", lambda function: function.inflight),
        Column[FunctionStatsBody]("IN LINE", lambda function: function.queued),
    ]
    output.rows(found.functions, columns, empty="No function has an instance now.")


def health(context: typer.Context) -> None:
    """Show whether the gateway and the planes behind it are well; exits with 5 when not."""
    session = Session.of(context)
    try:
        session.output.item(session.client.health())
    except ApiProblem as problem:
        if problem.status != 503 or not problem.body:
            raise
        session.output.item(problem.body)
        raise typer.Exit(int(Exit.SERVER)) from problem


def whoami(context: typer.Context) -> None:
    """Show who the credential is, in which scope, with which permissions."""
    session = Session.of(context)
    session.output.item(session.client.whoami())
