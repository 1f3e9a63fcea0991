#!/usr/bin/env python3
"""Where the time of a warm call goes, hop by hop, at one connection and at many, from one run.

  bench/hops.py                            a platform of its own
  bench/hops.py --data-dir DIR             a running one on this machine, by its directory
  bench/hops.py --syscalls                 and how many system calls (by `perf stat`, in a run of its own)

The spans are means over the same calls, each measured by one clock in one process and without anything switched on
for it: the load generator's latency, zenith's `constellation_gateway_request_duration_seconds`, comet's
`constellation_invocation_duration_seconds` and `constellation_queue_wait_seconds`. Each lies inside the one before, so
that their differences are what lies between two processes, there and back, and add up to the whole.

The processes are watched through /proc/PID/schedstat: time on a core, and time runnable and waiting for one, which is
what waking up costs. At one connection nothing overlaps, and what a call's processes spend on cores and waiting is
where its time goes. `bare` is ct-bare: one process in C in front of one worker, measured by turns with the platform.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import generator
import peer_servers
from http1 import request_bytes, target_of
from load import Result, Work
from machine import descendants, name_of, print_facts
from rig import Failed, Rig, counts

from constellation.client import Client, ClientError, FunctionCreate

EVENT = b'{"name":"Ada"}'
CLIENT, ZENITH, COMET, WORKER, BARE = "client", "zenith", "comet", "worker", "bare"
SPANS = {
    ZENITH: ("constellation_gateway_request_duration_seconds", 'operation="invoke"'),
    COMET: ("constellation_invocation_duration_seconds", 'plane="comet"'),
    "line": ("constellation_queue_wait_seconds", 'plane="comet"'),
}
SETTLE_S = 0.2  # chosen: rows of the last calls are written by then


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What processes used of the machine. Differences of two looks are what they used between them."""

    cpu_ns: int = 0
    waited_ns: int = 0  # runnable, and not on a core
    switches: int = 0

    def __add__(self, other: Use) -> Use:
        return Use(
            cpu_ns=self.cpu_ns + other.cpu_ns,
            waited_ns=self.waited_ns + other.waited_ns,
            switches=self.switches + other.switches,
        )

    def since(self, before: Use) -> Use:
        return self + Use(cpu_ns=-before.cpu_ns, waited_ns=-before.waited_ns, switches=-before.switches)


@dataclass(slots=True, kw_only=True)
class Run:
    """One server at one number of connections, all rounds together."""

    result: Result = field(default_factory=Result)
    use: dict[str, Use] = field(default_factory=dict)  # by process
    span_s: dict[str, float] = field(default_factory=dict)  # by span: the sum over `span_calls`
    span_calls: dict[str, float] = field(default_factory=dict)
    syscalls: dict[str, float] = field(default_factory=dict)  # a call, by process

    def add(self, process: str, use: Use) -> None:
        self.use[process] = self.use.get(process, Use()) + use

    def mean_us(self, span: str) -> float:
        calls = self.span_calls.get(span, 0)
        return 1e6 * self.span_s[span] / calls if calls else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Something that is loaded, and the processes behind it."""

    name: str
    url: str
    path: str
    pids: Mapping[str, Sequence[int]]  # by process
    metrics: str = ""  # where its spans are read
    headers: Mapping[str, str] = field(default_factory=dict)

    def work(self, connections: int) -> Work:
        target = target_of(self.url)
        request = request_bytes(target, "POST", self.path, body=EVENT, headers=dict(self.headers))
        return Work(target=target, request=request, connections=connections, timeout_s=10.0)


def main() -> int:
    args = _arguments()
    print_facts()
    try:
        with ExitStack() as stack:
            bare = stack.enter_context(_bare())
            ours = stack.enter_context(_platform(args))
            for count in args.connections:
                runs = {server.name: Run() for server in (bare, ours)}
                for server in (bare, ours):
                    generator.run(server.work(count), duration_s=args.warm_up)
                for _ in range(args.rounds):
                    for server in (bare, ours):
                        _measure(server, count, args.duration / args.rounds, runs[server.name])
                if args.syscalls:
                    for server in (bare, ours):
                        _count_syscalls(server, count, runs[server.name])
                print("\n".join(table(count, runs[ours.name], runs[bare.name])), flush=True)
    except (Failed, OSError, ClientError, ValueError, subprocess.SubprocessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


# ---- the servers


@contextmanager
def _bare() -> Iterator[Server]:
    with peer_servers.bare() as url:
        by_name: dict[str, list[int]] = {BARE: [], WORKER: []}
        for pid in descendants(os.getpid()):
            if pid != os.getpid():
                by_name[BARE if name_of(pid) == "ct-bare" else WORKER].append(pid)
        yield Server(name=BARE, url=url, path="/", pids=by_name)


@contextmanager
def _platform(args: argparse.Namespace) -> Iterator[Server]:
    with ExitStack() as stack:
        data_dir = args.data_dir
        if data_dir is None:
            rig = Rig({})
            stack.callback(rig.close)
            stack.callback(rig.stop)
            rig.start()
            data_dir = rig.data_dir
        record = json.loads((data_dir / "run" / "platform.json").read_bytes())
        planes = {each["name"]: each for each in record["planes"]}
        url, key = record["urls"][0], args.api_key
        client = stack.enter_context(Client(url, api_key=key or None))
        name = f"bench-hops-{time.time_ns():x}"
        source = (peer_servers.APPS / "hello.py").read_text()
        client.create_function(FunctionCreate(name=name, runtime="python", code=source))
        stack.callback(client.delete_function, name)
        comet = planes[COMET]["process"]["pid"]
        yield Server(
            name="platform",
            url=url,
            path=f"/functions/{name}/invoke",
            pids={ZENITH: [planes[ZENITH]["process"]["pid"]], COMET: [comet], WORKER: []},
            metrics=f"http://{planes['aurora']['address']}/metrics",
            headers={"x-api-key": key} if key else {},
        )


# ---- looking


def _pids(server: Server) -> dict[str, list[int]]:
    """Return the processes as they are now: workers come and go below comet."""
    found = {process: list(pids) for process, pids in server.pids.items()}
    if COMET in found:
        found[WORKER] = [pid for pid in descendants(found[COMET][0]) if pid != found[COMET][0]]
    return found


def used_since(before: Mapping[int, Use], after: Mapping[int, Use]) -> Use:
    """Return what was used between two looks: all of a process that came, nothing of one that went."""
    return sum((use.since(before.get(pid, Use())) for pid, use in after.items()), Use())


def used(pids: Iterable[int]) -> dict[int, Use]:
    """Return what each process has used so far, all threads together; one that is gone is left out."""
    return {pid: use for pid in pids if (use := _used_by(pid)) is not None}


def _used_by(pid: int) -> Use | None:
    total = Use()
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            cpu_ns, waited_ns, _ = map(int, (task / "schedstat").read_text().split())
            switches = sum(map(int, re.findall(r"ctxt_switches:\s+(\d+)", (task / "status").read_text())))
            total += Use(cpu_ns=cpu_ns, waited_ns=waited_ns, switches=switches)
    except OSError:  # it, or a thread of it, ended meanwhile
        return None
    return total


def spans_of(metrics: str) -> dict[str, tuple[float, float]]:
    """Return span -> (seconds, calls) of a page of metrics, over all functions."""
    found = {}
    for span, (name, label) in SPANS.items():
        sums = [0.0, 0.0]
        for at, what in enumerate(("sum", "count")):
            for labels, value in re.findall(rf"^{name}_{what}\{{(.*)\}} (\S+)$", metrics, re.MULTILINE):
                sums[at] += float(value) if label in labels else 0.0
        found[span] = (sums[0], sums[1])
    return found


def _spans(server: Server) -> dict[str, tuple[float, float]]:
    if not server.metrics:
        return {}
    time.sleep(SETTLE_S)
    with build_opener(ProxyHandler({})).open(server.metrics, timeout=10.0) as answer:
        return spans_of(answer.read().decode())


def _measure(server: Server, connections: int, seconds: float, run: Run) -> None:
    spans = _spans(server)
    before = {process: used(found) for process, found in _pids(server).items()}
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    measured = generator.run(server.work(connections), duration_s=seconds)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    for process, found in _pids(server).items():
        run.add(process, used_since(before[process], used(found)))
    switches = after.ru_nvcsw + after.ru_nivcsw - children.ru_nvcsw - children.ru_nivcsw
    run.add(CLIENT, Use(cpu_ns=round(1e9 * measured.cpu_s), switches=switches))
    for span, (seconds_then, calls_then) in _spans(server).items():
        run.span_s[span] = run.span_s.get(span, 0.0) + seconds_then - spans[span][0]
        run.span_calls[span] = run.span_calls.get(span, 0.0) + calls_then - spans[span][1]
    run.result.add(measured.result)


def _count_syscalls(server: Server, connections: int, run: Run) -> None:
    if shutil.which("perf") is None:
        raise Failed("--syscalls needs perf")
    for process, pids in _pids(server).items():
        words = ["perf", "stat", "-x,", "-e", "raw_syscalls:sys_enter", "-p", ",".join(map(str, pids))]
        counting = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        time.sleep(SETTLE_S)  # perf says nothing once it counts
        calls = generator.run(server.work(connections), duration_s=1.0).result.latency_us.count
        counting.send_signal(2)
        _, told = counting.communicate(timeout=10.0)
        count = re.search(r"^(\d+),", told, re.MULTILINE)
        if count is None:
            raise Failed(f"perf counts no system calls here: {told.strip()[-200:]}")
        run.syscalls[process] = int(count[1]) / calls if calls else 0.0


# ---- the table


def hops(run: Run) -> dict[str, float]:
    """Return hop -> us a call; they add up to the client's mean latency."""
    whole, zenith, comet, line = run.result.latency_us.mean, *map(run.mean_us, (ZENITH, COMET, "line"))
    # The line's mean is over those who waited; here it is over all.
    calls = run.span_calls.get(COMET, 0)
    line *= run.span_calls.get("line", 0) / calls if calls else 0.0
    worker = run.use[WORKER].cpu_ns / 1000 / run.result.latency_us.count
    return {
        "client - zenith - client": whole - zenith,
        "zenith - comet - zenith": zenith - comet,
        "in line for an instance": line,
        "comet - worker - comet": comet - line - worker,
        "the worker itself (CPU)": worker,
    }


def table(connections: int, ours: Run, bare: Run) -> list[str]:
    """Return the lines that are printed for one number of connections."""
    lines = [f"\n{connections} connection{'s' * (connections > 1)}"]
    for name, run in (("platform", ours), ("bare", bare)):
        took = run.result.latency_us
        failed = f", {run.result.errors.total()} failed" if run.result.errors else ""
        lines.append(
            f"  {name:10} {took.count} calls, {run.result.rate:,.0f}/s{failed}; mean {took.mean:.0f} us,"
            f" p50 {took.percentile(50)} us, p99 {took.percentile(99)} us"
        )
    over = ours.result.latency_us.percentile(50) - bare.result.latency_us.percentile(50)
    lines.append(f"  overhead of the platform, p50: {over} us")
    if not ours.result.latency_us.count or not bare.result.latency_us.count:
        return lines
    lines.append(f"\n  {'hop, there and back':28}{'us a call':>12}")
    found = hops(ours)
    lines += [f"  {hop:28}{us:>12.1f}" for hop, us in found.items()]
    lines.append(f"  {'all':28}{sum(found.values()):>12.1f}")
    lines.append(f"\n  {'a call':28}{'CPU us':>12}{'waits us':>12}{'switches':>12}{'syscalls':>12}")
    for name, run in (("platform", ours), ("bare", bare)):
        calls = run.result.latency_us.count
        for process, use in run.use.items():
            waits = f"{use.waited_ns / 1000 / calls:.1f}" if process != CLIENT else "?"
            syscalls = f"{run.syscalls[process]:.1f}" if process in run.syscalls else ""
            lines.append(
                f"  {name + ': ' + process:28}{use.cpu_ns / 1000 / calls:>12.1f}{waits:>12}"
                f"{use.switches / calls:>12.2f}{syscalls:>12}"
            )
    return lines


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="a running platform's; else one of the bench's own")
    parser.add_argument("--api-key", default="")
    parser.add_argument("--connections", type=counts, default=(1, 32), help="1,32")
    parser.add_argument("--duration", type=float, default=8.0, help="seconds for each server and number of connections")
    parser.add_argument("--rounds", type=int, default=4, help="turns that these seconds are spread over")
    parser.add_argument("--warm-up", type=float, default=1.0, help="seconds before, not counted")
    parser.add_argument("--syscalls", action="store_true", help="count system calls, too")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
