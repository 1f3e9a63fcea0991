#!/usr/bin/env python3
"""Cold starts: from request to answer of a function that has no instance.

  bench/cold.py                                    a fresh function for each sample, through the public API
  bench/cold.py --runtime node --samples 30
  bench/cold.py --runtime java --fresh             of sizes for which no template of an executed interpreter is ready
  bench/cold.py --backend docker --samples 20      containers, of the images that the platform is configured with
  bench/cold.py --preload PACKAGE                  one function whose instances are forked with a package imported; each
                                                   sample ends the instance of the one before (the platform installs
                                                   the package from its package source)
  bench/cold.py --request http://other/fn/{i} --before ./make-cold.sh
                                                   another server: the command makes sample {i} cold (it finds the
                                                   number in BENCH_SAMPLE too), then the address is asked once

Code in a compiled language is built before; equal code is built once.

The connection is open beforehand and its caller known, as a client's is that has called some other function, so what
is measured is the platform's cold start and neither the TCP handshake nor the check of a credential never seen.
"""

from __future__ import annotations

import argparse
import base64
import csv
import functools
import json
import os
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import anyio
from histogram import Histogram, summary
from http1 import Answer, BadAnswer, Broken, Connection, Target, request_bytes, target_of
from load import failure_of
from machine import facts, print_facts

from constellation.client import Client, ClientError, FunctionCreate, NetworkPolicyBody
from constellation.orbit.languages import LANGUAGES

SOURCES = {
    "python": "def handler(event, context):\n    return {'hello': event.get('name')}\n",
    "node": "exports.handler = async (event) => ({ hello: event.name });\n",
    "deno": "export const handler = async (event: any) => ({ hello: event.name });\n",
    "bun": "export const handler = async (event: any) => ({ hello: event.name });\n",
    "ruby": "def handler(event, context) = { hello: event['name'] }\n",
    "php": "<?php\nfunction handler($event, $context) { return ['hello' => $event['name']]; }\n",
    "lua": "return { handler = function(event) return { hello = event.name } end }\n",
    "perl": "sub handler { return { hello => $_[0]{name} } }\n1;\n",
    "r": "handler <- function(event, context) list(hello = event$name)\n",
    "elixir": 'defmodule Main do\n  def handler(event, _), do: %{hello: event["name"]}\nend\n',
    "julia": 'handler(event, context) = Dict("hello" => event["name"])\n',
    **{
        name: LANGUAGES[name].source("hello")
        for name in ("c", "cpp", "go", "rust", "java", "kotlin", "scala", "zig", "swift", "graalvm", "wasm")
    },
}
LEAVES = """
import os, {package}

def handler(event, context):
    if event.get('leave'):
        os._exit(0)
    return {{'hello': event.get('name')}}
"""
IN_USE_S = 2.0  # chosen: the platform looks at what is deployed half a second after a change
_USUAL_MB, _UNUSUAL_MB = 128, 160  # templates are made of the usual size, and of others that were asked for
BUILT_WITHIN_S = 900.0  # chosen: what a toolchain prepares once a host takes minutes
FIGURES = ("mean_ms", "min_ms", "p50_ms", "p90_ms", "p99_ms", "max_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One request that finds nothing warm."""

    target: Target
    request: bytes
    is_cold: Callable[[Answer], bool]
    greeting: bytes | None = None  # sent beforehand, whatever is answered


# Makes sample i cold for the length of the block, and cleans up after it.
Source = Callable[[int], AbstractContextManager[Sample]]


def main() -> int:
    args = _parser().parse_args()
    print_facts()
    try:
        if args.preload:
            with Client(args.url, api_key=args.api_key or None) as client, _preloading(args, client) as name:
                histogram, errors = _measure(args, functools.partial(_left, args, client, name))
        elif args.request:
            histogram, errors = _measure(args, functools.partial(_foreign, args))
        else:
            with Client(args.url, api_key=args.api_key or None) as client, _in_use(args, client):
                histogram, errors = _measure(args, functools.partial(_fresh, args, client, uuid.uuid4().hex[:8]))
    except (ValueError, ClientError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    where = args.request or f"{args.url}, {args.runtime}, {args.backend}, egress {args.egress}" + (
        f", {args.preload} preloaded" if args.preload else ""
    )
    figures = asdict(summary(histogram))
    print(f"\n{where}: {histogram.count} cold starts")
    if histogram.count:
        print("  latency  " + "  ".join(f"{name.removesuffix('_ms')} {figures[name]:.2f}" for name in FIGURES) + "  ms")
    for what, times in errors.most_common():
        print(f"  errors   {times} x {what}")
    if args.csv:
        _write(args.csv, where, figures, errors)
    return 0 if histogram.count else 1


def starts(
    url: str, runtime: str, *, samples: int, backend: str = "auto", is_fresh: bool = False
) -> tuple[Histogram, Counter[str]]:
    """Measure cold starts of a runtime that is in use; returns microseconds, and what failed how often."""
    words = ["--url", url, "--runtime", runtime, "--backend", backend, "--samples", str(samples), "--warm-up", "1"]
    args = _parser().parse_args(words + (["--fresh", "--settle", "1"] if is_fresh else []))
    with Client(url) as client:
        return _measure(args, functools.partial(_fresh, args, client, uuid.uuid4().hex[:8]))


def _measure(args: argparse.Namespace, source: Source) -> tuple[Histogram, Counter[str]]:
    histogram, errors = Histogram(), Counter[str]()
    for number in range(args.warm_up + args.samples):
        with source(number) as sample:
            took_us, what = anyio.run(_ask, sample, args.timeout, backend_options={"use_uvloop": True})
        if number < args.warm_up:
            continue
        if what is None:
            histogram.record(took_us)
        else:
            errors[what] += 1
    return histogram, errors


async def _ask(sample: Sample, timeout_s: float) -> tuple[int, str | None]:
    """Return the microseconds of one call, and what failed."""
    try:
        connection = await Connection.open(sample.target, timeout_s=timeout_s)
        try:
            if sample.greeting is not None:
                await connection.ask(sample.greeting, timeout_s=timeout_s)
            begin = time.perf_counter()
            answer = await connection.ask(sample.request, timeout_s=timeout_s)
            took_us = round((time.perf_counter() - begin) * 1e6)
        finally:
            connection.close()
    except (OSError, Broken, BadAnswer) as error:
        return 0, f"{type(error).__name__}: {error}"
    failed = failure_of(answer)
    if failed is None and not sample.is_cold(answer):
        failed = "it was warm"
    return took_us, failed


def _create(args: argparse.Namespace, client: Client, name: str, *, memory_mb: int = _USUAL_MB) -> None:
    """Make a function, and wait until its code can run."""
    code = SOURCES[args.runtime]
    network = NetworkPolicyBody(egress=args.egress)
    client.create_function(
        FunctionCreate(
            name=name, runtime=args.runtime, code=code, backend=args.backend, network=network, memory_mb=memory_mb
        )
    )
    _await_build(client, name)


def _await_build(client: Client, name: str) -> None:
    within = time.monotonic() + BUILT_WITHIN_S
    while (build := client.get_function(name).build) is not None and build.state != "success":
        if build.state in ("failed", "cancelled") or time.monotonic() > within:
            raise ValueError(f"{name} was not built: {build.state}: {build.error}")
        time.sleep(0.05)


@contextmanager
def _in_use(args: argparse.Namespace, client: Client) -> Iterator[None]:
    """Some other function of the runtime is deployed, as on any platform that uses it; it is never called."""
    name = f"bench-cold-{uuid.uuid4().hex[:8]}"
    _create(args, client, name)
    try:
        time.sleep(IN_USE_S)
        yield
    finally:
        client.delete_function(name)


@contextmanager
def _fresh(args: argparse.Namespace, client: Client, run: str, number: int) -> Iterator[Sample]:
    """A function that nobody has called yet."""
    name = f"bench-cold-{run}-{number}"
    _create(args, client, name, memory_mb=_UNUSUAL_MB + number if args.fresh else _USUAL_MB)
    try:
        # Cold is the instance. What every function meets once after its creation (its entry in the gateway's and the
        # executor's tables) is awaited, as for a function that was called an hour ago.
        time.sleep(args.settle)
        target = target_of(args.url)
        headers = {"x-api-key": args.api_key} if args.api_key else {}
        request = request_bytes(target, "POST", f"/functions/{name}/invoke", body=args.data.encode(), headers=headers)
        absent = request_bytes(target, "POST", f"/functions/{name}-absent/invoke", body=b"{}", headers=headers)
        yield Sample(target=target, request=request, is_cold=_said_cold, greeting=absent)
    finally:
        client.delete_function(name)


@contextmanager
def _preloading(args: argparse.Namespace, client: Client) -> Iterator[str]:
    """A function that depends on the package, and preloads it."""
    files = {"main.py": LEAVES.format(package=args.preload), "requirements.txt": f"{args.preload}\n"}
    code = {path: base64.b64encode(text.encode()).decode() for path, text in files.items()}
    name = f"bench-cold-{uuid.uuid4().hex[:8]}"
    client.create_function(FunctionCreate(name=name, runtime="python", files=code, preload=(args.preload,)))
    try:
        _await_build(client, name)
        client.invoke(name, {"name": "Ada"})  # asks for the nursery, which is ready some imports later
        time.sleep(IN_USE_S)
        yield name
    finally:
        client.delete_function(name)


@contextmanager
def _left(args: argparse.Namespace, client: Client, name: str, _: int) -> Iterator[Sample]:
    """The function, whose only instance has just ended."""
    with suppress(ClientError):
        client.invoke(name, {"leave": True})
    time.sleep(args.settle)
    target = target_of(args.url)
    headers = {"x-api-key": args.api_key} if args.api_key else {}
    request = request_bytes(target, "POST", f"/functions/{name}/invoke", body=args.data.encode(), headers=headers)
    yield Sample(target=target, request=request, is_cold=_said_cold)


@contextmanager
def _foreign(args: argparse.Namespace, number: int) -> Iterator[Sample]:
    """Another server's function, made cold by the user's command."""
    if args.before:
        env = {**os.environ, "BENCH_SAMPLE": str(number)}
        command = args.before.replace("{i}", str(number))
        subprocess.run(["sh", "-c", command], env=env, check=True, stdout=subprocess.DEVNULL)
    parts = urlsplit(args.request.replace("{i}", str(number)))
    target = target_of(f"{parts.scheme}://{parts.netloc}")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    request = request_bytes(target, args.method, path, body=args.data.encode() if args.method != "GET" else b"")
    yield Sample(target=target, request=request, is_cold=lambda _: True)


def _said_cold(answer: Answer) -> bool:
    return bool(json.loads(answer.body).get("cold_start"))


def _write(path_text: str, where: str, figures: dict[str, float], errors: Counter[str]) -> None:
    path = Path(path_text)
    is_new = not path.exists() or path.stat().st_size == 0
    shown = {name: f"{figures[name]:.3f}" for name in FIGURES}
    row = {"what": where, "samples": figures["count"], "errors": errors.total(), **shown, **facts()}
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(row))
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:9000")
    parser.add_argument("--api-key", default="")
    parser.add_argument("--runtime", choices=sorted(SOURCES), default="python")
    parser.add_argument("--backend", choices=("auto", "namespace", "docker", "wasm"), default="auto")
    parser.add_argument("--egress", choices=("none", "internet"), default="none", help="what the function reaches")
    parser.add_argument("--fresh", action="store_true", help="each sample has a memory size of its own (see above)")
    parser.add_argument("--preload", default="", metavar="PACKAGE")
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("--warm-up", type=int, default=3, help="samples that are not counted")
    parser.add_argument("--settle", type=float, default=0.2, help="seconds between creation and call")
    parser.add_argument("--data", default='{"name":"Ada"}')
    parser.add_argument("--timeout", type=float, default=30.0)
    parser.add_argument("--request", metavar="URL", help="another server; {i} is the sample's number")
    parser.add_argument("--before", metavar="COMMAND", help="shell command that makes sample {i} cold")
    parser.add_argument("--method", default="POST", help="of --request")
    parser.add_argument("--csv", metavar="FILE", help="append the figures, with the machine's facts")
    return parser


if __name__ == "__main__":
    sys.exit(main())
