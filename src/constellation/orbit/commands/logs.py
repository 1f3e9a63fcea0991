"""What functions printed and how their calls ended: `logs`, `invocations`."""

from __future__ import annotations

from collections import deque
from datetime import datetime
from itertools import islice
from typing import Annotated
from uuid import UUID

import anyio
import typer

from constellation.client import (
    ApiProblem,
    AsyncClient,
    FunctionFigures,
    InvocationBody,
    LogBody,
    NoAnswer,
    Unreachable,
)
from constellation.orbit.commands.arguments import FunctionName, id_of, since_of
from constellation.orbit.failures import OrbitError
from constellation.orbit.output import Column, Output
from constellation.orbit.session import Session

REMEMBERED = 1000  # calls that are recognised when the platform tells them again after a reconnect
RETRY_S = (0.5, 1.0, 2.0, 5.0)  # chosen: quick after a restart, quiet during an outage; the last one repeats
BEFORE_FOLLOWING = 10  # calls shown before those to come, as `tail -f` does

Since = Annotated[str | None, typer.Option(help="period before now (10m, 2h) or an instant", metavar="WHEN")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="calls at most")]
Failed = Annotated[bool, typer.Option("--failed", help="only calls that did not succeed")]
Search = Annotated[
    str | None, typer.Option("--search", metavar="TEXT", help="only calls that printed or failed with this")
]
Until = Annotated[str | None, typer.Option(help="likewise, where to stop", metavar="WHEN")]
RequestId = Annotated[str | None, typer.Option("--request-id", help="one call")]


def register(app: typer.Typer) -> None:
    app.command("logs")(logs)
    app.command("invocations")(invocations)


def logs(
    context: typer.Context,
    name: FunctionName,
    is_followed: Annotated[bool, typer.Option("--follow", "-f", help="go on with calls as they end")] = False,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    is_failed: Failed = False,
    search: Search = None,
    request_id: RequestId = None,
) -> None:
    """Show what a function printed, call by call, the oldest first."""
    session = Session.of(context)
    output = session.output
    if is_followed and (search or until):
        raise OrbitError("--follow shows all that is printed from now on; leave --search and --until out")
    if is_followed:
        limit = limit if since else min(limit, BEFORE_FOLLOWING)
    found = session.client.list_logs(
        name,
        status="failed" if is_failed else None,
        since=since_of(since, output.now()),
        until=since_of(until, output.now()),
        search=search,
        request_id=id_of(request_id) if request_id else None,
        page_size=min(limit, 500),
    )
    newest_last = list(islice(found, limit))[::-1]
    if not output.is_table and not is_followed:
        output.data(newest_last)
        return
    for entry in newest_last:
        show_log(output, entry)
    if is_followed:
        begin = newest_last[-1].started_at if newest_last else output.now()
        seen = [entry.id for entry in newest_last]
        anyio.run(_follow, session, name, begin, seen, is_failed)
    elif not newest_last:
        output.note(f"No calls of {name} are on record.")


def invocations(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="one function; all when absent")] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    is_failed: Failed = False,
    search: Search = None,
    is_summed: Annotated[bool, typer.Option("--summary", help="figures by function instead; of --range")] = False,
    range_: Annotated[str | None, typer.Option("--range", help="of --summary: 15m, 6h, 30d; a day when absent")] = None,
) -> None:
    """List calls, the newest first."""
    session = Session.of(context)
    output = session.output
    if is_summed:
        if since or until or is_failed or search:
            raise OrbitError("--summary takes a function and --range only")
        _summed(session, name, range_, limit)
        return
    if range_ is not None:
        raise OrbitError("--range goes with --summary; --since and --until narrow the list")
    found = session.client.list_invocations(
        function=name,
        status="failed" if is_failed else None,
        since=since_of(since, output.now()),
        until=since_of(until, output.now()),
        search=search,
        page_size=min(limit, 500),
    )
    columns = [
        Column[InvocationBody]("STARTED", lambda call: _instant(call.started_at)),
        Column[InvocationBody]("FUNCTION", lambda call: call.function),
        Column[InvocationBody]("VERSION", lambda call: call.function_version),
        Column[InvocationBody]("STATUS", lambda call: call.status),
        Column[InvocationBody]("TOOK", lambda call: f"{call.duration_ms:.1f} ms"),
        Column[InvocationBody]("START", lambda call: "cold" if call.cold_start else "warm"),
        Column[InvocationBody]("SOURCE", lambda call: call.source),
        Column[InvocationBody]("REQUEST", lambda call: call.id),
    ]
    output.rows(list(islice(found, limit)), columns, empty="No calls are on record.")


def _summed(session: Session, name: str | None, range_: str | None, limit: int) -> None:
    output = session.output
    found = session.client.invocations_summary(function=name, range_=range_, limit=min(limit, 500))
    if not output.is_table:
        output.data(found)
        return
    columns = [
        Column[FunctionFigures]("FUNCTION", lambda each: each.function),
        Column[FunctionFigures]("CALLS", lambda each: each.calls),
        Column[FunctionFigures]("ERRORS", lambda each: f"{each.errors} ({each.error_rate:.1%})"),
        Column[FunctionFigures]("COLD", lambda each: each.cold_starts),
        Column[FunctionFigures]("P50", lambda each: _ms(each.p50_ms)),
        Column[FunctionFigures]("P95", lambda each: _ms(each.p95_ms)),
        Column[FunctionFigures]("P99", lambda each: _ms(each.p99_ms)),
    ]
    output.rows(found.functions.items, columns, empty="No calls are on record in that time.")
    if found.total.calls:
        output.note(f"{found.total.calls} calls, {found.error_rate:.1%} errors, p95 {_ms(found.total.p95_ms)}")


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"


async def _follow(session: Session, name: str, since: datetime, seen: list[UUID], is_failed: bool) -> None:
    async with session.open_async() as client:
        await LogFollower(session.output, client, name, since=since, seen=seen, is_failed=is_failed).run()


class LogFollower:
    """Prints the log of a function as it grows, through breaks of the connection, each call once."""

    def __init__(
        self,
        output: Output,
        client: AsyncClient,
        name: str,
        *,
        since: datetime,
        seen: list[UUID] | None = None,
        is_failed: bool = False,
    ) -> None:
        self._output, self._client, self._name = output, client, name
        self._since, self._is_failed = since, is_failed
        self._seen: deque[UUID] = deque(seen or (), maxlen=REMEMBERED)

    async def run(self) -> None:
        """Follow until cancelled.

        Raises:
            ApiProblem: the function is gone, or the caller may not read its log.
        """
        waits, is_told = 0, False
        while True:
            broken: Exception | None = None
            try:
                async with self._client.follow_logs(self._name, since=self._since) as entries:
                    async for entry in entries:
                        waits, is_told = 0, False
                        self._show(entry)
            except NoAnswer:
                continue  # a silent minute: nothing was printed, ask again
            except Unreachable as error:
                broken = error
            except ApiProblem as problem:
                if problem.status < 500:
                    raise
                broken = problem
            if broken is not None and not is_told:
                self._output.warn(f"{broken}; trying again")
                is_told = True
            await anyio.sleep(RETRY_S[min(waits, len(RETRY_S) - 1)])
            waits += 1

    def _show(self, entry: LogBody) -> None:
        if entry.id in self._seen:
            return
        self._seen.append(entry.id)
        self._since = max(self._since, entry.started_at)
        if not self._is_failed or entry.status != "ok":
            show_log(self._output, entry)


def show_log(output: Output, entry: LogBody) -> None:
    """Print one call: a line of facts, then what it printed, indented."""
    if not output.is_table:
        output.record(entry)
        return
    facts = f"{_instant(entry.started_at)}  {entry.status}  {entry.duration_ms:.1f} ms  {entry.id}"
    output.line(facts, style="dim" if entry.status == "ok" else "red")
    for line in entry.log.splitlines():
        output.line(f"  {line}")
    if entry.log_truncated:
        output.line("  (the rest was cut by the platform)", style="dim")
    if isinstance(entry.error, dict):
        what = entry.error.get("type") or entry.error.get("code") or "error"
        output.line(f"  {what}: {entry.error.get('message') or entry.error.get('detail') or ''}", style="red")


def _instant(instant: datetime) -> str:
    return instant.astimezone().strftime("%Y-%m-%d %H:%M:%S.") + f"{instant.microsecond // 1000:03d}"
