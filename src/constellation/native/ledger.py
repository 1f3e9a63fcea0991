"""What the table has written down: verified identities, records of the lane's calls, exact counts."""

from __future__ import annotations

from typing import Any

from constellation.native import _core
from constellation.native.errors import checked
from constellation.native.table_values import FunctionHandle, Identity, Meter, Record, Totals

_lib, _ffi = _core.lib, _core.ffi

_ROWS = 1000  # a C call; measured: 65 us when they printed little; what they printed is bounded by the batch's bytes


class Ledger:
    """The written part of a table; `native.table.Table` is one."""

    def __init__(self, pointer: Any, histogram_counts: int) -> None:
        self._table, self._counts = pointer, histogram_counts

    def put_identity(self, token: bytes, identity: Identity) -> None:
        """Know a verified token by its bytes."""
        tenant, space, subject = (text.encode() for text in identity[:3])
        kept = [_ffi.from_buffer("uint8_t[]", text) for text in (tenant, space, subject, identity.rule)]
        row = _ffi.new(
            "ct_identity *",
            {
                "tenant": kept[0],
                "space": kept[1],
                "subject": kept[2],
                "rule": kept[3],
                "rule_len": len(identity.rule),
                "tenant_len": len(tenant),
                "space_len": len(space),
                "subject_len": len(subject),
                "may_invoke": identity.may_invoke,
                "expires_at_s": identity.expires_at_s,
                "rate_per_s": identity.rate_per_s,
                "burst": identity.burst,
            },
        )
        checked("identity", _lib.ct_identity_put(self._table, _ffi.from_buffer("uint8_t[]", token), len(token), row))

    def find_identity(self, token: bytes, *, now_s: int) -> Identity | None:
        """Return what a token stands for, unless it is unknown or expired."""
        row = _ffi.new("ct_identity *")
        if not _lib.ct_identity_find(self._table, _ffi.from_buffer("uint8_t[]", token), len(token), now_s, row):
            return None
        return Identity(
            _text(row.tenant, row.tenant_len),
            _text(row.space, row.space_len),
            _text(row.subject, row.subject_len),
            bool(row.may_invoke),
            row.expires_at_s,
            row.rate_per_s,
            row.burst,
            bytes(_ffi.buffer(row.rule, row.rule_len)) if row.rule_len else b"",
        )

    def clear_identities(self) -> None:
        """Know no token any more."""
        _lib.ct_identity_clear(self._table)

    def append_record(self, record: Record) -> bool:
        """Keep a record as the lane does; False when it was dropped."""
        kept = [_ffi.from_buffer("uint8_t[]", data) for data in (record.log, record.error)]
        flags = record.is_cold * _lib.CT_RECORD_COLD | record.is_log_truncated * _lib.CT_RECORD_LOG_TRUNCATED
        row = _ffi.new(
            "ct_record *",
            {
                "request_id": record.request_id,
                "function": record.function,
                "version": record.version,
                "started_at_us": record.started_at_us,
                "duration_ns": record.duration_ns,
                "queued_ns": record.queued_ns,
                "input_bytes": record.input_bytes,
                "output_bytes": record.output_bytes,
                "status": record.status,
                "flags": flags,
                "log": kept[0],
                "log_len": len(record.log),
                "error": kept[1],
                "error_len": len(record.error),
                "source": record.source[: _lib.CT_SOURCE_BYTES - 1],
            },
        )
        result = _lib.ct_record_append(self._table, row)
        if result == _lib.CT_E_FULL:
            return False
        checked("record", result)
        return True

    def set_row_head(self, function: FunctionHandle, head: bytes) -> None:
        """Say how a function's rows of the log begin: the count of fields, then those that are the same in all."""
        checked("row", _lib.ct_function_set_row(self._table, function, _ffi.from_buffer("uint8_t[]", head), len(head)))

    def write_rows(self, into: memoryview, at: int, *, skip: int, limit: int) -> tuple[int, int]:
        """Encode records for a binary COPY, oldest first but for the first `skip`: `limit` at most, a few at a time.

        Returns how many records were encoded, none when the next one does not fit, and where their bytes end. The
        records stay until they are forgotten.
        """
        used, place = _ffi.new("size_t *"), _ffi.from_buffer("uint8_t[]", into)
        count = _lib.ct_record_rows(self._table, skip, min(limit, _ROWS), place + at, len(into) - at, used)
        return count, at + used[0]

    def row_room(self) -> int:
        """Return how many bytes the oldest record's row takes at most; 0 when there is none."""
        return int(_lib.ct_record_room(self._table, 0))

    def forget_records(self, count: int) -> None:
        """Free the places of the oldest records."""
        _lib.ct_record_forget(self._table, count)

    @property
    def records(self) -> int:
        """How many are kept."""
        return int(_lib.ct_record_count(self._table))

    @property
    def records_dropped(self) -> int:
        return int(_lib.ct_record_dropped(self._table))

    def meter(self, number: int) -> Meter:
        """Return the counts of one series."""
        out = _ffi.new("ct_meter *")
        checked("meter", _lib.ct_meter_get(self._table, number, out))
        return Meter(tuple(out.statuses), tuple(out.buckets)[: self._counts], out.duration_ns, out.cold_starts)

    def totals(self) -> Totals:
        """Return the counts of the node."""
        out = _ffi.new("ct_totals *")
        _lib.ct_totals_get(self._table, out)
        return Totals(
            tuple(out.shed),
            tuple(out.wait_buckets)[: self._counts],
            out.wait_ns,
            out.calls,
            out.cold_starts,
        )


def _text(at: Any, length: int) -> str:
    return bytes(_ffi.buffer(at, length)).decode()


def rule_allows(rule: bytes, name: str) -> bool:
    """Tell whether a rule of which functions may be invoked lets this one be."""
    text = name.encode()
    return bool(_lib.ct_rule_allows(rule, len(rule), text, len(text)))
