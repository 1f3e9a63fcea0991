"""The tenants of the table's model: what all functions of one did, and whether they may do more."""

from __future__ import annotations

from dataclasses import dataclass

from constellation.native.table_values import NEVER_NS, Detail, Status, TenantRow, Verdict
from constellation.testing.table_parts import SECOND_NS, later


def rate_of(per_s: float, burst: int) -> tuple[int, int]:
    """Return what one token takes to come and what all of them take, in nanoseconds."""
    interval_ns = max(1, min(int(1e9 / per_s + 0.5), 86_400 * SECOND_NS))
    return interval_ns, (burst or max(1, int(per_s))) * interval_ns


@dataclass
class ModelTenant:
    """One tenant: its limits, and what it did."""

    row: TenantRow | None = None
    calls: int = 0
    listed: int = 0
    call_full_at_ns: int = 0
    publish_full_at_ns: int = 0
    held: tuple[int, int] = (0, 0)  # memory and CPU beside its instances

    def refusal(self, inflight: int, now_ns: int, *, is_job: bool) -> Verdict | None:
        row = self.row
        if row is None:
            return None
        if row.calls_until is not None and self.calls >= row.calls_until:
            verdict = later(Status.QUOTA_EXCEEDED, max(0, row.quota_ends_ns - now_ns))
            return verdict._replace(detail=Detail.DAY) if row.is_quota_daily else verdict
        if is_job:
            return None
        if 0 < row.max_inflight <= inflight:
            return Verdict(Status.TENANT_INFLIGHT_LIMIT, retry_after_s=1, limit=row.max_inflight)
        if row.calls_per_s > 0:
            interval_ns, depth_ns = rate_of(row.calls_per_s, row.calls_burst)
            self.call_full_at_ns = min(max(self.call_full_at_ns, now_ns), now_ns + depth_ns)
            left_ns = self.call_full_at_ns - now_ns + interval_ns - depth_ns
            if left_ns > 0:
                return later(Status.TENANT_RATE_LIMITED, left_ns)
        return None

    def enter(self) -> None:
        self.calls += 1
        if self.row is not None and self.row.calls_per_s > 0:
            self.call_full_at_ns += rate_of(self.row.calls_per_s, self.row.calls_burst)[0]

    def publish(self, messages: int, now_ns: int) -> int:
        if self.row is None or self.row.publishes_per_s <= 0:
            return 0
        interval_ns, depth_ns = rate_of(self.row.publishes_per_s, self.row.publishes_burst)
        if messages * interval_ns > depth_ns:
            return NEVER_NS
        self.publish_full_at_ns = min(max(self.publish_full_at_ns, now_ns), now_ns + depth_ns)
        left_ns = self.publish_full_at_ns - now_ns + messages * interval_ns - depth_ns
        if left_ns > 0:
            return left_ns
        self.publish_full_at_ns += messages * interval_ns
        return 0
