#!/usr/bin/env python3
"""The same hello function on this platform and on others, in one run, with one load generator: one table of ratios.

  bench/peers.py                       a platform of its own
  bench/peers.py --url http://host:9000 --csv peers.csv

Warm: Constellation through zenith and comet; the same worker behind a bare server in C (`overhead` is the difference at
one connection); granian on the bare handler, with one worker and with one a core (no isolation: an upper bound); Quart
on Hypercorn, one process; workerd for JavaScript. All are up at the same time and measured by turns, so that a machine that slows down does so for all.
Cold: from request to answer through the platform (bench/cold.py), against a new `bwrap ... python3` and a new
`docker run` for each call, of an image that is made of this host's Python unless one is named; and through the platform
with `backend: docker`, of that image too where the platform is the bench's own. What this machine lacks
is named as missing, with what to do about it. Peers are installed below build/peers.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import generator
import peer_servers
from histogram import Histogram, summary
from http1 import request_bytes, target_of
from load import Result, Work
from machine import facts, print_facts
from peer_servers import Missing
from rig import Failed, Rig

from constellation.client import Client, ClientError, FunctionCreate

EVENT = b'{"name":"Ada"}'
OURS, OURS_JS, BARE = "constellation python", "constellation node", "bare C + worker"
COLD, COLD_DOCKER = "constellation cold", "constellation cold, docker"
LOOK_S = 40.0  # chosen: the platform looks at Docker every half a minute
CORES = len(os.sched_getaffinity(0))
NODE = "exports.handler = async (event) => ({ message: `Hello, ${event.name}!` });\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A server that is measured warm. `base`: which of ours it is compared with."""

    name: str
    url: str
    path: str
    base: str
    headers: dict[str, str] = field(default_factory=dict)

    def work(self, connections: int) -> Work:
        target = target_of(self.url)
        request = request_bytes(target, "POST", self.path, body=EVENT, headers=self.headers)
        return Work(target=target, request=request, connections=connections, timeout_s=10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table."""

    name: str
    kind: str  # "warm, 32 connections", "cold"
    base: str
    calls: int
    p50_ms: float
    p99_ms: float
    rate: float | None = None  # None: one call after the other, each from nothing
    errors: Mapping[str, int] = field(default_factory=dict)


def main() -> int:
    args = _arguments()
    print_facts()
    missing: dict[str, str] = {}
    try:
        with ExitStack() as stack:
            url = stack.enter_context(_platform(args.url))
            peers = list(_peers(args, url, stack, missing))
            rows = [*_warm(args, peers), *_cold(args, url, missing)]
    except (Failed, OSError, ClientError, subprocess.SubprocessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    _print(rows)
    for name, reason in missing.items():
        print(f"missing: {name}: {reason}")
    if args.csv:
        _write(Path(args.csv), rows, missing)
    return 1 if any(not row.calls or row.errors for row in rows) else 0


@contextmanager
def _platform(url: str | None) -> Iterator[str]:
    if url is not None:
        yield url
        return
    socket = os.environ.get("DOCKER_HOST", "").removeprefix("unix://") or "/var/run/docker.sock"
    rig = Rig({"docker": {"socket": socket, "image": {"python": peer_servers.HOST_IMAGE}}})
    try:
        rig.start()
        yield rig.url
    finally:
        rig.stop()
        rig.close()


def _peers(args: argparse.Namespace, url: str, stack: ExitStack, missing: dict[str, str]) -> Iterator[Peer]:
    headers = {"x-api-key": args.api_key} if args.api_key else {}
    client = stack.enter_context(Client(url, api_key=args.api_key or None))
    source = (peer_servers.APPS / "hello.py").read_text()
    for name, runtime, code in ((OURS, "python", source), (OURS_JS, "node", NODE)):
        function = f"bench-peers-{runtime}-{time.time_ns():x}"
        client.create_function(FunctionCreate(name=function, runtime=runtime, code=code))
        stack.callback(client.delete_function, function)
        yield Peer(name=name, url=url, path=f"/functions/{function}/invoke", base=name, headers=headers)
    others: tuple[tuple[str, str, Callable[[], AbstractContextManager[str]]], ...] = (
        (BARE, OURS, peer_servers.bare),
        ("granian, 1 worker", OURS, lambda: peer_servers.granian(1)),
        (f"granian, {CORES} workers", OURS, lambda: peer_servers.granian(CORES)),
        ("Quart on Hypercorn", OURS, peer_servers.quart),
        ("workerd", OURS_JS, peer_servers.workerd),
    )
    for name, base, start in others:
        try:
            yield Peer(name=name, url=stack.enter_context(start()), path="/", base=base)
        except Missing as error:
            missing[name] = str(error)


def _warm(args: argparse.Namespace, peers: Sequence[Peer]) -> list[Row]:
    """Measure by turns; the first calls of a turn, which find caches cold, are not counted."""
    results = {(peer.name, count): Result() for count in (args.connections, 1) for peer in peers}
    for _ in range(args.rounds):
        for peer in peers:
            for count in (args.connections, 1):
                found = generator.run(peer.work(count), duration_s=args.duration / args.rounds, warm_up_s=args.warm_up)
                results[peer.name, count].add(found.result)
    base_of = {peer.name: peer.base for peer in peers}
    return [_row(name, count, base_of[name], result) for (name, count), result in results.items()]


def _row(name: str, connections: int, base: str, result: Result) -> Row:
    values = summary(result.latency_us)
    return Row(
        name=name,
        kind=f"warm, {connections} connection{'s' * (connections > 1)}",
        base=base,
        calls=values.count,
        p50_ms=values.p50_ms,
        p99_ms=values.p99_ms,
        rate=result.rate,
        errors=result.errors,
    )


def _cold(args: argparse.Namespace, url: str, missing: dict[str, str]) -> Iterator[Row]:
    yield _cold_ours(args, url, COLD, "namespace")
    for name, find in (
        ("bwrap python3", peer_servers.bwrap_command),
        ("docker run", lambda: peer_servers.docker_command(args.docker_image)),
    ):
        try:
            command = find()
        except Missing as error:
            missing[name] = str(error)
        else:
            yield _run_often(name, command, args.samples)
    lacking = _lacking_docker(args, url)  # now that its image has been made
    if lacking:
        missing[COLD_DOCKER] = lacking
    else:
        yield _cold_ours(args, url, COLD_DOCKER, "docker")


def _lacking_docker(args: argparse.Namespace, url: str) -> str:
    """Say why the platform can not run functions in containers; "" when it can."""
    until = time.monotonic() + LOOK_S
    with Client(url, api_key=args.api_key or None) as client:
        while True:
            found = next((each for each in client.list_backends().backends if each.name == "docker"), None)
            lacking = (
                "it has no such backend" if found is None else found.reason or found.missing_runtimes.get("python", "")
            )
            if not lacking or time.monotonic() > until:
                return lacking
            time.sleep(1)


def _cold_ours(args: argparse.Namespace, url: str, name: str, backend: str) -> Row:
    """Let bench/cold.py measure, and take its figures."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "cold.csv")
        words = [sys.executable, str(Path(__file__).with_name("cold.py")), "--url", url, "--csv", str(path)]
        words += [
            "--samples",
            str(args.samples),
            "--backend",
            backend,
            *(["--api-key", args.api_key] if args.api_key else []),
        ]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        with path.open(newline="") as file:
            figures = next(csv.DictReader(file))
    failed = int(figures["errors"])
    return Row(
        name=name,
        kind="cold",
        base=COLD,
        calls=int(figures["samples"]),
        p50_ms=float(figures["p50_ms"]),
        p99_ms=float(figures["p99_ms"]),
        errors={"see bench/cold.py": failed} if failed else {},
    )


def _run_often(name: str, command: Sequence[str], samples: int) -> Row:
    """Run a command for each call, from its start to its end."""
    took_us, errors = Histogram(), Counter[str]()
    for _ in range(samples):
        begin = time.perf_counter()
        done = subprocess.run(command, input=EVENT, capture_output=True, check=False)
        if done.returncode == 0:
            took_us.record(round((time.perf_counter() - begin) * 1e6))
        else:
            errors[f"exit {done.returncode}"] += 1
    values = summary(took_us)
    return Row(
        name=name,
        kind="cold",
        base=COLD,
        calls=values.count,
        p50_ms=values.p50_ms,
        p99_ms=values.p99_ms,
        errors=errors,
    )


def _print(rows: Sequence[Row]) -> None:
    bases = {(row.name, row.kind): row for row in rows if row.name == row.base}
    print(f"\n{'':28}{'':22}{'req/s':>10}{'p50 ms':>10}{'p99 ms':>10}{'our rate':>11}{'our p50':>10}")
    for kind in dict.fromkeys(row.kind for row in rows):
        for row in (row for row in rows if row.kind == kind):
            rate = f"{row.rate:,.0f}" if row.rate is not None else ""
            ours = bases[row.base, kind]
            rates, times = _ratios(ours, row) if row is not ours else ("", "")
            print(f"{row.name:28}{row.kind:22}{rate:>10}{row.p50_ms:>10.3f}{row.p99_ms:>10.3f}{rates:>11}{times:>10}")
            for what, times_seen in row.errors.items():
                print(f"{'':28}{times_seen} x {what}")
    ours_alone, bare = bases.get((OURS, "warm, 1 connection")), _find(rows, BARE, "warm, 1 connection")
    if ours_alone is not None and bare is not None:
        print(
            f"\noverhead over the bare server, p50 at 1 connection: {(ours_alone.p50_ms - bare.p50_ms) * 1000:.0f} us"
        )


def _find(rows: Sequence[Row], name: str, kind: str) -> Row | None:
    return next((row for row in rows if (row.name, row.kind) == (name, kind)), None)


def _ratios(ours: Row, row: Row) -> tuple[str, str]:
    """Return our rate and our median over the peer's: better above 1, and below it."""
    rate = f"x {ours.rate / row.rate:.2f}" if ours.rate and row.rate else ""
    return rate, f"x {ours.p50_ms / row.p50_ms:.2f}" if row.p50_ms else ""


def _write(path: Path, rows: Sequence[Row], missing: dict[str, str]) -> None:
    is_new = not path.exists() or path.stat().st_size == 0
    names = ("name", "kind", "base", "calls", "errors", "rate", "p50_ms", "p99_ms", "missing", *facts())
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=names)
        if is_new:
            writer.writeheader()
        for row in rows:
            figures = asdict(row) | {"errors": sum(row.errors.values())}
            shown = {name: f"{value:.3f}" if isinstance(value, float) else value for name, value in figures.items()}
            writer.writerow({**shown, **facts()})
        for name, reason in missing.items():
            writer.writerow({"name": name, "missing": reason, **facts()})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="a running platform; else one of the bench's own")
    parser.add_argument("--api-key", default="")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--duration", type=float, default=10.0, help="seconds for each peer and number of connections")
    parser.add_argument("--rounds", type=int, default=2, help="turns that these seconds are spread over")
    parser.add_argument("--warm-up", type=float, default=1.0, help="seconds of each turn that are not counted")
    parser.add_argument("--samples", type=int, default=30, help="cold starts of each")
    parser.add_argument("--docker-image", help="a local image with python3; else one of this host's Python")
    parser.add_argument("--csv", metavar="FILE", help="append the figures, with the machine's facts")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
