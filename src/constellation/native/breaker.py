"""A breaker that no function of a table owns: the rule is `native/src/table/breaker.c`, as a function's."""

from __future__ import annotations

from typing import Any, NamedTuple

from constellation.native import _core
from constellation.native.errors import checked
from constellation.native.table_values import Breaker, Status

_lib, _ffi = _core.lib, _core.ffi


class BreakerRule(NamedTuple):
    """When it opens, and for how long; fields as those of a function's."""

    error_percent: int  # 0: it never opens
    min_samples: int
    window_s: float
    open_s: float
    probes: int


class BreakerPass(NamedTuple):
    """What became of a call that asked to be let in."""

    is_let_in: bool
    epoch: int = 0
    is_probe: bool = False
    left_s: float = 0.0  # refused: until probes are let in; 0 while they are out


class BreakerStats(NamedTuple):
    """The calls of its window, and its state."""

    state: Breaker
    good: int
    bad: int
    probes: int  # out
    opened: int  # times in all
    left_s: float  # open: until probes are let in


class LoneBreaker:
    """One breaker. Whoever is let in gives the pass back by `end`, whatever becomes of the call."""

    def __init__(self, rule: BreakerRule) -> None:
        row = _ffi.new(
            "ct_breaker_rule *",
            {
                "window_ns": round(rule.window_s * 1e9),
                "open_ns": round(rule.open_s * 1e9),
                "error_percent": rule.error_percent,
                "min_samples": rule.min_samples,
                "probes": rule.probes,
            },
        )
        out = _ffi.new("ct_breaker **")
        checked("breaker", _lib.ct_breaker_new(row, out))
        self._breaker: Any = _ffi.gc(out[0], _lib.ct_breaker_free)
        self._pass: Any = _ffi.new("ct_breaker_pass *")
        self._stats: Any = _ffi.new("ct_breaker_stats *")

    def admit(self, *, now_ns: int) -> BreakerPass:
        """Let a call in, or not."""
        is_refused = _lib.ct_breaker_admit(self._breaker, now_ns, self._pass)
        found = self._pass
        return BreakerPass(not is_refused, found.epoch, bool(found.is_probe), found.left_ns / 1e9)

    def end(self, held: BreakerPass, status: Status, *, now_ns: int) -> None:
        """Learn how a call ended that was let in."""
        row = self._pass
        row.epoch, row.is_probe, row.left_ns = held.epoch, held.is_probe, 0
        _lib.ct_breaker_end(self._breaker, row, status, now_ns)

    def stats(self, *, now_ns: int) -> BreakerStats:
        _lib.ct_breaker_stats_get(self._breaker, now_ns, self._stats)
        found = self._stats
        return BreakerStats(
            Breaker(found.state), found.good, found.bad, found.probes, found.opened, found.left_ns / 1e9
        )
