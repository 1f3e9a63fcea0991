"""Whether a call that failed is made again: rules, and the budget that keeps them from doubling an outage."""

from __future__ import annotations

import random

import anyio

from constellation.base.backoff import backoff_s
from constellation.base.errors import ConstellationError, Unavailable
from constellation.routes.models.gateway_policy import Retry

# What may be done twice with the effect of once (RFC 9110 section 9.2.2).
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
# Comet says these of calls that no instance was given. An open breaker is not among them: it wants to be left alone, as
# does a rate that is used up.
_NOT_BEGUN = frozenset({
    "overloaded", "draining", "inflight_limit", "queue_full", "queue_wait_timeout", "sandbox_start_failed",
})  # fmt: skip
_MAYBE_BEGUN = frozenset({"unavailable", "instance_died"})
SHARE = 0.2  # chosen: of a route's requests, that may be tried again in the long run
RESERVE = 10.0  # chosen: so many at once after a quiet time
_ROUTES = 10_000  # chosen, as of accesses


def may_try_again(retry: Retry, *, method: str, error: ConstellationError) -> bool:
    """Tell whether a failure lets the same call be made again."""
    code = str(error.problem()["code"])
    if code in _NOT_BEGUN or (isinstance(error, Unavailable) and not error.may_have_begun):
        return True
    return method in _IDEMPOTENT and (code in _MAYBE_BEGUN or (code == "function_failed" and 502 in retry.statuses))


def wants_another(retry: Retry, *, method: str, status: int) -> bool:
    """Tell whether an answer of the function's own is one that is asked for again."""
    return method in _IDEMPOTENT and status in retry.statuses


def wait_s(retry: Retry, *, failed: int, retry_after_s: int | None, jitter: float) -> float | None:
    """Return how long to wait after so many failures; None when whoever failed asks for more patience than there is."""
    if retry_after_s is not None and retry_after_s > retry.max_backoff_s:
        return None
    wait = backoff_s(failed, base_s=retry.backoff_s, cap_s=retry.max_backoff_s, jitter=jitter)
    return max(wait, float(retry_after_s or 0))


class Budgets:
    """How many more calls each route may make a second time: a share of its requests, and a reserve."""

    def __init__(self) -> None:
        self._left: dict[str, float] = {}

    def request(self, route: str) -> None:
        """Count a request of a route."""
        left = min(self._left.pop(route, RESERVE) + SHARE, RESERVE)
        while len(self._left) >= _ROUTES:
            del self._left[next(iter(self._left))]
        self._left[route] = left

    def take(self, route: str) -> bool:
        """Take one; False when there is none left."""
        left = self._left.get(route, 0.0)
        if left < 1:
            return False
        self._left[route] = left - 1
        return True


class Tries:
    """The tries of one call. They share its time, and the budget of their route."""

    def __init__(self, retry: Retry, *, method: str, budgets: Budgets, route: str, within_s: float) -> None:
        self._retry, self._method, self._budgets, self._route = retry, method, budgets, route
        self._ends_at_s = anyio.current_time() + within_s
        self.failed = 0
        budgets.request(route)

    @property
    def left_s(self) -> float:
        return self._ends_at_s - anyio.current_time()

    def after_error(self, error: ConstellationError) -> float | None:
        """Return how long to wait before the call is made again; None when it is not."""
        return self._after(
            is_wanted=may_try_again(self._retry, method=self._method, error=error), retry_after_s=error.retry_after_s
        )

    def after_answer(self, status: int) -> float | None:
        """As `after_error`, of an answer of the function's own."""
        return self._after(is_wanted=wants_another(self._retry, method=self._method, status=status))

    def said(self) -> list[tuple[bytes, bytes]]:
        """Return what the client hears of it."""
        return [(b"x-nova-attempts", str(self.failed + 1).encode())] if self.failed else []

    def _after(self, *, is_wanted: bool, retry_after_s: int | None = None) -> float | None:
        if not is_wanted or self.failed + 1 >= self._retry.attempts:
            return None
        jitter = random.random()  # noqa: S311  # spreads retries
        pause_s = wait_s(self._retry, failed=self.failed + 1, retry_after_s=retry_after_s, jitter=jitter)
        if pause_s is None or pause_s >= self.left_s or not self._budgets.take(self._route):
            return None
        self.failed += 1
        return pause_s
