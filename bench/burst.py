#!/usr/bin/env python3
"""More calls than a function may have instances: a burst on a cold function, and a load of five times its capacity.

  bench/burst.py

A platform of its own is started. The burst: `--burst` calls at the same instant on a function that has no instance and
may have five. All must succeed, and there must never be more than five instances, by /stats and by counting sandboxes
in /proc. The overload: calls of 10 ms on a function of four instances and a short line, offered at a fixed rate
whatever the answers (open loop); what is over is refused with 429. Goodput is what succeeded; latencies are from a
request's first byte to its answer's last, and `late` is by how much the generator itself was behind its schedule.

Ends with status 1 when a call of the burst fails, an instance is too many, or the overload gets an answer other than
200 and 429.
"""

from __future__ import annotations

import argparse
import csv
import functools
import itertools
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import anyio
import census
from histogram import Histogram, summary
from http1 import BadAnswer, Broken, Connection, Target, request_bytes, target_of
from load import failure_of
from machine import facts, print_facts
from rig import Failed, Rig

BURST_REPLICAS, OVERLOAD_REPLICAS = 5, 4
TIMEOUT_S = 60.0
FIGURES = ("mean_ms", "p50_ms", "p99_ms", "max_ms")
HELLO = "def handler(event, context):\n    return event\n"
SLEEP = "import time\ndef handler(event, context):\n    time.sleep(0.01)\n    return event\n"


@dataclass(slots=True, kw_only=True)
class Outcome:
    answers: Counter[str] = field(default_factory=Counter)
    latency_us: dict[str, Histogram] = field(default_factory=dict)
    late_us: Histogram = field(default_factory=Histogram)
    elapsed_s: float = 0.0

    def add(self, what: str, took_s: float) -> None:
        self.answers[what] += 1
        self.latency_us.setdefault(what, Histogram()).record(round(took_s * 1e6))


@dataclass(slots=True, kw_only=True)
class Watch:
    """The most that was seen at any look."""

    is_over: bool = False
    instances: int = 0  # as /stats tells
    sandboxes: int = 0  # children of comet's fork servers
    queued: int = 0
    rss_bytes: Counter[str] = field(default_factory=Counter)
    looks: int = 0


def main() -> int:
    args = _arguments()
    print_facts()
    rig = Rig({})
    try:
        rig.start()
        rig.deploy("burst", HELLO, max_replicas=BURST_REPLICAS)
        rig.deploy(
            "overload", SLEEP, max_replicas=OVERLOAD_REPLICAS, capacity={"max_queue_depth": args.queue},
        )  # fmt: skip
        run = functools.partial(anyio.run, backend_options={"use_uvloop": True})
        burst, burst_watch = run(functools.partial(_burst, args, rig))
        before = _rss(rig)
        overload, overload_watch = run(functools.partial(_overload, args, rig))
        time.sleep(args.rest)
        after = _rss(rig)
    except Failed as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        rig.stop()
        rig.close()
    failures = _judge_burst(args, burst, burst_watch) + _judge_overload(args, overload, overload_watch)
    for what in ("zenith", "comet"):
        most = overload_watch.rss_bytes[what]
        print(f"  {what}: {_mib(before[what])} MiB before, {_mib(most)} at most, {_mib(after[what])} after")
    for failure in failures:
        print(f"FAILED: {failure}")
    if args.csv:
        _write(Path(args.csv), burst, overload)
    return 1 if failures else 0


async def _burst(args: argparse.Namespace, rig: Rig) -> tuple[Outcome, Watch]:
    """Send all calls at the same instant over connections that were opened beforehand."""
    target = target_of(rig.url)
    request = _request(target, "burst")
    outcome, watch, go = Outcome(), Watch(), anyio.Event()
    connections = [await Connection.open(target, timeout_s=TIMEOUT_S) for _ in range(args.burst)]

    async def one(connection: Connection) -> None:
        await go.wait()
        await _ask(connection, request, outcome)

    async with anyio.create_task_group() as looking:
        looking.start_soon(anyio.to_thread.run_sync, _look, rig, "burst", watch)
        async with anyio.create_task_group() as tasks:
            for connection in connections:
                tasks.start_soon(one, connection)
            await anyio.sleep(0.2)
            begin = time.perf_counter()
            go.set()
        outcome.elapsed_s = time.perf_counter() - begin
        watch.is_over = True
    for connection in connections:
        connection.close()
    return outcome, watch


async def _overload(args: argparse.Namespace, rig: Rig) -> tuple[Outcome, Watch]:
    target = target_of(rig.url)
    request = _request(target, "overload")
    outcome, watch = Outcome(), Watch()
    connection = await Connection.open(target, timeout_s=TIMEOUT_S)
    await _ask(connection, request, Outcome())  # the fork server and one instance are there
    connection.close()
    lanes = args.queue + args.connections
    connections = [await Connection.open(target, timeout_s=TIMEOUT_S) for _ in range(lanes)]
    async with anyio.create_task_group() as looking:
        looking.start_soon(anyio.to_thread.run_sync, _look, rig, "overload", watch)
        begin = time.perf_counter()
        due = (begin + number / args.rate for number in itertools.count())
        async with anyio.create_task_group() as tasks:
            for each in connections:
                tasks.start_soon(_lane, each, request, due, begin + args.duration, outcome)
        outcome.elapsed_s = time.perf_counter() - begin
        watch.is_over = True
    for each in connections:
        each.close()
    return outcome, watch


async def _lane(
    connection: Connection, request: bytes, schedule: Iterator[float], until: float, outcome: Outcome
) -> None:
    """Make the next call of the schedule when it is due, or as soon as this connection is free."""
    for due in schedule:
        if due >= until:
            return
        wait_s = due - time.perf_counter()
        if wait_s > 0:
            await anyio.sleep(wait_s)
        elif time.perf_counter() >= until:  # the server holds every connection: what is due now is never sent
            return
        outcome.late_us.record(max(0, round((time.perf_counter() - due) * 1e6)))
        if not await _ask(connection, request, outcome):
            return


async def _ask(connection: Connection, request: bytes, outcome: Outcome) -> bool:
    """Return whether the connection can be used again."""
    start = time.perf_counter()
    try:
        answer = await connection.ask(request, timeout_s=TIMEOUT_S)
    except (OSError, Broken, BadAnswer) as error:
        outcome.add(f"connection: {type(error).__name__}", time.perf_counter() - start)
        return False
    outcome.add(failure_of(answer) or "200", time.perf_counter() - start)
    return connection.is_open


def _look(rig: Rig, function: str, watch: Watch) -> None:
    """Look until it is over. Runs in a thread of its own: the load must not wait for it."""
    comet = rig.plane_pids()["comet"]
    while not watch.is_over:
        watch.sandboxes = max(watch.sandboxes, sum(map(_children, _child_pids(comet))))
        for what, size in _rss(rig).items():
            watch.rss_bytes[what] = max(watch.rss_bytes[what], size)
        status, stats = rig.ask("GET", "/stats")
        if status == 200:
            for each in stats["functions"]:
                if each["function"] == function:
                    watch.instances = max(watch.instances, each["idle"] + each["busy"] + each["booting"])
                    watch.queued = max(watch.queued, each["queued"])
        watch.looks += 1
        time.sleep(0.005)


def _child_pids(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _children(pid: int) -> int:
    return len(_child_pids(pid))


def _rss(rig: Rig) -> dict[str, int]:
    pids = rig.plane_pids()
    sizes = {name: census.status(pids[name]).get("VmRSS", "0 kB") for name in ("zenith", "comet")}
    return {name: int(size.split()[0]) << 10 for name, size in sizes.items()}


def _request(target: Target, function: str) -> bytes:
    return request_bytes(target, "POST", f"/functions/{function}/invoke", body=b"1")


def _judge_burst(args: argparse.Namespace, outcome: Outcome, watch: Watch) -> list[str]:
    print(f"\nburst of {args.burst} on a function without an instance: {outcome.elapsed_s * 1000:.0f} ms")
    _print(outcome)
    print(f"  instances at most {watch.instances} by /stats, {watch.sandboxes} sandboxes, {watch.looks} looks")
    failures = [f"burst: {count} x {what}" for what, count in outcome.answers.items() if what != "200"]
    if max(watch.instances, watch.sandboxes) > BURST_REPLICAS:
        failures.append(f"burst: {watch.instances} instances, {watch.sandboxes} sandboxes; {BURST_REPLICAS} allowed")
    return failures


def _judge_overload(args: argparse.Namespace, outcome: Outcome, watch: Watch) -> list[str]:
    total = outcome.answers.total()
    shed = sum(count for what, count in outcome.answers.items() if what.startswith("429"))
    good = outcome.answers["200"]
    unsent = round(args.rate * args.duration) - total
    print(f"\noverload: {args.rate:g}/s offered for {args.duration:g} s, {total / outcome.elapsed_s:.0f}/s answered")
    print(f"  {unsent} calls not sent: each of {args.queue + args.connections} connections still waited for an answer")
    print(
        f"  goodput {good / outcome.elapsed_s:.0f}/s of {OVERLOAD_REPLICAS / 0.01:.0f}/s, 429 {100 * shed / total:.1f} %"
    )
    _print(outcome)
    late = asdict(summary(outcome.late_us))
    print(f"  generator late: p50 {late['p50_ms']:.1f} ms, p99 {late['p99_ms']:.1f} ms")
    print(f"  instances at most {watch.instances}, {watch.sandboxes} sandboxes, {watch.queued} in line")
    wrong = [what for what in outcome.answers if what != "200" and not what.startswith("429")]
    failures = [f"overload: {outcome.answers[what]} x {what}" for what in wrong]
    # The sandboxes of the burst are still there, idle.
    if watch.instances > OVERLOAD_REPLICAS or watch.sandboxes > OVERLOAD_REPLICAS + BURST_REPLICAS:
        failures.append(f"overload: {watch.instances} instances, {watch.sandboxes} sandboxes")
    if not good:
        failures.append("overload: nothing succeeded")
    return failures


def _print(outcome: Outcome) -> None:
    for what, histogram in sorted(outcome.latency_us.items()):
        values = asdict(summary(histogram))
        shown = "  ".join(f"{name.removesuffix('_ms')} {values[name]:.1f}" for name in FIGURES)
        print(f"  {outcome.answers[what]:7d} x {what.ljust(20)} {shown}  ms")


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 20):.1f}"


def _write(path: Path, burst: Outcome, overload: Outcome) -> None:
    is_new = not path.exists() or path.stat().st_size == 0
    rows = []
    for work, outcome in (("burst", burst), ("overload", overload)):
        for what, histogram in outcome.latency_us.items():
            values = {name: f"{value:.3f}" for name, value in asdict(summary(histogram)).items() if name in FIGURES}
            rate = f"{outcome.answers[what] / outcome.elapsed_s:.1f}"
            rows.append(
                {"work": work, "answer": what, "count": outcome.answers[what], "rate": rate, **values, **facts()}
            )
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        if is_new:
            writer.writeheader()
        writer.writerows(rows)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--burst", type=int, default=200, help="simultaneous calls")
    parser.add_argument("--rate", type=float, default=2000.0, help="calls a second of the overload")
    parser.add_argument("--duration", type=float, default=10.0, help="seconds of the overload")
    parser.add_argument("--queue", type=int, default=100, help="max_queue_depth of the overloaded function")
    parser.add_argument(
        "--connections", type=int, default=1000, help="of the generator, besides those that wait in line"
    )
    parser.add_argument("--rest", type=float, default=3.0, help="seconds before memory is read again")
    parser.add_argument("--csv", metavar="FILE", help="append the figures, with the machine's facts")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
