"""Calls that ask for figures over the invocation log; a range is like 15m, 6h or 30d, and ends now."""

from __future__ import annotations

from constellation.client.call import Call, call
from constellation.routes.models import statistics as st
from constellation.routes.models.paging import DEFAULT_LIMIT


def function_metrics(name: str, *, range_: str | None = None) -> Call[st.Statistics]:
    """Calls of a function by time; of the last hour when no range is given."""
    return call("function_metrics", st.Statistics, params={"name": name}, query={"range": range_})


def metrics(*, scope: str | None = None) -> Call[None]:
    """Figures since the executor started as Prometheus reads them: of the namespace's functions, or with "platform" all."""
    return call("metrics", None, query={"scope": scope})


def metrics_summary(*, scope: str | None = None) -> Call[st.MetricsSummary]:
    """The same figures as JSON."""
    return call("metrics_summary", st.MetricsSummary, query={"scope": scope})


def invocations_summary(
    *, function: str | None = None, range_: str | None = None, limit: int = DEFAULT_LIMIT, offset: int = 0
) -> Call[st.InvocationsSummary]:
    """Calls of the namespace by function, the busiest first; of the last day when no range is given."""
    query = {"function": function, "range": range_, "limit": limit, "offset": offset}
    return call("invocations_summary", st.InvocationsSummary, query=query)


def timeseries(*, range_: str | None = None) -> Call[st.Statistics]:
    """The same of the whole namespace."""
    return call("timeseries", st.Statistics, query={"range": range_})


def diagnostics(name: str, *, range_: str | None = None) -> Call[st.Diagnostics]:
    """What of a function is slow and what fails; of the last day when no range is given."""
    return call("diagnostics", st.Diagnostics, params={"name": name}, query={"range": range_})


def recommendations(name: str, *, days: int | None = None) -> Call[st.Recommendations]:
    """Which settings the calls of a function speak against; of the last 7 days when no number is given."""
    return call("recommendations", st.Recommendations, params={"name": name}, query={"days": days})


def function_heatmap(name: str, *, days: int | None = None) -> Call[st.Heatmap]:
    """Calls of a function by day."""
    return call("function_heatmap", st.Heatmap, params={"name": name}, query={"days": days})


def heatmap(*, days: int | None = None) -> Call[st.Heatmap]:
    """Calls of the namespace by day."""
    return call("heatmap", st.Heatmap, query={"days": days})


def function_cost(name: str, *, range_: str | None = None) -> Call[st.FunctionCost]:
    """What the calls of a function cost; of the last 30 days when no range is given."""
    return call("function_cost", st.FunctionCost, params={"name": name}, query={"range": range_})


def cost_summary(*, range_: str | None = None) -> Call[st.CostSummary]:
    """What the calls of the namespace cost, the dearest function first."""
    return call("cost_summary", st.CostSummary, query={"range": range_})
