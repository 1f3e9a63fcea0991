"""How long one call may take: the function's own limits and the caller's, whichever is less."""

from __future__ import annotations

from dataclasses import dataclass

FOREVER_S = 86_400.0  # a caller without a deadline; the function's limits still hold


@dataclass(frozen=True, slots=True)
class Budget:
    """A caller's deadline on the monotonic clock."""

    until_s: float
    given_s: float

    def left_s(self, now_s: float) -> float:
        return max(0.0, self.until_s - now_s)


def budget(now_s: float, *, timeout_ms: int = 0, deadline_s: float | None = None) -> Budget:
    """Return the budget of a call.

    Args:
        timeout_ms: what the request asks for; 0 for nothing.
        deadline_s: what is left of the transport's deadline; None when it has none.
    """
    given_s = min(timeout_ms / 1000 if timeout_ms else FOREVER_S, FOREVER_S if deadline_s is None else deadline_s)
    return Budget(now_s + given_s, given_s)
