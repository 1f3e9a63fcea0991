"""What the executor has counted, from the families that Prometheus reads to the body of /metrics/summary. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from prometheus_client.metrics_core import Metric

from constellation.routes.models.invocations import FunctionStatsBody
from constellation.routes.models.statistics import Counted, CountedFunction

OK = "ok"
Series = tuple[str, str, str]  # function, tenant, namespace


@dataclass(slots=True)
class _Tally:
    statuses: Counter[str] = field(default_factory=Counter)
    buckets: Counter[float] = field(default_factory=Counter)  # calls that took at most so many seconds
    seconds: float = 0.0
    cold_starts: int = 0

    def add(self, other: _Tally) -> None:
        self.statuses += other.statuses
        self.buckets += other.buckets
        self.seconds += other.seconds
        self.cold_starts += other.cold_starts


def counted(
    families: Iterable[Metric], now: Mapping[Series, FunctionStatsBody]
) -> tuple[Counted, list[CountedFunction]]:
    """Return what was counted of all functions and of each, the most called first.

    Args:
        families: of the executor, restricted to what the caller may see.
        now: what functions have at this moment; one that was not called yet is listed too.
    """
    tallies = {series: _Tally() for series in now}
    for family in families:
        for sample in family.samples:
            labels = sample.labels
            if "function" in labels:
                series = (labels["function"], labels["tenant"], labels["namespace"])
                _take(tallies.setdefault(series, _Tally()), sample.name, labels, sample.value)
    whole, found = _Tally(), []
    for series, tally in tallies.items():
        figures = now.get(series)
        if figures is None and not tally.statuses:
            continue  # it is counted in families of other things only
        whole.add(tally)
        found.append(_function(series, tally, figures))
    found.sort(key=lambda each: (-each.calls, each.tenant, each.namespace, each.function))
    return _figures(whole), found


def quantile(buckets: Sequence[tuple[float, float]], share: float) -> float | None:
    """Estimate from a cumulative histogram which value a share of what was measured does not exceed.

    Values lie evenly in their bucket; what is beyond the last bound counts as that. None: nothing was measured.
    """
    total = buckets[-1][1] if buckets else 0
    if not total:
        return None
    rank, low, below = share * total, 0.0, 0.0
    for bound, count in buckets:
        if count >= rank:
            if bound == float("inf"):
                return low
            return low + (bound - low) * (rank - below) / (count - below)
        low, below = bound, count
    return low


def _take(tally: _Tally, name: str, labels: Mapping[str, str], value: float) -> None:
    match name:
        case "constellation_invocations_total":
            tally.statuses[labels["status"]] += int(value)
        case "constellation_invocation_duration_seconds_bucket":
            tally.buckets[float(labels["le"])] += int(value)
        case "constellation_invocation_duration_seconds_sum":
            tally.seconds += value
        case "constellation_cold_starts_total":
            tally.cold_starts += int(value)


def _function(series: Series, tally: _Tally, now: FunctionStatsBody | None) -> CountedFunction:
    function, tenant, namespace = series
    return CountedFunction(
        **msgspec.structs.asdict(_figures(tally)),
        function=function,
        tenant=tenant,
        namespace=namespace,
        idle=now.idle if now else 0,
        busy=now.busy if now else 0,
        booting=now.booting if now else 0,
        inflight=now.inflight if now else 0,
        queued=now.queued if now else 0,
    )


def _figures(tally: _Tally) -> Counted:
    calls = tally.statuses.total()
    errors = calls - tally.statuses[OK]
    buckets = sorted(tally.buckets.items())
    p50, p95, p99 = (None if (s := quantile(buckets, share)) is None else s * 1000 for share in (0.5, 0.95, 0.99))
    return Counted(
        calls=calls,
        errors=errors,
        error_rate=errors / max(1, calls),
        cold_starts=tally.cold_starts,
        cold_start_rate=tally.cold_starts / max(1, calls),
        statuses=dict(tally.statuses.most_common()),
        mean_ms=tally.seconds * 1000 / calls if calls else None,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
    )
