"""What there is to read about calls, builds and executors: logs, figures, costs."""

from __future__ import annotations

from constellation.nova.domain.access import Permission
from constellation.routes.models import builds as b
from constellation.routes.models import invocations as i
from constellation.routes.models import statistics as st
from constellation.routes.models.paging import Page
from constellation.routes.route import FUNCTION, PAGING, Query, Route, comet

P = Permission
_RANGE = (Query(name="range", about="how far back from now: 15m, 6h, 30d"),)
_DAYS = (Query(name="days", type="integer", about="how many, today the last; 365 when absent", low=1, high=730),)
_SCOPE = (
    Query(name="scope", about="namespace, or platform: all that the executor counts, for platform administrators"),
)
_LOG_QUERY = (
    Query(name="status", about='"ok", "function_error" or a problem code; "failed": whatever is not ok'),
    Query(name="since", about="RFC 3339 instant"),
    Query(name="until", about="RFC 3339 instant"),
    Query(
        name="search",
        about="a part of what was printed or of the error, letter case aside; the newest 100,000 calls are looked at",
    ),
    Query(name="request_id", about="one call"),
)

RECORDS: tuple[Route, ...] = (
    comet("list_function_builds", "GET", FUNCTION + "/builds", P.FUNCTION_READ, "Builds of a function, newest first",
          response=Page[b.BuildBody], query=(*PAGING, Query(name="state", about="pending, compiling, success, failed or cancelled"))),
    comet("retry_build", "POST", FUNCTION + "/builds", P.FUNCTION_UPDATE,
          "Build the code that was deployed last again, after its build failed or was cancelled", status=202,
          response=b.BuildBody),
    comet("get_build", "GET", "/builds/{id}", P.FUNCTION_READ, "One build", response=b.BuildBody),
    comet("build_log", "GET", "/builds/{id}/logs", P.LOG_READ,
          "What a build printed, as text; followed, server-sent events until it ends", streams=True,
          media_types=("text/plain", "text/event-stream"),
          query=(Query(name="follow", type="boolean", about="1: go on until the build ends"),)),
    comet("cancel_build", "POST", "/builds/{id}/cancel", P.FUNCTION_UPDATE, "End a build that is not over",
          response=b.BuildBody),
    comet("list_invocations", "GET", "/invocations", P.LOG_READ, "Calls of the namespace, newest first",
          response=Page[i.InvocationBody], query=(*PAGING, Query(name="function"), *_LOG_QUERY)),
    comet("invocations_summary", "GET", "/invocations/summary", P.LOG_READ,
          "Calls of the namespace by function: how many, how many failed, how long they took; the busiest first",
          response=st.InvocationsSummary, query=(*PAGING, *_RANGE, Query(name="function", about="only this one"))),
    comet("list_function_invocations", "GET", FUNCTION + "/invocations", P.LOG_READ,
          "Calls of a function, newest first", response=Page[i.InvocationBody], query=(*PAGING, *_LOG_QUERY)),
    comet("list_logs", "GET", FUNCTION + "/logs", P.LOG_READ, "What the calls of a function printed, newest first",
          response=Page[i.LogBody], query=(*PAGING, *_LOG_QUERY)),
    comet("follow_logs", "GET", FUNCTION + "/logs/stream", P.LOG_READ,
          "The log as it grows: server-sent events, one a call", streams=True,
          query=(Query(name="since", about="RFC 3339 instant to begin at; now when absent"),)),
    comet("function_metrics", "GET", FUNCTION + "/metrics", P.METRICS_READ,
          "Calls of a function by time: how many, how they ended, how long they took", response=st.Statistics,
          query=_RANGE),
    comet("timeseries", "GET", "/metrics/timeseries", P.METRICS_READ, "The same of the whole namespace",
          response=st.Statistics, query=_RANGE),
    comet("diagnostics", "GET", FUNCTION + "/diagnostics", P.LOG_READ, "What of a function is slow, and what fails",
          response=st.Diagnostics, query=_RANGE),
    comet("recommendations", "GET", FUNCTION + "/recommendations", P.METRICS_READ,
          "Which settings the calls of a function speak against, by rules over what was measured",
          response=st.Recommendations,
          query=(Query(name="days", type="integer", about="how many days of calls are looked at; 7 when absent", low=1, high=90),)),
    comet("function_heatmap", "GET", FUNCTION + "/heatmap", P.METRICS_READ, "Calls of a function by day",
          response=st.Heatmap, query=_DAYS),
    comet("heatmap", "GET", "/metrics/heatmap", P.METRICS_READ, "Calls of the namespace by day", response=st.Heatmap,
          query=_DAYS),
    comet("function_cost", "GET", FUNCTION + "/cost", P.METRICS_READ, "What the calls of a function cost",
          response=st.FunctionCost, query=_RANGE),
    comet("cost_summary", "GET", "/cost/summary", P.METRICS_READ, "What the calls of the namespace cost, by function",
          response=st.CostSummary, query=_RANGE),
    comet("metrics", "GET", "/metrics", P.METRICS_READ,
          "Figures of the namespace's functions since the executor started, as Prometheus reads them; /metrics/timeseries has them by time",
          media_types=("text/plain", "application/json"), streams=True, query=_SCOPE),
    comet("metrics_summary", "GET", "/metrics/summary", P.METRICS_READ,
          "The same figures as JSON, which /metrics answers too where Accept asks for it", response=st.MetricsSummary,
          query=_SCOPE),
    comet("stats", "GET", "/stats", P.METRICS_READ, "Instances, calls in hand and in line", response=i.StatsBody),
    comet("list_backends", "GET", "/backends", P.CONFIG_READ, "Which isolators can run here, and how limits hold",
          response=i.BackendsBody),
)  # fmt: skip
