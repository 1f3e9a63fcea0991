#!/usr/bin/env python3
"""The control plane under load: how fast a function is read, and what a tenant of 100,000 functions costs.

  bench/control.py
  bench/control.py --functions 10000 --samples 50        smaller, sooner

A platform of its own is started. One function is read through zenith at 1 and 16 connections; then code and policy are
changed and called until the change is live; then functions are written into one tenant, straight into the database, with
names, descriptions, tags, docs and sources of words that are drawn at random, and their lists, searches and deployments
are asked for one after the other.

Ends with status 1 when a figure misses its target.
"""

from __future__ import annotations

import argparse
import csv
import functools
import http.client
import json
import os
import random
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import asyncpg
from histogram import summary
from http1 import request_bytes, target_of
from load import Work, run
from machine import facts, print_facts
from rig import Failed, Rig

from constellation.nova.store.pool import with_credentials
from constellation.nova.store.roles import role_of

P50_MS, RATE_PER_S, P95_MS, LIVE_S = 5.0, 400.0, 50.0, 1.0
TENANT = "scale"
CODE = "def handler(event, context):\n    return {value}\n"
BATCH = 5_000
SEED = 20_240_607  # so that two runs draw the same words


def main() -> int:
    args = _arguments()
    print_facts()
    rig = Rig({})
    figures: list[tuple[str, float, str, bool]] = []

    def note(what: str, value: float, unit: str, *, is_met: bool) -> None:
        figures.append((what, value, unit, is_met))
        print(f"  {what:<44} {value:10,.2f} {unit:<6} {'' if is_met else 'MISSED'}", flush=True)

    try:
        rig.start()
        rig.deploy("read", CODE.format(value=0))
        for connections in (1, 16):
            began_s = _cpu_s(rig)
            found = _read(rig, connections=connections, duration_s=args.duration)
            spent = {plane: used - began_s[plane] for plane, used in _cpu_s(rig).items()}
            p50_ms = summary(found.latency_us).p50_ms
            note(
                f"GET function, {connections} connections: p50",
                p50_ms,
                "ms",
                is_met=connections > 1 or p50_ms <= P50_MS,
            )
            note(
                f"GET function, {connections} connections",
                found.rate,
                "/s",
                is_met=connections == 1 or found.rate >= RATE_PER_S,
            )
            shares = (f"{plane} {used / found.latency_us.count * 1e3:.2f}" for plane, used in spent.items())
            print(f"#   CPU ms a request, its warm-up's included: {', '.join(shares)}")
        for what, live in _changes(rig, args.samples // 10 or 1).items():
            note(f"{what} live, longest", max(live), "s", is_met=max(live) <= LIVE_S)
        began = time.perf_counter()
        anyio.run(_fill, rig, args.functions)
        print(f"# {args.functions} functions written in {time.perf_counter() - began:.0f} s", flush=True)
        client = Client(rig)
        for what, requests in _requests(args.functions, args.samples):
            times_ms = sorted(client.timed(*request) for request in requests)
            p95_ms = times_ms[int(len(times_ms) * 0.95) - 1]
            print(f"#   {what}: p50 {statistics.median(times_ms):.1f} ms, longest {times_ms[-1]:.1f} ms")
            note(f"{what}: p95", p95_ms, "ms", is_met=p95_ms <= P95_MS)
    except (Failed, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        rig.stop()
        rig.close()
    if args.csv:
        _write(args, figures)
    return 0 if all(is_met for *_, is_met in figures) else 1


def _read(rig: Rig, *, connections: int, duration_s: float) -> Any:
    target = target_of(rig.url)
    work = Work(
        target=target, request=request_bytes(target, "GET", "/functions/read", body=b""), connections=connections
    )
    measure = functools.partial(run, work)
    anyio.run(functools.partial(measure, duration_s=1.0), backend_options={"use_uvloop": True})
    found = anyio.run(functools.partial(measure, duration_s=duration_s), backend_options={"use_uvloop": True})
    if found.errors:
        raise Failed(f"reads failed: {dict(found.errors)}")
    return found


def _cpu_s(rig: Rig) -> dict[str, float]:
    """Seconds of CPU that the planes of a read have used so far."""
    used = {}
    for plane, pid in rig.plane_pids().items():
        if plane in ("zenith", "nova"):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            used[plane] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return used


def _changes(rig: Rig, times: int) -> dict[str, list[float]]:
    """How long after the answer to a change calls are answered as it says."""
    live: dict[str, list[float]] = {"code": [], "policy": []}
    for number in range(1, times + 1):
        _ask(rig, "PUT", "/functions/read/code", {"code": CODE.format(value=number)})
        live["code"].append(_until(rig, lambda status, body, n=number: status == 200 and body["output"] == n))
        for is_halted in (True, False):
            _ask(rig, "PATCH", "/functions/read", {"halted": is_halted})
            live["policy"].append(_until(rig, lambda status, _, halted=is_halted: (status != 200) == halted))
    return live


def _until(rig: Rig, is_live: Callable[[int, Any], bool]) -> float:
    began = time.perf_counter()
    while not is_live(*rig.ask("POST", "/functions/read/invoke", 1)):
        if time.perf_counter() - began > 20 * LIVE_S:
            raise Failed("a change is not live")
    return time.perf_counter() - began


def _ask(rig: Rig, method: str, path: str, body: object) -> Any:
    status, answer = rig.ask(method, path, body)
    if status >= 300:
        raise Failed(f"{method} {path}: {status} {answer}")
    return answer


class Client:
    """One connection to the gateway, in the tenant of many functions."""

    def __init__(self, rig: Rig) -> None:
        self._http = http.client.HTTPConnection(urlsplit(rig.url).netloc, timeout=60)

    def timed(self, method: str, path: str, body: object = None) -> float:
        """Return how many milliseconds a request took. Raises `Failed` for a refusal."""
        data = None if body is None else json.dumps(body)
        headers = {"x-nova-tenant": TENANT, "content-type": "application/json"}
        began = time.perf_counter()
        self._http.request(method, path, body=data, headers=headers)
        answer = self._http.getresponse()
        text = answer.read()
        taken_ms = (time.perf_counter() - began) * 1e3
        if answer.status >= 300:
            raise Failed(f"{method} {path}: {answer.status} {text[:200]!r}")
        return taken_ms


def _requests(functions: int, samples: int) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
    draw = random.Random(SEED + 1)
    words = vocabulary()
    pages = max(functions // 100, 1)

    def listed(query: Callable[[], str]) -> list[tuple[Any, ...]]:
        return [("GET", f"/functions?{query()}") for _ in range(samples)]

    yield "list, first page", listed(lambda: "limit=100")
    yield "list, any page", listed(lambda: f"limit=100&offset={draw.randrange(pages) * 100}")
    yield "list, a runtime", listed(lambda: "limit=100&runtime=python")
    yield "search, a word of sources", listed(lambda: f"search={draw.choice(words)}")
    yield "search, two words", listed(lambda: f"search={draw.choice(words)}%20{draw.choice(words)}")
    yield "search, the beginning of words", listed(lambda: f"search={draw.choice(words)[:3]}")
    yield "search, a word of all", listed(lambda: "search=handler")
    yield "search, one function's number", listed(lambda: f"search={draw.randrange(functions):06d}")
    yield "list, a tag of one in 100", listed(lambda: f"tag=team={draw.randrange(100)}")
    body = {"runtime": "python", "code": CODE.format(value=1), "description": "deployed"}
    yield "deploy, a new function", [("POST", "/functions", {**body, "name": f"new-{n}"}) for n in range(samples)]
    yield (
        "deploy, new code",
        [("PUT", f"/functions/new-{n}/code", {"code": CODE.format(value=n + 2)}) for n in range(samples)],
    )


def vocabulary() -> list[str]:
    draw = random.Random(SEED)
    starts = [*"bcdfghklmnprstvwz", "br", "st"]
    ends = ["ba", "de", "fi", "go", "lu", "mer", "nat", "pol", "rix", "san", "tor", "ven"]
    return sorted({draw.choice(starts) + draw.choice("aeiou") + "".join(draw.choices(ends, k=2)) for _ in range(3_000)})


async def _fill(rig: Rig, functions: int) -> None:
    """Write functions as deployments would, but for the changes that planes follow."""
    _ask(rig, "POST", "/tenants", {"id": TENANT})
    for dimension in (
        "functions",
        "memory_mb",
        "vcpu_milli",
    ):  # far off, but a limit: it is looked at with each function
        _ask(rig, "PUT", f"/tenants/{TENANT}/quotas/{dimension}", {"limit": 1e9})
    draw, words = random.Random(SEED + 2), vocabulary()
    db = await asyncpg.connect(_owner_dsn(rig))
    try:
        for start in range(0, functions, BATCH):
            rows = [_function(number, draw, words) for number in range(start, min(start + BATCH, functions))]
            async with db.transaction():
                await db.execute("ALTER TABLE functions DISABLE TRIGGER functions_changed")
                await db.executemany(_FUNCTION, [row[:5] for row in rows])
                await db.executemany(_CODE, [(TENANT, row[0]) for row in rows])
                await db.executemany(_FILE, [(TENANT, row[0], row[5]) for row in rows])
                await db.executemany(_DOCS, [(TENANT, row[1], row[6]) for row in rows if row[6]])
                await db.executemany(f"SELECT index_function('{TENANT}', 'default', $1)", [(row[1],) for row in rows])
                await db.execute("ALTER TABLE functions ENABLE TRIGGER functions_changed")
        await db.execute("VACUUM ANALYZE functions, function_search, function_versions")
    finally:
        await db.close()


def _owner_dsn(rig: Rig) -> str:
    password = (rig.data_dir / "owner.password").read_text().strip()
    return with_credentials((rig.data_dir / "nova.dsn").read_text().strip(), role_of("owner"), password)


_FUNCTION = (
    "INSERT INTO functions (tenant, namespace, id, name, description, tags, runtime, handler, code_version, code_hash)"
    f" VALUES ('{TENANT}', 'default', $1, $2, $3, $4, $5, 'main.handler', 1, '')"
)
_CODE = "INSERT INTO function_code (tenant, function_id, version, hash, size_bytes) VALUES ($1, $2, 1, '', 1)"
_FILE = "INSERT INTO function_files (tenant, function_id, version, path, content) VALUES ($1, $2, 1, 'main.py', $3)"
_DOCS = "INSERT INTO function_docs (tenant, namespace, name, content) VALUES ($1, 'default', $2, $3)"


def _function(number: int, draw: random.Random, words: list[str]) -> tuple[Any, ...]:
    name = f"{draw.choice(words)}-{draw.choice(words)}-{number:06d}"
    lines = [f"    {draw.choice(words)} = {draw.choice(words)}(event['{draw.choice(words)}'])" for _ in range(10)]
    source = "def handler(event, context):\n" + "\n".join(lines) + "\n    return event\n"
    docs = " ".join(draw.choices(words, k=40)) if number % 5 == 0 else ""
    tags = json.dumps({"team": str(number % 100)})
    runtime = ("python", "node", "go")[number % 3]
    return uuid.uuid4(), name, " ".join(draw.choices(words, k=6)), tags, runtime, source.encode(), docs


def _write(args: argparse.Namespace, figures: list[tuple[str, float, str, bool]]) -> None:
    path = Path(args.csv)
    is_new = not path.exists() or path.stat().st_size == 0
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow(["functions", "figure", "value", "unit", *facts()])
        writer.writerows(
            [args.functions, what, f"{value:.3f}", unit, *facts().values()] for what, value, unit, _ in figures
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--functions", type=int, default=100_000)
    parser.add_argument("--samples", type=int, default=100, help="requests of each kind")
    parser.add_argument(
        "--duration", type=float, default=5.0, help="seconds of reading, for each number of connections"
    )
    parser.add_argument("--csv", metavar="FILE", help="append the figures, with the machine's facts")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
