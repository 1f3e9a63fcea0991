"""The table of hops: what lies between two processes, and that the hops add up to the call."""

from __future__ import annotations

import os

import hops
import pytest
from load import Result

PAGE = """\
# HELP constellation_gateway_request_duration_seconds ...
constellation_gateway_request_duration_seconds_bucket{le="0.1",node="n",operation="invoke",plane="zenith"} 9.0
constellation_gateway_request_duration_seconds_count{node="n",operation="invoke",plane="zenith"} 10.0
constellation_gateway_request_duration_seconds_sum{node="n",operation="invoke",plane="zenith"} 0.005
constellation_gateway_request_duration_seconds_count{node="n",operation="unrouted",plane="zenith"} 7.0
constellation_gateway_request_duration_seconds_sum{node="n",operation="unrouted",plane="zenith"} 9.0
constellation_invocation_duration_seconds_count{function="a",node="n",plane="comet",tenant="t"} 4.0
constellation_invocation_duration_seconds_sum{function="a",node="n",plane="comet",tenant="t"} 0.001
constellation_invocation_duration_seconds_count{function="b",node="n",plane="comet",tenant="t"} 6.0
constellation_invocation_duration_seconds_sum{function="b",node="n",plane="comet",tenant="t"} 0.002
constellation_invocation_duration_seconds_count{function="b",node="n",plane="nebula",tenant="t"} 6.0
constellation_invocation_duration_seconds_sum{function="b",node="n",plane="nebula",tenant="t"} 5.0
constellation_queue_wait_seconds_count{node="n",plane="comet"} 5.0
constellation_queue_wait_seconds_sum{node="n",plane="comet"} 0.0005
"""


def _run(latencies_us: list[int]) -> hops.Run:
    run = hops.Run(result=Result(elapsed_s=1.0))
    for us in latencies_us:
        run.result.latency_us.record(us)
    run.add(hops.WORKER, hops.Use(cpu_ns=20_000 * len(latencies_us), switches=2 * len(latencies_us)))
    return run


def test_spans_are_of_plain_calls_over_all_functions_and_of_one_plane_each():
    seconds = {span: pytest.approx(sums) for span, sums in hops.spans_of(PAGE).items()}
    assert seconds == {hops.ZENITH: (0.005, 10.0), hops.COMET: (0.003, 10.0), "line": (0.0005, 5.0)}


def test_hops_are_what_lies_between_two_spans_and_add_up_to_the_call():
    run = _run([600] * 10)
    for span, (seconds, calls) in hops.spans_of(PAGE).items():
        run.span_s[span], run.span_calls[span] = seconds, calls
    found = hops.hops(run)
    # 600 us at the client, 500 in zenith, 300 in comet; half of the calls waited 100 us; 20 us are the worker's.
    assert list(found.values()) == pytest.approx([100.0, 200.0, 50.0, 230.0, 20.0])
    assert sum(found.values()) == pytest.approx(600.0)


def test_the_table_names_the_overhead_and_what_each_process_used():
    ours, bare = _run([600] * 10), _run([200] * 10)
    for span, (seconds, calls) in hops.spans_of(PAGE).items():
        ours.span_s[span], ours.span_calls[span] = seconds, calls
    ours.syscalls[hops.WORKER] = 2.0
    lines = hops.table(1, ours, bare)
    assert "  overhead of the platform, p50: 400 us" in lines
    worker = next(line for line in lines if line.startswith("  platform: worker"))
    assert worker.split()[2:] == ["20.0", "0.0", "2.00", "2.0"]


def test_a_server_that_answers_nothing_has_no_hops_and_divides_by_nothing():
    lines = hops.table(1, _run([]), _run([200]))
    assert any("0 calls" in line for line in lines)
    assert not any(line.startswith("  all") for line in lines)


def test_what_a_process_used_is_read_of_all_its_threads():
    mine = os.getpid()
    found = hops.used([mine, 2**22 + 1])  # above the greatest pid there is
    assert list(found) == [mine]
    assert found[mine].cpu_ns > 0
    assert found[mine].switches > 0


def test_a_process_that_came_counts_and_one_that_went_takes_nothing_away():
    before = {1: hops.Use(cpu_ns=100, waited_ns=10, switches=1), 2: hops.Use(cpu_ns=5000)}
    after = {1: hops.Use(cpu_ns=130, waited_ns=30, switches=2), 3: hops.Use(cpu_ns=7, switches=1)}
    assert hops.used_since(before, after) == hops.Use(cpu_ns=37, waited_ns=20, switches=2)
