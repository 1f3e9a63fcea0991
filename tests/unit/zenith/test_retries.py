"""Which failed calls are made again, when, and how many."""

from __future__ import annotations

import pytest

from constellation.base.errors import ConstellationError, RemoteProblem, Unavailable
from constellation.routes.models.gateway_policy import Retry
from constellation.zenith.errors import FunctionFailed
from constellation.zenith.retries import RESERVE, Budgets, Tries, may_try_again, wait_s, wants_another


def remote(code: str, status: int = 503) -> ConstellationError:
    return RemoteProblem({"code": code, "status": status, "detail": "d", "retryable": True})


NOT_CONNECTED = Unavailable("comet", reason="r", may_have_begun=False)
CUT_OFF = Unavailable("comet", reason="r")
RAISED = FunctionFailed("f", type="E", message="m")


@pytest.mark.parametrize(
    ("error", "post", "get"),
    [
        (NOT_CONNECTED, True, True),
        (remote("queue_full", 429), True, True),
        (remote("draining"), True, True),
        (CUT_OFF, False, True),
        (remote("instance_died", 502), False, True),
        (remote("timeout", 504), False, False),
        (remote("breaker_open"), False, False),
        (remote("rate_limited", 429), False, False),
        (remote("not_found", 404), False, False),
        (RAISED, False, False),
    ],
)
def test_only_what_never_began_or_may_be_done_twice_is_done_again(error, post, get):
    retry = Retry(attempts=3)
    assert may_try_again(retry, method="POST", error=error) is post
    assert may_try_again(retry, method="PATCH", error=error) is post
    for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS"):
        assert may_try_again(retry, method=method, error=error) is get


def test_answers_are_asked_for_again_where_the_policy_names_their_status():
    retry = Retry(attempts=3, statuses=(502, 503))
    assert may_try_again(retry, method="GET", error=RAISED)
    assert not may_try_again(retry, method="POST", error=RAISED)
    assert wants_another(retry, method="GET", status=503)
    assert not wants_another(retry, method="GET", status=500)
    assert not wants_another(retry, method="POST", status=503)


def test_waits_double_up_to_their_bound_and_respect_who_failed():
    retry = Retry(attempts=5, backoff_s=0.5, max_backoff_s=2)
    assert [wait_s(retry, failed=n, retry_after_s=None, jitter=0.5) for n in (1, 2, 3, 4)] == [0.5, 1, 2, 2]
    assert wait_s(retry, failed=1, retry_after_s=2, jitter=0.5) == 2
    assert wait_s(retry, failed=1, retry_after_s=3, jitter=0.5) is None


def test_a_budget_bounds_how_much_an_outage_is_multiplied():
    budgets, again = Budgets(), 0
    for _ in range(1000):
        budgets.request("r")
        while budgets.take("r"):
            again += 1
    assert RESERVE <= again <= 1000 * 0.2 + RESERVE
    budgets.request("other")
    assert budgets.take("other")
    assert not budgets.take("unknown")


@pytest.mark.anyio
async def test_the_tries_of_a_call_are_as_many_as_its_route_its_time_and_the_budget_let_it_have():
    def tries(retry: Retry, method: str = "GET", *, within_s: float = 60.0, budgets: Budgets | None = None) -> Tries:
        return Tries(retry, method=method, budgets=budgets or Budgets(), route="r", within_s=within_s)

    retry = Retry(attempts=3, statuses=(503,))
    call = tries(retry)
    assert call.said() == []
    assert call.after_answer(200) is None
    assert call.after_answer(503) is not None
    assert call.after_error(CUT_OFF) is not None
    assert call.said() == [(b"x-nova-attempts", b"3")]
    assert call.after_error(CUT_OFF) is None  # three were all
    message = tries(retry, "POST")
    assert message.after_error(CUT_OFF) is None
    assert message.after_answer(503) is None
    assert message.after_error(NOT_CONNECTED) is not None
    assert tries(Retry()).after_error(NOT_CONNECTED) is None
    assert (
        tries(Retry(attempts=2, backoff_s=5), within_s=0.5).after_error(NOT_CONNECTED) is None
    )  # its time would be over
    spent = Budgets()
    many = [tries(retry, budgets=spent) for _ in range(40)]
    assert sum(each.after_answer(503) is not None for each in many) == RESERVE
