#!/usr/bin/env python3
"""What a platform leaves behind after thousands of instances and hundreds of kills: it should be nothing.

  bench/leaks.py                            10,000 instances, 200 kills of comet; about a quarter of an hour
  bench/leaks.py --cycles 300 --kills 10    a first impression

A platform of its own is started, and everything that it holds on this host is listed from outside (processes, control
groups, mounts, namespaces, network tables and devices, files, descriptors, System V objects): at rest, and at rest again after the work, and at
last after its end. The work: instances made, called and destroyed, by functions that leave things behind; then
the same while comet is killed with SIGKILL, at least half of the times in the middle of making or ending an instance,
which is seen in /proc. The supervisor starts it again.

Memory: resident size (VmRSS) of each plane and fork server, sampled every `--every` cycles of the part without kills;
the slope is that of a straight line fitted by least squares to the samples of the last half of the cycles, in MiB per
1,000 cycles. It is not judged below 1,000 cycles, which tell nothing. Descriptors of the same processes are counted at rest,
before that part and after it: while instances come and go, their number does too. Ends with status 1 on any leak or a slope above `--slope`.
"""

from __future__ import annotations

import argparse
import csv
import functools
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import census
from churn import CALLERS, FUNCTIONS, Churn
from machine import descendants, facts, name_of, print_facts
from rig import Failed, Rig

MAX_INSTANCES = 8
MAX_TEMPLATES = 24  # chosen: those of Python, of three sizes of Node, and as many again on their way out
TEMPLATES_S = 1.0  # chosen: as many are ready as shall be when nothing changes for so long
REST_S = 40.0  # an instance's time, a database connection's, and a slow machine's
BACK_S = 30.0  # until comet serves again
WATCH_S = 3.0  # for a moment worth killing at
SOCKET_SLACK = 8  # connections of a pool: the most that a plane has to the database
DESCRIPTOR_SLACK = 8  # of one process at rest: connections of a pool, and what a template or two more or less hold
_TELLING_CYCLES = 900  # a sample lies every --every cycles: the last one of 1,000
_KILL_BIT = 1 << (signal.SIGKILL - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    cycles: int
    rss_bytes: int


@dataclass(slots=True, kw_only=True)
class Findings:
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    descriptors: dict[str, tuple[int, int]] = field(default_factory=dict)  # at rest, before and after the cycles
    kills: Counter[str] = field(default_factory=Counter)
    back_s: list[float] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)


def main() -> int:
    args = _arguments()
    print_facts()
    pool = {"max_instances": MAX_INSTANCES, "idle_ttl": "1s"}
    rig = Rig({"pool": pool}, is_eager=True)
    findings = Findings()
    try:
        rig.start()
        churn = Churn(rig)
        churn.deploy()
        took_s = anyio.run(functools.partial(_work, args, rig, churn, findings), backend_options={"use_uvloop": True})
        rig.stop()
        findings.leaks += [f"after the end: {what}" for what in _left_after_the_end(rig)]
    except Failed as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        rig.stop()
        if args.keep:
            print(f"# kept: {rig.home}")
        else:
            rig.close()
    _print(churn, findings, took_s)
    if args.csv:
        _write(Path(args.csv), churn, findings)
    return 1 if findings.leaks else 0


async def _work(args: argparse.Namespace, rig: Rig, churn: Churn, findings: Findings) -> float:
    random.seed(args.seed)
    begin = time.monotonic()
    await _until(churn, 2 * len(FUNCTIONS))
    before = await _rest(rig)
    kernel_before = census.kernel_groups()
    churn.tally.cycles = 0
    open_before = _descriptors(rig)
    async with anyio.create_task_group() as tasks:
        churn.is_done = False
        tasks.start_soon(churn.run)
        await _sample(rig, churn, findings, until=args.cycles, every=args.every)
        churn.is_done = True
    await _rest(rig)
    findings.descriptors = {
        what: (open_before[what, pid], count)
        for (what, pid), count in _descriptors(rig).items()
        if (what, pid) in open_before
    }
    async with anyio.create_task_group() as tasks:
        churn.is_done = False
        tasks.start_soon(churn.run)
        await anyio.to_thread.run_sync(_kill_all, args, rig, findings)
        churn.is_done = True
    await _until(churn, churn.tally.cycles + 2 * len(FUNCTIONS))
    deadline = time.monotonic() + REST_S
    while True:
        after = await _rest(rig)
        left = census.leaks(before, after, max_leaves=MAX_INSTANCES + MAX_TEMPLATES, socket_slack=SOCKET_SLACK)
        if not left or time.monotonic() > deadline:
            break
        await anyio.sleep(1)
    findings.leaks += left
    for what, samples in findings.samples.items():
        rss = slope(samples)
        if samples[-1].cycles >= _TELLING_CYCLES and rss > args.slope:
            findings.leaks.append(f"memory of {what}: {rss:+.2f} MiB per 1,000 cycles, more than {args.slope:g}")
    findings.leaks += [
        f"descriptors of {what}: {first} at rest, {last} after the cycles"
        for what, (first, last) in findings.descriptors.items()
        if last > first + DESCRIPTOR_SLACK
    ]
    kernel_after = census.kernel_groups()
    for name in ("memory", "cpu", "pids"):
        print(f"# control groups of the host, {name}: {kernel_before.get(name)} -> {kernel_after.get(name)}")
    return time.monotonic() - begin


async def _until(churn: Churn, cycles: int) -> None:
    """Call until so many instances were made."""
    async with anyio.create_task_group() as tasks:
        churn.is_done = False
        tasks.start_soon(churn.run)
        while churn.tally.cycles < cycles:
            await anyio.sleep(0.02)
        churn.is_done = True


async def _rest(rig: Rig) -> census.Census:
    """Wait until no instance is left, and return what there is then.

    Raises:
        Failed: one stays.
    """
    deadline = time.monotonic() + REST_S
    while True:
        status, stats = await anyio.to_thread.run_sync(rig.ask, "GET", "/stats")
        if status == 200 and stats["instances"] == 0:
            first = await anyio.to_thread.run_sync(census.take, rig)
            await anyio.sleep(TEMPLATES_S)
            second = await anyio.to_thread.run_sync(census.take, rig)
            if first.processes == second.processes:
                return second
        if time.monotonic() > deadline:
            raise Failed(f"instances stay: {status} {stats}")
        await anyio.sleep(0.2)


async def _sample(rig: Rig, churn: Churn, findings: Findings, *, until: int, every: int) -> None:
    due = 0
    while churn.tally.cycles < until:
        if churn.tally.cycles >= due:
            due += every
            for what, pid in _long_lived(rig):
                facts_now = census.status(pid)
                if "VmRSS" in facts_now:
                    sample = Sample(
                        cycles=churn.tally.cycles,
                        rss_bytes=int(facts_now["VmRSS"].split()[0]) << 10,
                    )
                    findings.samples.setdefault(what, []).append(sample)
        await anyio.sleep(0.02)


def _long_lived(rig: Rig) -> Iterator[tuple[str, int]]:
    planes = rig.plane_pids()
    yield "supervisor", rig.supervisor_pid
    yield from planes.items()
    for pid in _children(planes.get("comet", 0)):
        yield ("zygote exec" if name_of(pid) == "ct-zygote" else "zygote python"), pid


def _descriptors(rig: Rig) -> dict[tuple[str, int], int]:
    return {(what, pid): sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()) for what, pid in _long_lived(rig)}


def slope(samples: Sequence[Sample]) -> float:
    """Return MiB per 1,000 cycles: a least squares line through the last half of the cycles."""
    half = [each for each in samples if each.cycles >= samples[-1].cycles / 2]
    if len(half) < 3:
        return 0.0
    mean = sum(each.cycles for each in half) / len(half)
    spread = sum((each.cycles - mean) ** 2 for each in half)
    return sum((each.cycles - mean) * each.rss_bytes for each in half) / spread * 1000 / (1 << 20)


def _kill_all(args: argparse.Namespace, rig: Rig, findings: Findings) -> None:
    """Kill comet again and again, each time once it serves.

    Raises:
        Failed: it does not come back.
    """
    moments = ("making", "making", "ending", "ending", "any")
    for number in range(args.kills):
        pid = rig.plane_pids()["comet"]
        moment, below = _moment(pid, moments[number % len(moments)])
        os.kill(pid, signal.SIGKILL)
        killed_s = time.monotonic()
        findings.kills[moment] += 1
        rig.wait_for("comet", other_than=pid, within_s=BACK_S)
        findings.back_s.append(time.monotonic() - killed_s)
        deadline = time.monotonic() + 5
        while (left := [each for each in below if _born(each[0]) == each[1]]) and time.monotonic() < deadline:
            time.sleep(0.05)
        for process, _ in left:
            findings.leaks.append(f"process {process} ({name_of(process)}) lives on after kill {number + 1}")
        if args.verbose:
            print(f"# kill {number + 1}: {moment}, back after {findings.back_s[-1]:.2f} s", flush=True)


def _moment(comet: int, wanted: str) -> tuple[str, list[tuple[int, str]]]:
    """Wait for the wanted state of any instance and return what it is, with everything below comet at that instant."""
    deadline = time.monotonic() + WATCH_S
    if wanted == "any":
        while not _children(comet) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.3))
        return "at any time", _below(comet)
    known: set[int] | None = None
    while time.monotonic() < deadline:
        servers = _children(comet)
        now = {child for server in servers for child in _children(server)}
        new, gone = (now - known, known - now) if known is not None else (set(), set())
        known = now
        if wanted == "making" and new:
            if random.random() < 0.5:  # later in the making: while the worker loads the code
                time.sleep(random.uniform(0, 0.008))
            child = new.pop()
            seccomp = census.status(child).get("Seccomp")
            return ("setting up" if seccomp == "0" else "loading"), _born_of([*servers, *now])
        if wanted == "ending" and (gone or any(_is_ending(child) for child in now)):
            return "ending", _born_of([*servers, *now])
    return "at any time", _below(comet)


def _is_ending(pid: int) -> bool:
    found = census.status(pid)
    if not found or found["State"].startswith(("Z", "X")):
        return True
    return bool((int(found["SigPnd"], 16) | int(found["ShdPnd"], 16)) & _KILL_BIT)


def _below(pid: int) -> list[tuple[int, str]]:
    return _born_of([each for each in descendants(pid) if each != pid])


def _born_of(pids: Sequence[int]) -> list[tuple[int, str]]:
    return [(pid, born) for pid in pids if (born := _born(pid))]


def _born(pid: int) -> str:
    """Return what tells a process from a later one with its pid; "" for one that ended."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if words[0] in "ZX" else words[19]


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _left_after_the_end(rig: Rig) -> list[str]:
    found = census.take(rig)
    left = [f"{count} x process {what}" for what, count in found.processes.items()]
    left += [f"control group {leaf}" for leaf in sorted(found.groups)]
    left += [f"{count} x mount {what}" for what, count in found.mounts.items()]
    left += [f"{count} x {what} of the host" for what, count in found.network.items()]
    left += [f"file {name}" for name in found.files if name.startswith(str(rig.tmp_dir))]
    return left


def _print(churn: Churn, findings: Findings, took_s: float) -> None:
    tally = churn.tally
    print(f"\n{tally.cycles} cycles of an instance, {tally.updates} code updates, {CALLERS} callers, {took_s:.0f} s")
    for what, count in tally.answers.most_common():
        print(f"  {count:8d} x {what}")
    total = findings.kills.total()
    if total:
        back = sorted(findings.back_s)
        print(f"{total} kills of comet: " + ", ".join(f"{n} {what}" for what, n in findings.kills.most_common()))
        print(f"  ready again after {back[len(back) // 2]:.2f} s (median), {back[-1]:.2f} s (longest)")
    print(
        f"{'process'.ljust(16)} {'MiB first':>10} {'MiB last':>10} {'MiB/1,000':>10} {'fds first':>10} {'fds last':>10}"
    )
    for what, samples in findings.samples.items():
        first, last = samples[0].rss_bytes / (1 << 20), samples[-1].rss_bytes / (1 << 20)
        opened = " ".join(f"{count:10d}" for count in findings.descriptors.get(what, ()))
        print(f"{what.ljust(16)} {first:10.1f} {last:10.1f} {slope(samples):+10.3f} {opened}")
    print(f"\nleaks: {len(findings.leaks) or 'none'}")
    for what in findings.leaks[:50]:
        print(f"  {what}")


def _write(path: Path, churn: Churn, findings: Findings) -> None:
    is_new = not path.exists() or path.stat().st_size == 0
    shared = {"cycles": churn.tally.cycles, "kills": findings.kills.total(), "leaks": len(findings.leaks), **facts()}
    rows = [
        {"process": what, "mib_per_1000": f"{slope(samples):.4f}", **shared}
        for what, samples in findings.samples.items()
    ]
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        if is_new:
            writer.writeheader()
        writer.writerows(rows)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=10_000, help="instances made before the kills begin")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--every", type=int, default=100, help="cycles between two looks at memory")
    parser.add_argument("--slope", type=float, default=1.0, help="MiB per 1,000 cycles that are allowed")
    parser.add_argument("--seed", type=int, default=1, help="of the moments of the kills")
    parser.add_argument("--keep", action="store_true", help="leave the platform's directory")
    parser.add_argument("--verbose", action="store_true", help="a line for each kill")
    parser.add_argument("--csv", metavar="FILE", help="append the slopes, with the machine's facts")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
