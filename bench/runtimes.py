#!/usr/bin/env python3
"""Every language that this host has, side by side: one table, one run.

  bench/runtimes.py                        all that are available, about ten seconds each
  bench/runtimes.py --runtimes ruby,go     some

A platform of the bench's own runs one function of each language in turn, all through zenith:

  warm     p50 of calls over one connection
  over C   how much more that is than the same calls of the function in C, whose worker does next to nothing: measured by
           turns with it, so that what the machine and the platform do is in both. What is left is the language's own
  cold     p50 of the first calls of functions that have no instance yet (as bench/cold.py measures it)
  deploy   from sending code to its being callable: with its dependencies installed and its program built for the first
           time, and again, as another function of the same sources. Python, Node, Go, Rust and Java have a dependency
           from their package registry; in the other languages it is the code alone
  idle     private memory of the instance that answered the warm calls

What a toolchain prepares once a host (Go's standard library, say) is made before anything is measured, and kept below
native/build/seeds for the next run.
"""

from __future__ import annotations

import argparse
import base64
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import census
import cold
import generator
from histogram import Histogram
from http1 import request_bytes, target_of
from load import Work
from machine import descendants, print_facts, pss_bytes
from rig import Failed, Rig
from watch import sandboxes

from constellation.client import Client, ClientError, FunctionCreate
from constellation.nova.domain.runtimes import RUNTIMES
from constellation.testing.registries import configured_sources

ROOT = Path(__file__).parents[1]
SEEDS = ROOT / "native" / "build" / "seeds"
FLOOR = "c"
OTHER = {"other.txt": "Equal sources are built once, and these are others.\n"}
EVENT = b'{"name":"Ada"}'
POLL_S = 0.005
MIB = 1 << 20
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


@dataclass(slots=True, kw_only=True)
class Row:
    """What was measured of one language; None: it was not, and `why` tells."""

    name: str
    warm_us: int | None = None
    floor_us: int | None = None  # of the calls between
    cold_ms: float | None = None
    first_ms: float | None = None
    again_ms: float | None = None
    idle_bytes: int | None = None
    why: str = ""


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

    def call(self, name: str, took_us: Histogram, *, seconds: float) -> None:
        target = target_of(self.rig.url)
        request = request_bytes(target, "POST", f"/functions/{name}/invoke", body=EVENT)
        result = generator.run(Work(target=target, request=request, connections=1), duration_s=seconds).result
        if result.errors:
            raise Failed(f"calls of {name}: {dict(result.errors)}")
        took_us.add(result.latency_us)


def main() -> int:
    args = _arguments()
    print_facts()
    sources = configured_sources()
    for name in ("pip", "npm", "go", "cargo", "maven"):
        os.environ.setdefault(f"NOVA_BUILDS_SOURCES_{name.upper()}", getattr(sources, name).url)
    try:
        with ExitStack() as stack:
            rig = Rig({})
            stack.callback(rig.close)
            _keep_seeds(rig)
            stack.callback(rig.stop)
            rig.start()
            client = stack.enter_context(Client(rig.url))
            bench = Bench(args=args, rig=rig, client=client)
            known = {each.id: each.reason for each in client.list_runtimes() if each.id in cold.SOURCES}
            wanted = _wanted(args, known)
            has_floor = known.get(FLOOR) == ""
            if has_floor:
                stack.enter_context(bench.deployed(f"floor-{FLOOR}", FLOOR, _files(FLOOR) | OTHER))
            rows = []
            for runtime in wanted:
                rows.append(_measured(bench, runtime, has_floor=has_floor))
                print(f"# {runtime}{': ' + rows[-1].why if rows[-1].why else ''}", file=sys.stderr, flush=True)
            print("\n" + "\n".join(table(rows)))
    except (Failed, OSError, ClientError, ValueError, subprocess.SubprocessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 1 if any(row.why for row in rows) else 0


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
    return {cold.LANGUAGES[runtime].starter: cold.SOURCES[runtime]}


def _measured(bench: Bench, runtime: str, *, has_floor: bool) -> Row:
    row, args = Row(name=runtime), bench.args
    try:
        if RUNTIMES[runtime].is_compiled:
            with bench.deployed(f"seed-{runtime}", runtime, _files(runtime) | OTHER):
                pass
        files = _files(runtime) | DEPENDENCIES.get(runtime, {})
        with bench.deployed(f"warm-{runtime}", runtime, files) as row.first_ms:
            time.sleep(cold.IN_USE_S)
            starts, errors = cold.starts(bench.rig.url, runtime, samples=args.samples)
            row.cold_ms = starts.percentile(50) / 1000 if starts.count else None
            row.why = f"cold starts: {dict(errors)}" if errors else ""
            others = set(_instances(bench.rig))
            warm, floor = Histogram(), Histogram()
            bench.call(f"warm-{runtime}", Histogram(), seconds=args.warm_up)
            for _ in range(args.rounds):
                if has_floor:
                    bench.call(f"floor-{FLOOR}", floor, seconds=args.duration / args.rounds)
                bench.call(f"warm-{runtime}", warm, seconds=args.duration / args.rounds)
            row.warm_us = warm.percentile(50)
            row.floor_us = floor.percentile(50) if has_floor else None
            ours = set(_instances(bench.rig)) - others
            row.idle_bytes = sum(pss_bytes(pid)["private"] for one in ours for pid in descendants(one)) or None
            with bench.deployed(f"again-{runtime}", runtime, files) as row.again_ms:
                bench.client.invoke(f"again-{runtime}", {"name": "Ada"})
    except (Failed, ClientError, OSError) as error:
        row.why = str(error)
    return row


def _instances(rig: Rig) -> list[int]:
    return [pid for pid in sandboxes(rig.plane_pids()["comet"]) if census.holds_code(pid)]


def table(rows: list[Row]) -> list[str]:
    """Return the rows as the README has them."""
    lines = [
        "| runtime | warm p50, µs | over C, µs | cold p50, ms | deploy, first: ms | deploy, again: ms | idle, MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        over = None if row.warm_us is None or row.floor_us is None else row.warm_us - row.floor_us
        idle = None if row.idle_bytes is None else row.idle_bytes / MIB
        shown = [
            _shown(row.warm_us, 0),
            _shown(over, 0),
            _shown(row.cold_ms, 1),
            _shown(row.first_ms, 0),
            _shown(row.again_ms, 0),
            _shown(idle, 1),
        ]
        lines.append(f"| `{row.name}` | {' | '.join(shown)} |")
    return lines


def _shown(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runtimes", default="", help="comma-separated; else all that are available")
    parser.add_argument("--samples", type=int, default=10, help="cold starts of each")
    parser.add_argument("--duration", type=float, default=1.5, help="seconds of warm calls of each, and as many of C")
    parser.add_argument("--rounds", type=int, default=3, help="parts that these seconds are in, by turns")
    parser.add_argument("--warm-up", type=float, default=0.5, help="seconds of calls that are not counted")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
