"""What the table keeps of tenants: what all functions of one may in all, and how often they were called."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from constellation.native import _core
from constellation.native.errors import checked
from constellation.native.ledger import Ledger
from constellation.native.table_values import NEVER_NS, Detail, TenantHandle, TenantRow, TenantStats, Verdict

_lib, _ffi = _core.lib, _core.ffi

_LISTED = 256  # tenants a C call


class TenantLedger(Ledger):
    """The part of a table that is about tenants; `native.table.Table` is one."""

    def put_tenant(self, name: str, row: TenantRow) -> TenantHandle:
        """Limit a tenant from now on, whether it has functions yet or not.

        Raises:
            TableFull, LengthOverLimit
        """
        text, out = name.encode(), _ffi.new("uint64_t *")
        given = _ffi.new(
            "ct_tenant_row *",
            {
                "calls_per_s": row.calls_per_s,
                "calls_burst": row.calls_burst,
                "publishes_per_s": row.publishes_per_s,
                "publishes_burst": row.publishes_burst,
                "max_inflight": row.max_inflight,
                "calls_until": NEVER_NS if row.calls_until is None else row.calls_until,
                "quota_ends_ns": row.quota_ends_ns,
                "max_memory_mb": row.max_memory_mb,
                "max_cpu_millis": row.max_cpu_millis,
                "quota_detail": _lib.CT_DETAIL_DAY if row.is_quota_daily else _lib.CT_DETAIL_NONE,
            },
        )
        checked("tenant", _lib.ct_tenant_put(self._table, _ffi.from_buffer("uint8_t[]", text), len(text), given, out))
        return TenantHandle(out[0])

    def drop_tenant(self, tenant: TenantHandle) -> None:
        """It has no limits any more, and without functions it is not known any more."""
        checked("tenant", _lib.ct_tenant_drop(self._table, tenant))

    def tenant_stats(self, tenant: TenantHandle) -> TenantStats:
        """Return what a tenant did since the table got to know it."""
        out = _ffi.new("ct_tenant_stats *")
        checked("tenant", _lib.ct_tenant_stats_get(self._table, tenant, out))
        return _stats(out)

    def called_tenants(self) -> Iterator[TenantStats]:
        """Yield the tenants whose calls grew since this was last asked."""
        cursor, found = _ffi.new("uint64_t *"), _ffi.new("ct_tenant_stats[]", _LISTED)
        while count := _lib.ct_tenant_stats_list(self._table, cursor, found, _LISTED):
            for place in range(count):
                yield _stats(found[place])

    def publish_wait_ns(self, tenant: TenantHandle, messages: int, *, now_ns: int) -> int:
        """Take messages out of a tenant's bucket; above 0: when they may be published, `NEVER_NS`: not so many at once."""
        return int(_lib.ct_tenant_publish(self._table, tenant, messages, now_ns))

    def hold(
        self, tenant: TenantHandle, *, memory_mb: int, cpu_millis: int, is_there: bool = False
    ) -> Detail | Verdict:
        """Take memory and CPU for what a tenant has beside its instances; what is asked 0 of is not looked at.

        Args:
            is_there: it is taken whatever the limits are.

        Returns what there is too much of until idle instances that end for it are gone (see `hold_waits`), or the refusal.
        """
        said = _ffi.new("ct_verdict *")
        answer = checked("tenant", _lib.ct_tenant_hold(self._table, tenant, memory_mb, cpu_millis, is_there, said))
        if answer == _lib.CT_HOLD_REFUSED:
            return Verdict(said.code, said.detail, said.http_status, said.retry_after_s, said.limit)
        if answer == _lib.CT_HOLD_TAKEN:
            return Detail.NONE
        return self.hold_waits(tenant, memory_mb=memory_mb, cpu_millis=cpu_millis)

    def hold_waits(self, tenant: TenantHandle, *, memory_mb: int, cpu_millis: int) -> Detail:
        """Return what there is too much of, of what was taken of."""
        return Detail(checked("tenant", _lib.ct_tenant_hold_waits(self._table, tenant, memory_mb, cpu_millis)))

    def unhold(self, tenant: TenantHandle, *, memory_mb: int, cpu_millis: int) -> None:
        """Give back what was taken, in as many parts as one likes."""
        checked("tenant", _lib.ct_tenant_unhold(self._table, tenant, memory_mb, cpu_millis))


def _stats(out: Any) -> TenantStats:
    return TenantStats(out.tenant, out.calls, out.inflight, out.functions, out.memory_mb, out.cpu_millis)
