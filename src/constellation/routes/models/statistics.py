"""Bodies of figures over the invocation log and the queue."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

from constellation.routes.models.paging import Page


class AsyncSummary(Struct, kw_only=True, frozen=True):
    """How a queue of durable calls stands: of a function, or of the namespace."""

    function: str | None  # None: all of the namespace
    is_paused: bool  # nothing of it is started; what runs goes on and what comes waits
    queued: int
    running: int
    paused: int  # taken out of line one by one
    dead: int
    succeeded_1m: int
    succeeded_5m: int
    oldest_due_at: datetime | None  # of what could be started now
    paused_functions: dict[str, datetime]  # whose queues stand still, and since when


class Figures(Struct, kw_only=True, frozen=True):
    """Calls of a time, and how long they took; milliseconds. Null where there were none."""

    calls: int
    errors: int
    cold_starts: int
    mean_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    mean_queued_ms: float | None


class FunctionFigures(Figures, kw_only=True, frozen=True):
    function: str
    error_rate: float  # 0 to 1


class InvocationsSummary(Struct, kw_only=True, frozen=True):
    """Figures of a range that ends now: of all its calls, and by function, the one with the most calls first."""

    since: datetime
    until: datetime
    is_sample: bool  # there were more calls than are looked at: the newest count
    total: Figures
    error_rate: float
    functions: Page[FunctionFigures]


class Counted(Struct, kw_only=True, frozen=True):
    """Calls since the executor started. Percentiles are estimates, from a histogram; null where nothing was called."""

    calls: int
    errors: int
    error_rate: float  # 0 to 1
    cold_starts: int
    cold_start_rate: float
    statuses: dict[str, int]  # calls by how they ended
    mean_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class CountedFunction(Counted, kw_only=True, frozen=True):
    """A function's, and what it has at this moment."""

    function: str
    tenant: str
    namespace: str
    idle: int
    busy: int
    booting: int
    inflight: int
    queued: int


class MetricsSummary(Struct, kw_only=True, frozen=True):
    """What /metrics says, as JSON, of the comet that answers."""

    node: str
    uptime_s: float
    instances: int
    total: Counted
    functions: list[CountedFunction]  # by calls, the most first


class StatisticsBucket(Figures, kw_only=True, frozen=True):
    at: datetime  # its beginning


class Statistics(Struct, kw_only=True, frozen=True):
    """Figures of a range that ends now, whole and in 30 steps; steps without calls are left out."""

    function: str | None
    since: datetime
    until: datetime
    step_s: float
    is_sample: bool  # there were more calls than are looked at: the newest count
    total: Figures
    statuses: dict[str, int]  # calls by how they ended
    series: list[StatisticsBucket]


class SlowCall(Struct, kw_only=True, frozen=True):
    id: UUID
    started_at: datetime
    duration_ms: float
    cold_start: bool
    status: str


class Diagnostics(Struct, kw_only=True, frozen=True):
    """What is slow and what fails."""

    function: str
    since: datetime
    until: datetime
    is_sample: bool
    total: Figures
    error_rate: float  # 0 to 1
    cold_start_rate: float
    statuses: dict[str, int]
    slow_threshold_ms: float  # one and a half times p95, half a second at least
    slow_calls: list[SlowCall]  # the slowest above it, ten at most


class Day(Struct, kw_only=True, frozen=True):
    day: date  # UTC
    calls: int
    errors: int


class Heatmap(Struct, kw_only=True, frozen=True):
    """Calls by day, as far back as the log is kept; days without calls are left out."""

    function: str | None
    days: list[Day]


class Cost(Struct, kw_only=True, frozen=True):
    """What calls cost by the prices of the configuration, in its currency."""

    function: str
    calls: int
    cold_starts: int
    gb_seconds: float  # run time by the memory that the function has now
    calls_cost: float
    compute_cost: float
    cold_starts_cost: float
    total_cost: float


class CostSummary(Struct, kw_only=True, frozen=True):
    since: datetime
    until: datetime
    currency: str
    total_cost: float
    functions: list[Cost]  # the dearest first


class FunctionCost(Cost, kw_only=True, frozen=True):
    since: datetime
    until: datetime
    currency: str


class Recommendation(Struct, kw_only=True, frozen=True):
    """A setting that the calls of a function speak against, or what fails by itself."""

    category: str  # memory, timeout, errors, cold_start, capacity or idle
    priority: str  # critical, high or medium
    setting: str | None  # of the function, that would be another; null: none cures it
    current_value: float  # of the setting; of errors, their share in percent
    recommended_value: float | None  # null: the setting has its largest value, or there is none
    reasoning: str
    metrics: dict[str, float]  # what was measured


class Recommendations(Struct, kw_only=True, frozen=True):
    """What the calls of a function say about its settings, the most urgent first.

    Looked at are calls of the live version, those left out whose caller went or sent nonsense. Twenty at least are needed, and then:
    memory: a call ran out of it (critical: 1 of 100). timeout: a call was cut off by `timeout_s` (critical: 1 of 100), or 1 of 100
    runs for 80 % of it. errors: more than 5 % failed otherwise. cold_start: more than 20 % started cold and `min_replicas` is 0.
    capacity: more than 5 % were served by a warm instance after waiting for longer than 100 ms. idle: `min_replicas` is above 0, and
    neither a call, of any version, nor a change of the function was in 7 days or more.
    """

    function: str
    since: datetime
    until: datetime
    days: int  # that were looked at: as many as were asked for, or as the log keeps
    version: int  # the live one, whose calls these are
    calls: int
    is_sample: bool  # there were more calls than are looked at: the newest count
    recommendations: list[Recommendation]


class Prewarm(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How many instances are wanted, those that there are counted in."""

    target: Annotated[int, Meta(ge=1, le=1000)] = 1


class Prewarmed(Struct, kw_only=True, frozen=True):
    """The instances of the comet that answers. What was begun is ready soon, and expires when nobody calls."""

    function: str
    ready: int
    booting: int
