"""Figures over the invocation log: how often, how fast, how dear. Ranges end now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from constellation.comet.dataplane.request import DataRequest, function_of
from constellation.comet.executor.executor import Executor
from constellation.nova.config.live import InForce
from constellation.nova.config.sections import PriceSettings
from constellation.nova.domain import advice
from constellation.nova.domain.function import Function
from constellation.nova.store import statistics as stored
from constellation.routes.models import statistics as m
from constellation.routes.models.paging import Page, page_facts

STEPS = 30
DEFAULT_RANGE_S, DIAGNOSTICS_RANGE_S, COST_RANGE_S = 3600.0, 86_400.0, 30 * 86_400.0
ADVICE_DAYS = 7
SLOW_CALLS = 10
SLOW_FACTOR, SLOW_FLOOR_MS = 1.5, 500.0  # chosen: a call is slow past both


class Figures(Protocol):
    """Answers of all scopes; each question names its own. See `store.statistics.Statistics`."""

    async def now(self) -> datetime: ...
    async def figures(
        self, tenant: str, namespace: str, function_name: str | None, *, range_s: float, step_s: float
    ) -> tuple[stored.Figures, Sequence[tuple[datetime, stored.Figures]]]: ...
    async def by_function(
        self, tenant: str, namespace: str, function_name: str | None, *, range_s: float
    ) -> tuple[stored.Figures, Sequence[tuple[str, stored.Figures]]]: ...
    async def statuses(
        self, tenant: str, namespace: str, function_name: str | None, *, range_s: float
    ) -> dict[str, int]: ...
    async def slowest(
        self, tenant: str, namespace: str, function_name: str, *, range_s: float, above_ms: float, limit: int
    ) -> Sequence[stored.SlowCall]: ...
    async def days(
        self, tenant: str, namespace: str, function_name: str | None, *, days: int
    ) -> Sequence[stored.Day]: ...
    async def usage(
        self, tenant: str, namespace: str, function_name: str | None, *, range_s: float
    ) -> Sequence[stored.Usage]: ...
    async def advice(self, function: Function, *, days: int) -> advice.Calls: ...


class StatisticsRoutes:
    """Operations on the figures of the caller's scope."""

    def __init__(self, figures: Figures, executor: Executor, in_force: InForce) -> None:
        self._figures, self._executor, self._in_force = figures, executor, in_force

    async def function_metrics(self, request: DataRequest) -> m.Statistics:
        return await self._statistics(request, (await function_of(request, self._executor)).name)

    async def timeseries(self, request: DataRequest) -> m.Statistics:
        return await self._statistics(request, None)

    async def invocations_summary(self, request: DataRequest) -> m.InvocationsSummary:
        range_s, window = request.query_range(default_s=DIAGNOSTICS_RANGE_S), request.window
        scope = (request.tenant, request.namespace, request.query_function())
        until = await self._figures.now()
        total, each = await self._figures.by_function(*scope, range_s=range_s)
        shown = each[window.offset : window.offset + window.limit]
        facts = page_facts(limit=window.limit, offset=window.offset, returned=len(shown), total=len(each))
        return m.InvocationsSummary(
            since=until - timedelta(seconds=range_s),
            until=until,
            is_sample=total.calls >= stored.SAMPLE,
            total=msgspec.convert(total, m.Figures, from_attributes=True),
            error_rate=total.errors / max(1, total.calls),
            functions=Page(items=[_of_function(name, figures) for name, figures in shown], pagination=facts),
        )

    async def diagnostics(self, request: DataRequest) -> m.Diagnostics:
        range_s = request.query_range(default_s=DIAGNOSTICS_RANGE_S)
        function = (await function_of(request, self._executor)).name
        scope = (request.tenant, request.namespace, function)
        until = await self._figures.now()
        total, _ = await self._figures.figures(*scope, range_s=range_s, step_s=range_s)
        threshold = max(SLOW_FLOOR_MS, SLOW_FACTOR * (total.p95_ms or 0.0))
        slow = await self._figures.slowest(*scope, range_s=range_s, above_ms=threshold, limit=SLOW_CALLS)
        return m.Diagnostics(
            function=function,
            since=until - timedelta(seconds=range_s),
            until=until,
            is_sample=total.calls >= stored.SAMPLE,
            total=msgspec.convert(total, m.Figures, from_attributes=True),
            error_rate=total.errors / max(1, total.calls),
            cold_start_rate=total.cold_starts / max(1, total.calls),
            statuses=await self._figures.statuses(*scope, range_s=range_s),
            slow_threshold_ms=threshold,
            slow_calls=msgspec.convert(slow, list[m.SlowCall], from_attributes=True),
        )

    async def recommendations(self, request: DataRequest) -> m.Recommendations:
        wanted = request.query_number("days", default=ADVICE_DAYS, low=1, high=90)
        function = await function_of(request, self._executor)
        kept = self._in_force.settings.invocation_log.retention_days
        days = min(wanted, kept, function.log_retention_days or kept)
        until = await self._figures.now()
        since = until - timedelta(days=days)
        calls = await self._figures.advice(function, days=days)
        return m.Recommendations(
            function=function.name,
            since=since,
            until=until,
            days=days,
            version=function.live_version,
            calls=calls.calls,
            is_sample=calls.calls >= stored.SAMPLE,
            recommendations=[_told(each) for each in advice.advise(function, calls, since=since, days=days)],
        )

    async def function_heatmap(self, request: DataRequest) -> m.Heatmap:
        return await self._heatmap(request, (await function_of(request, self._executor)).name)

    async def heatmap(self, request: DataRequest) -> m.Heatmap:
        return await self._heatmap(request, None)

    async def function_cost(self, request: DataRequest) -> m.FunctionCost:
        range_s = request.query_range(default_s=COST_RANGE_S)
        function = (await function_of(request, self._executor)).name
        until = await self._figures.now()
        found = await self._figures.usage(request.tenant, request.namespace, function, range_s=range_s)
        prices = self._in_force.of(request.tenant).prices
        used = found[0] if found else stored.Usage(function_name=function, calls=0, cold_starts=0, gb_seconds=0.0)
        return m.FunctionCost(
            **msgspec.structs.asdict(_cost(used, prices)),
            since=until - timedelta(seconds=range_s),
            until=until,
            currency=prices.currency,
        )

    async def cost_summary(self, request: DataRequest) -> m.CostSummary:
        range_s = request.query_range(default_s=COST_RANGE_S)
        until = await self._figures.now()
        found = await self._figures.usage(request.tenant, request.namespace, None, range_s=range_s)
        prices = self._in_force.of(request.tenant).prices
        costs = sorted((_cost(used, prices) for used in found), key=lambda cost: (-cost.total_cost, cost.function))
        return m.CostSummary(
            since=until - timedelta(seconds=range_s),
            until=until,
            currency=prices.currency,
            total_cost=sum(cost.total_cost for cost in costs),
            functions=costs,
        )

    async def _statistics(self, request: DataRequest, function: str | None) -> m.Statistics:
        range_s = request.query_range(default_s=DEFAULT_RANGE_S)
        scope, step_s = (request.tenant, request.namespace, function), range_s / STEPS
        until = await self._figures.now()
        total, steps = await self._figures.figures(*scope, range_s=range_s, step_s=step_s)
        return m.Statistics(
            function=function,
            since=until - timedelta(seconds=range_s),
            until=until,
            step_s=step_s,
            is_sample=total.calls >= stored.SAMPLE,
            total=msgspec.convert(total, m.Figures, from_attributes=True),
            statuses=await self._figures.statuses(*scope, range_s=range_s),
            series=[
                m.StatisticsBucket(
                    at=at, **msgspec.structs.asdict(msgspec.convert(step, m.Figures, from_attributes=True))
                )
                for at, step in steps
            ],
        )

    async def _heatmap(self, request: DataRequest, function: str | None) -> m.Heatmap:
        days = request.query_number("days", default=365, low=1, high=730)
        found = await self._figures.days(request.tenant, request.namespace, function, days=days)
        return m.Heatmap(function=function, days=msgspec.convert(found, list[m.Day], from_attributes=True))


def _told(found: advice.Advice) -> m.Recommendation:
    return m.Recommendation(
        category=found.category.value,
        priority=found.priority.value,
        setting=found.setting,
        current_value=found.current_value,
        recommended_value=found.recommended_value,
        reasoning=found.reasoning,
        metrics=dict(found.metrics),
    )


def _of_function(name: str, figures: stored.Figures) -> m.FunctionFigures:
    told = msgspec.structs.asdict(msgspec.convert(figures, m.Figures, from_attributes=True))
    return m.FunctionFigures(**told, function=name, error_rate=figures.errors / max(1, figures.calls))


def _cost(used: stored.Usage, prices: PriceSettings) -> m.Cost:
    calls = used.calls * prices.call
    compute = used.gb_seconds * prices.gb_second
    cold_starts = used.cold_starts * prices.cold_start
    return m.Cost(
        function=used.function_name,
        calls=used.calls,
        cold_starts=used.cold_starts,
        gb_seconds=used.gb_seconds,
        calls_cost=calls,
        compute_cost=compute,
        cold_starts_cost=cold_starts,
        total_cost=calls + compute + cold_starts,
    )
