"""Refusals that say when to come again."""

from __future__ import annotations

import pytest

from constellation.comet.refusals import BreakerOpen, KeyRateLimit
from constellation.rpc.faults import Fault, fault_of


@pytest.mark.parametrize(("left_s", "whole"), [(-1.0, 1), (0.0, 1), (0.2, 1), (1.0, 1), (1.1, 2), (3600.0, 3600)])
def test_a_wait_is_told_in_whole_seconds(left_s, whole):
    breaker = BreakerOpen("f", left_s=left_s)
    key = KeyRateLimit("apikey:ci", rate_per_s=2.5, left_s=left_s)
    assert (breaker.code, breaker.http_status, breaker.retry_after_s) == ("breaker_open", 503, whole)
    assert (key.code, key.http_status, key.retry_after_s) == ("rate_limited", 429, whole)
    assert breaker.problem()["left_s"] == key.problem()["left_s"] == max(left_s, 0.0)


def test_both_are_refusals_that_used_nothing_up():
    assert fault_of(BreakerOpen("f", left_s=1.0)) is Fault.REFUSED
    assert fault_of(KeyRateLimit("apikey:ci", rate_per_s=1.0, left_s=1.0)) is Fault.REFUSED
