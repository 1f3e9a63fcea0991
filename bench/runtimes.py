#!/usr/bin/env python3
"""Every language that this host has, side by side: one table, one run.

  bench/runtimes.py                        all that are available, about ten seconds each
  bench/runtimes.py --runtimes ruby,go     some
  bench/runtimes.py --quick                few samples of each, WebAssembly's worker and Docker beside them, and which
                                           targets are missed: in less than six minutes, what is not reached by then
                                           is named

A platform of the bench's own runs one function of each language in turn, all through zenith:

  warm     p50 of calls over one connection
  over C   how much more that is than the same calls of the function in C, whose worker does next to nothing: the median
           of turns by turns with it, so that what the machine and the platform do is in both. What is left is the
           language's own
  over Python   the same, with the function in Python
  CPU      of the instance, a call: what a busy machine changes least
  cold     p50 and the longest of the first calls of functions that have no instance yet (as bench/cold.py measures it);
           "java, fresh" are those of memory sizes for which no template is ready
  deploy   from sending code to its being callable: with its dependencies installed and its program built for the first
           time, and again, as another function of the same sources. Python, Node, Go, Rust and Java have a dependency
           from their package registry; in the other languages it is the code alone
  idle     private memory of the instance that answered the warm calls

What a toolchain prepares once a host (Go's standard library, say) is made before anything is measured, and kept below
native/build/seeds for the next run; with --quick it is not, and a first deploy is not stated.
"""

from __future__ import annotations

import argparse
import base64
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import census
import cold
import generator
import wasm
from figures import Row, missed, over, table
from histogram import Histogram
from http1 import request_bytes, target_of
from load import Work
from machine import cpu_s, descendants, print_facts, pss_bytes
from rig import Failed, Rig
from watch import sandboxes

from constellation.client import ApiProblem, Client, ClientError, FunctionCreate
from constellation.nova.domain.runtimes import RUNTIMES
from constellation.testing.dockerd import IMAGE, NoDocker, running_dockerd
from constellation.testing.registries import configured_sources

ROOT = Path(__file__).parents[1]
SEEDS = ROOT / "native" / "build" / "seeds"
FLOOR, BASE = "c", "python"
OTHER = {"other.txt": "Equal sources are built once, and these are others.\n"}
COMMON = {"node": "main.js"}  # the source is no module of ECMAScript, as its starter is
EVENT = b'{"name":"Ada"}'
POLL_S = 0.005
QUICK = {"samples": 4, "duration": 0.75, "warm_up": 0.25, "within": 300.0}
SIZED = ("java",)  # whose start from a template and without one are stated both
SLOW = ("rust", "zig", "kotlin", "scala")  # of those that are built, last: if time is short, it is short for them
WASM_CALLS, WASM_OPENS, WASM_CONNECTIONS = 10_000, 50, 32
# Beside a language's source, what makes its build fetch a package.
DEPENDENCIES: dict[str, dict[str, str]] = {
    "python": {"requirements.txt": "idna==3.10\n"},
    "node": {"package.json": '{"dependencies": {"ms": "2.1.3"}}\n'},
    "go": {
        "go.mod": "module example.com/f\n\ngo 1.21\n\nrequire github.com/google/uuid v1.6.0\n",
        "go.sum": "github.com/google/uuid v1.6.0 h1:NIvaJDMOsjHA8n1jAhLSgzrAzy1Hgr+hNrb57e+94F0=\n"
        "github.com/google/uuid v1.6.0/go.mod h1:TIyPZe4MgqvfeYDBFedMoGGpEw/LqOeaOT+nhxU+yHo=\n",
        "needs.go": 'package main\n\nimport _ "github.com/google/uuid"\n',
    },
    "rust": {
        "Cargo.toml": '[package]\nname = "f"\nversion = "0.1.0"\nedition = "2021"\n\n[dependencies]\nitoa = "=1.0.15"\n'
    },
    "java": {"gradle.lockfile": "org.apache.commons:commons-lang3:3.14.0=runtimeClasspath\nempty=\n"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    args: argparse.Namespace
    rig: Rig
    client: Client

    def deploy(self, name: str, runtime: str, files: Mapping[str, str]) -> float:
        """Make a function and return the milliseconds until it could be called.

        Raises:
            Failed: it was not built.
        """
        code = {path: base64.b64encode(text.encode()).decode() for path, text in files.items()}
        begin = time.perf_counter()
        made = self.client.create_function(
            FunctionCreate(name=name, runtime=runtime, files=code, max_replicas=1, memory_mb=256)
        )
        build = made.build
        while build is not None and build.state != "success":
            if build.state in ("failed", "cancelled") or time.perf_counter() > begin + cold.BUILT_WITHIN_S:
                raise Failed(f"{name} was not built: {build.state}: {build.error}")
            time.sleep(POLL_S)
            build = self.client.get_function(name).build
        return (time.perf_counter() - begin) * 1000

    @contextmanager
    def deployed(self, name: str, runtime: str, files: Mapping[str, str]) -> Iterator[float]:
        took_ms = self.deploy(name, runtime, files)
        try:
            yield took_ms
        finally:
            self.client.delete_function(name)

    def call(self, name: str, took_us: Histogram, *, seconds: float, connections: int = 1) -> float:
        """Add what calls took, and return how many a second there were.

        Raises:
            Failed: one did.
        """
        target = target_of(self.rig.url)
        request = request_bytes(target, "POST", f"/functions/{name}/invoke", body=EVENT)
        result = generator.run(Work(target=target, request=request, connections=connections), duration_s=seconds).result
        if result.errors:
            raise Failed(f"calls of {name}: {dict(result.errors)}")
        took_us.add(result.latency_us)
        return result.latency_us.count / result.elapsed_s


def main() -> int:
    args = _arguments()
    print_facts()
    sources = configured_sources()
    for name in ("pip", "npm", "go", "cargo", "maven"):
        os.environ.setdefault(f"NOVA_BUILDS_SOURCES_{name.upper()}", getattr(sources, name).url)
    until = time.monotonic() + args.within
    notes: list[str] = []
    try:
        with ExitStack() as stack:
            docker = _docker(stack, notes) if args.quick else {}
            rig = Rig(docker)
            stack.callback(rig.close)
            _keep_seeds(rig)
            stack.callback(rig.stop)
            rig.start()
            client = stack.enter_context(Client(rig.url))
            bench = Bench(args=args, rig=rig, client=client)
            known = {each.id: each.reason for each in client.list_runtimes() if each.id in cold.SOURCES}
            wanted = in_order(_wanted(args, known))
            floors = {name: f"floor-{name}" for name in (FLOOR, BASE) if known.get(name) == ""}
            for name, function in floors.items():
                stack.enter_context(bench.deployed(function, name, _files(name) | OTHER))
            rows: list[Row] = []
            for runtime in wanted:
                if time.monotonic() > until:
                    rows.append(Row(name=runtime, why="not measured: the time was over"))
                else:
                    rows += _measured(bench, runtime, floors)
                print(f"# {runtime}{': ' + rows[-1].why if rows[-1].why else ''}", file=sys.stderr, flush=True)
            if args.quick and "wasm" in wanted and time.monotonic() < until:
                notes.append(_wasm(bench))
            if docker and time.monotonic() < until:
                rows.append(_in_docker(bench))
            print("\n" + "\n".join(table(rows)))
            print("".join(f"\n{note}" for note in notes + [f"missed: {what}" for what in missed(rows)]))
    except (Failed, OSError, ClientError, ValueError, subprocess.SubprocessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 1 if any(row.why for row in rows) else 0


def in_order(runtimes: list[str]) -> list[str]:
    """Return the languages with those last whose builds take longest."""
    return sorted(runtimes, key=lambda name: SLOW.index(name) + 1 if name in SLOW else 0)


def _docker(stack: ExitStack, notes: list[str]) -> dict[str, dict[str, Any]]:
    """Run a daemon for the length of the stack and return the settings of a platform that uses it; {}: there is none."""
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-docker.")))
    try:
        socket = stack.enter_context(running_dockerd(directory))
    except NoDocker as error:
        notes.append(f"docker: not measured: {error}")
        return {}
    return {"docker": {"socket": str(socket), "image": {BASE: IMAGE}}}


def _in_docker(bench: Bench) -> Row:
    row = Row(name=f"{BASE}, docker")
    try:
        _cold(bench, row, BASE, backend="docker")
    except (ClientError, OSError, ValueError) as error:
        row.why = str(error)
    return row


def _wasm(bench: Bench) -> str:
    """Return fresh instances a second in the worker, and through zenith."""
    figures = wasm.measured(count=WASM_CALLS, opens=WASM_OPENS)
    with bench.deployed("rate-wasm", "wasm", _files("wasm")):
        bench.call("rate-wasm", Histogram(), seconds=bench.args.warm_up, connections=WASM_CONNECTIONS)
        rate = bench.call("rate-wasm", Histogram(), seconds=1.0, connections=WASM_CONNECTIONS)
    return (
        f"wasm: {figures.rate:,.0f} fresh instances/s in the worker, {rate:,.0f}/s through zenith over {WASM_CONNECTIONS} "
        f"connections; first answer of a new function in the worker: p50 {statistics.median(figures.opens_ms):.2f} ms, "
        f"longest {max(figures.opens_ms):.2f} ms"
    )


def _wanted(args: argparse.Namespace, known: Mapping[str, str]) -> list[str]:
    """Return the languages to measure; `known` has what each lacks.

    Raises:
        Failed: one that was asked for is not here.
    """
    if not args.runtimes:
        return [name for name, lacks in known.items() if not lacks]
    wanted = args.runtimes.split(",")
    if absent := [f"{name}: {known.get(name, 'unknown')}" for name in wanted if known.get(name, "unknown")]:
        raise Failed("; ".join(absent))
    return wanted


def _keep_seeds(rig: Rig) -> None:
    SEEDS.mkdir(parents=True, exist_ok=True)
    rig.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    (rig.data_dir / "toolchains").symlink_to(SEEDS)


def _files(runtime: str) -> dict[str, str]:
    return {COMMON.get(runtime, cold.LANGUAGES[runtime].starter): cold.SOURCES[runtime]}


def _measured(bench: Bench, runtime: str, floors: Mapping[str, str]) -> list[Row]:
    row, args = Row(name=runtime), bench.args
    rows = [row]
    try:
        if RUNTIMES[runtime].is_compiled and not args.quick:
            with bench.deployed(f"seed-{runtime}", runtime, _files(runtime) | OTHER):
                pass
        files = _files(runtime) | DEPENDENCIES.get(runtime, {})
        with bench.deployed(f"warm-{runtime}", runtime, files) as first_ms:
            row.first_ms = None if args.quick else first_ms
            time.sleep(cold.IN_USE_S)
            _cold(bench, row, runtime)
            if runtime in SIZED:
                rows.append(Row(name=f"{runtime}, fresh"))
                _cold(bench, rows[-1], runtime, is_fresh=True)
            _warm(bench, row, floors)
            begin = time.perf_counter()
            with bench.deployed(f"again-{runtime}", runtime, files):
                row.again_ms = (_called_at(bench, f"again-{runtime}") - begin) * 1000
    except (Failed, ClientError, OSError, ValueError) as error:
        row.why = str(error)
    return rows


def _called_at(bench: Bench, name: str) -> float:
    """Call a function as soon as one can, and return when the call began."""
    until = time.perf_counter() + cold.BUILT_WITHIN_S
    while True:
        begin = time.perf_counter()
        try:
            bench.client.invoke(name, {"name": "Ada"})
        except ApiProblem as error:
            if error.code != "compile_pending" or begin > until:
                raise
            time.sleep(POLL_S)
        else:
            return begin


def _cold(bench: Bench, row: Row, runtime: str, **how: Any) -> None:
    starts, errors = cold.starts(bench.rig.url, runtime, samples=bench.args.samples, **how)
    if starts.count:
        row.cold_ms, row.cold_max_ms = starts.percentile(50) / 1000, starts.max / 1000
    row.why = f"cold starts: {dict(errors)}" if errors else ""


def _warm(bench: Bench, row: Row, floors: Mapping[str, str]) -> None:
    """Measure calls of the function by turns with those of the others."""
    args, name = bench.args, f"warm-{row.name}"
    turns: dict[str, list[int]] = {each: [] for each in (*floors.values(), name)}
    calls = 0
    for each in floors.values():
        bench.call(each, Histogram(), seconds=args.warm_up)
    others = set(_instances(bench.rig))
    bench.call(name, Histogram(), seconds=args.warm_up)
    ours = [pid for one in set(_instances(bench.rig)) - others for pid in descendants(one)]
    used_s = sum(map(cpu_s, ours))
    for _ in range(args.rounds):
        for each, medians in turns.items():
            took_us = Histogram()
            bench.call(each, took_us, seconds=args.duration / args.rounds)
            medians.append(took_us.percentile(50))
        calls += took_us.count  # the language's own turn is the last
    row.cpu_us = (sum(map(cpu_s, ours)) - used_s) / calls * 1e6 if ours else None
    row.warm_us = round(statistics.median(turns[name]))
    row.over_c_us, row.over_python_us = (
        over(turns[name], turns[floors[at]]) if at in floors else None for at in (FLOOR, BASE)
    )
    row.idle_bytes = sum(pss_bytes(pid)["private"] for pid in ours) or None


def _instances(rig: Rig) -> list[int]:
    return [pid for pid in sandboxes(rig.plane_pids()["comet"]) if census.holds_code(pid)]


def _arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="other defaults, and more beside the languages (see above)"
    )
    parser.add_argument("--runtimes", default="", help="comma-separated; else all that are available")
    parser.add_argument("--samples", type=int, default=10, help="cold starts of each")
    parser.add_argument("--duration", type=float, default=1.5, help="seconds of warm calls of each, and as many of C")
    parser.add_argument("--rounds", type=int, default=9, help="parts that these seconds are in, by turns")
    parser.add_argument("--warm-up", type=float, default=0.5, help="seconds of calls that are not counted")
    parser.add_argument("--within", type=float, default=3600.0, help="seconds after which no language is begun")
    if parser.parse_args(words).quick:
        parser.set_defaults(**QUICK)
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
