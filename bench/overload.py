#!/usr/bin/env python3
"""Five times more calls than a function can take: does it keep working, and does the rest hear so at once?

  bench/overload.py

A platform of its own is started. Calls of 10 ms on a function of four instances (400/s) are offered at a fixed rate,
whatever the answers (open loop), by a client with an API key. Goodput is what succeeded; latencies count from when a
call was due, so a generator or a gateway that is late is charged for it. Who finds the line full is refused at once, and
that is what must be quick; who was in line for `max_queue_wait_s` in vain has waited by the function's own policy
(`--queue-wait`), and is shown apart. Every connection at once, then a load that is not counted, take memory to where it
stays; what zenith and comet have grown by after the same load once more is growth.

Ends with status 1 when goodput, the time of refusals or the growth miss their targets, when there are too many
instances, or when an answer is neither 200 nor 429.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import generator
from histogram import Histogram, summary
from http1 import request_bytes, target_of
from load import Work
from machine import facts, print_facts
from rig import Failed, Rig
from watch import Watch, rss_bytes, watching

REPLICAS, SLEEP_S = 4, 0.01
CAPACITY_PER_S = REPLICAS / SLEEP_S
SLEEP = f"import time\ndef handler(event, context):\n    time.sleep({SLEEP_S})\n    return event\n"
GOODPUT_SHARE, REFUSED_WITHIN_MS = 0.9, 20.0
GROWTH_MIB = 4.0  # chosen: what an allocator may keep of a load that is over
WAITED = "429 queue_wait_timeout"
BURST_S = 1.0  # of every connection at once, which is the most that the load itself can come to when it stalls
FIGURES = ("mean_ms", "p50_ms", "p99_ms", "max_ms")
MIB = 1 << 20


def main() -> int:
    args = _arguments()
    print_facts()
    rig = Rig({})
    try:
        rig.start()
        capacity = {"max_queue_depth": args.queue, "max_queue_wait_s": args.queue_wait}
        rig.deploy("overload", SLEEP, max_replicas=REPLICAS, capacity=capacity)
        target = target_of(rig.url)
        headers = {} if args.keyless else {"x-api-key": rig.make_key("overload")}
        work = Work(
            target=target,
            request=request_bytes(target, "POST", "/functions/overload/invoke", body=b"1", headers=headers),
            connections=args.queue + args.connections,
            rate=args.rate,
            timeout_s=args.timeout,
        )
        generator.run(replace(work, rate=None), duration_s=BURST_S)
        generator.run(work, duration_s=args.warm_up or args.duration)
        time.sleep(args.rest)
        before = rss_bytes(rig)
        with watching(rig, "overload") as watch:
            found = generator.run(work, duration_s=args.duration)
        time.sleep(args.rest)
        after = rss_bytes(rig)
    except (Failed, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        rig.stop()
        rig.close()
    _print(args, found, watch)
    for what in ("zenith", "comet"):
        sizes = before[what], watch.rss_bytes[what], after[what]
        print(
            f"  {what}: {{:.1f}} MiB before, {{:.1f}} at most, {{:.1f}} after".format(*(size / MIB for size in sizes))
        )
    missed = _missed(found, watch, {what: after[what] - before[what] for what in before})
    for what in missed:
        print(f"MISSED: {what}")
    if args.csv:
        _write(Path(args.csv), found)
    return 1 if missed else 0


def _shed(found: generator.Measured, *, at_once: bool = True) -> Histogram:
    """Return how long refusals took: those at once, or those behind a wait in line."""
    shed = Histogram()
    for what, took_us in found.took_us.items():
        if what.startswith("429") and (what != WAITED) is at_once:
            shed.add(took_us)
    return shed


def _print(args: argparse.Namespace, found: generator.Measured, watch: Watch) -> None:
    good = found.took_us.get("ok", Histogram())
    total = sum(took_us.count for took_us in found.took_us.values())
    print(f"\noverload: {args.rate:g}/s offered for {args.duration:g} s, all answered after {found.elapsed_s:.1f} s")
    print(
        f"  goodput {good.count / found.elapsed_s:.0f}/s of {CAPACITY_PER_S:.0f}/s, "
        f"refused at once {100 * _shed(found).count / total:.1f} %, "
        f"after a wait in line {100 * _shed(found, at_once=False).count / total:.1f} %"
    )
    for what, took_us in sorted(found.took_us.items()):
        values = asdict(summary(took_us))
        shown = "  ".join(f"{name.removesuffix('_ms')} {values[name]:.1f}" for name in FIGURES)
        print(f"  {took_us.count:7d} x {what.ljust(22)} {shown}  ms")
    late = summary(found.late_us)
    print(f"  sent late: p50 {late.p50_ms:.2f} ms, p99 {late.p99_ms:.2f} ms; generator CPU {found.cpu_s:.1f} s")
    print(
        f"  instances at most {watch.instances} by /stats, {watch.sandboxes} sandboxes with its code in {watch.looks} "
        f"looks, {watch.queued} in line"
    )


def _missed(found: generator.Measured, watch: Watch, growth_bytes: dict[str, int]) -> list[str]:
    missed = []
    goodput = found.took_us.get("ok", Histogram()).count / found.elapsed_s
    if goodput < GOODPUT_SHARE * CAPACITY_PER_S:
        missed.append(f"goodput is {goodput / CAPACITY_PER_S:.0%} of what the instances can do; {GOODPUT_SHARE:.0%}")
    shed = summary(_shed(found))
    if shed.p99_ms > REFUSED_WITHIN_MS:
        late = summary(found.late_us).p99_ms
        why = (
            f", but calls were sent {late:.1f} ms late: the machine is busy otherwise" if late > shed.p99_ms / 2 else ""
        )
        missed.append(f"refusals took {shed.p99_ms:.1f} ms (p99); {REFUSED_WITHIN_MS:g} ms{why}")
    for what, size in growth_bytes.items():
        if size > GROWTH_MIB * MIB:
            missed.append(f"{what} grew by {size / MIB:.1f} MiB; {GROWTH_MIB:g} MiB")
    if max(watch.instances, watch.sandboxes) > REPLICAS:
        missed.append(f"{watch.instances} instances, {watch.sandboxes} sandboxes; {REPLICAS}")
    wrong = {what: took_us.count for what, took_us in found.took_us.items() if what != "ok" and what[:3] != "429"}
    return missed + [f"{count} x {what}; none" for what, count in wrong.items()]


def _write(path: Path, found: generator.Measured) -> None:
    is_new = not path.exists() or path.stat().st_size == 0
    rows = []
    for what, took_us in found.took_us.items():
        values = {name: f"{value:.3f}" for name, value in asdict(summary(took_us)).items() if name in FIGURES}
        rate = f"{took_us.count / found.elapsed_s:.1f}"
        rows.append({"answer": what, "count": took_us.count, "rate": rate, **values, **facts()})
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        if is_new:
            writer.writeheader()
        writer.writerows(rows)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=2000.0, help="calls a second")
    parser.add_argument("--duration", type=float, default=10.0, help="seconds")
    parser.add_argument("--warm-up", type=float, help="seconds of the same load that are not counted; else as many")
    parser.add_argument("--queue", type=int, default=1000, help="max_queue_depth of the function")
    parser.add_argument("--queue-wait", type=float, default=30.0, help="max_queue_wait_s of the function")
    parser.add_argument("--connections", type=int, default=1000, help="besides those that wait in line")
    parser.add_argument("--keyless", action="store_true", help="as the trusted local user, without an API key")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds a call may take")
    parser.add_argument("--rest", type=float, default=3.0, help="seconds before memory is read again")
    parser.add_argument("--csv", metavar="FILE", help="append the figures, with the machine's facts")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
