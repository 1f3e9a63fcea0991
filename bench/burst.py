#!/usr/bin/env python3
"""More calls at once than a function may have instances: a burst on a function that has none.

  bench/burst.py

A platform of its own is started: `--burst` calls at the same instant on a function that has no instance and may have
five. All must succeed, and there must never be more than five instances: by /stats, and by counting in /proc the
sandboxes that hold the function's code.
Latencies are from a request's first byte to its answer's last. `bench/overload.py` is the load that does not end.

Ends with status 1 when a call fails or an instance is too many.
"""

from __future__ import annotations

import argparse
import csv
import functools
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

import anyio
from histogram import Histogram, summary
from http1 import BadAnswer, Broken, Connection, request_bytes, target_of
from load import failure_of
from machine import facts, print_facts
from rig import Failed, Rig
from watch import Watch, watching

REPLICAS = 5
TIMEOUT_S = 60.0
FIGURES = ("mean_ms", "p50_ms", "p99_ms", "max_ms")
HELLO = "def handler(event, context):\n    return event\n"


@dataclass(slots=True, kw_only=True)
class Outcome:
    answers: Counter[str] = field(default_factory=Counter)
    latency_us: dict[str, Histogram] = field(default_factory=dict)
    elapsed_s: float = 0.0

    def add(self, what: str, took_s: float) -> None:
        self.answers[what] += 1
        self.latency_us.setdefault(what, Histogram()).record(round(took_s * 1e6))


def main() -> int:
    args = _arguments()
    print_facts()
    rig = Rig({})
    try:
        rig.start()
        rig.deploy("burst", HELLO, max_replicas=REPLICAS)
        with watching(rig, "burst") as watch:
            outcome = anyio.run(functools.partial(_burst, args, rig), backend_options={"use_uvloop": True})
    except Failed as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        rig.stop()
        rig.close()
    failures = _judge(args, outcome, watch)
    for failure in failures:
        print(f"FAILED: {failure}")
    if args.csv:
        _write(Path(args.csv), outcome)
    return 1 if failures else 0


async def _burst(args: argparse.Namespace, rig: Rig) -> Outcome:
    """Send all calls at the same instant over connections that were opened beforehand."""
    target = target_of(rig.url)
    request = request_bytes(target, "POST", "/functions/burst/invoke", body=b"1")
    outcome, go = Outcome(), anyio.Event()
    connections = [await Connection.open(target, timeout_s=TIMEOUT_S) for _ in range(args.burst)]

    async def one(connection: Connection) -> None:
        await go.wait()
        await _ask(connection, request, outcome)

    async with anyio.create_task_group() as tasks:
        for connection in connections:
            tasks.start_soon(one, connection)
        await anyio.sleep(0.2)
        begin = time.perf_counter()
        go.set()
    outcome.elapsed_s = time.perf_counter() - begin
    for connection in connections:
        connection.close()
    return outcome


async def _ask(connection: Connection, request: bytes, outcome: Outcome) -> None:
    start = time.perf_counter()
    try:
        answer = await connection.ask(request, timeout_s=TIMEOUT_S)
    except (OSError, Broken, BadAnswer) as error:
        outcome.add(f"connection: {type(error).__name__}", time.perf_counter() - start)
    else:
        outcome.add(failure_of(answer) or "200", time.perf_counter() - start)


def _judge(args: argparse.Namespace, outcome: Outcome, watch: Watch) -> list[str]:
    print(f"\nburst of {args.burst} on a function without an instance: {outcome.elapsed_s * 1000:.0f} ms")
    _print(outcome)
    print(
        f"  instances at most {watch.instances} by /stats, {watch.sandboxes} sandboxes with its code, {watch.looks} looks"
    )
    failures = [f"burst: {count} x {what}" for what, count in outcome.answers.items() if what != "200"]
    if max(watch.instances, watch.sandboxes) > REPLICAS:
        failures.append(f"burst: {watch.instances} instances, {watch.sandboxes} sandboxes; {REPLICAS} allowed")
    return failures


def _print(outcome: Outcome) -> None:
    for what, histogram in sorted(outcome.latency_us.items()):
        values = asdict(summary(histogram))
        shown = "  ".join(f"{name.removesuffix('_ms')} {values[name]:.1f}" for name in FIGURES)
        print(f"  {outcome.answers[what]:7d} x {what.ljust(20)} {shown}  ms")


def _write(path: Path, outcome: Outcome) -> None:
    is_new = not path.exists() or path.stat().st_size == 0
    rows = []
    for what, histogram in outcome.latency_us.items():
        values = {name: f"{value:.3f}" for name, value in asdict(summary(histogram)).items() if name in FIGURES}
        rows.append({"answer": what, "count": outcome.answers[what], **values, **facts()})
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        if is_new:
            writer.writeheader()
        writer.writerows(rows)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--burst", type=int, default=200, help="simultaneous calls")
    parser.add_argument("--csv", metavar="FILE", help="append the figures, with the machine's facts")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
