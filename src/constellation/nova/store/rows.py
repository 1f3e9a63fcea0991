"""Rows of the invocation log as a binary COPY has them: what is the same in all rows of a function, and around them.

The rest of each row is encoded in C, in the order that `native/include/ct_abi.h` states and `COLUMNS` repeats.
"""

from __future__ import annotations

from struct import pack

from constellation.nova.domain.function import Function

_OF_FUNCTION = ("tenant", "namespace", "function_id", "function_name", "runtime", "node")
_OF_CALL = (
    "id",
    "function_version",
    "started_at",
    "duration_ms",
    "queued_ms",
    "cold_start",
    "status",
    "error",
    "input_bytes",
    "output_bytes",
    "log",
    "log_truncated",
    "source",
)
COLUMNS = _OF_FUNCTION + _OF_CALL

BEGINNING = b"PGCOPY\n\xff\r\n\0" + pack("!II", 0, 0)  # no flags, no extension of the header
END = pack("!h", -1)


def row_head(function: Function, *, node: str) -> bytes:
    """Return how each row of a function's calls on a node begins."""
    fields = (
        function.tenant.encode(),
        function.namespace.encode(),
        function.id.bytes,
        function.name.encode(),
        function.runtime.encode(),
        node.encode(),
    )
    return pack("!h", len(COLUMNS)) + b"".join(pack("!i", len(field)) + field for field in fields)
