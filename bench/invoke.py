#!/usr/bin/env python3
"""Warm calls: how many a second, and how long each takes.

  bench/invoke.py                                  closed loop, 32 connections, hello-python at localhost:9000
  bench/invoke.py --connections 1                  the latency of a call that meets nobody
  bench/invoke.py --rate 500                       open loop: 500 calls a second, whatever the server does
  bench/invoke.py --against http://other:9000      the same work on two servers by turns, and the ratios

The generator is native/tools/load_main.c, which can offer far more than a platform on the same machine takes;
`--generator python` is slower and speaks TLS. `--path` (and `--against-path`) name another server's route, so that the peer need not be Constellation.
"""

from __future__ import annotations

import argparse
import csv
import functools
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import anyio
import generator
from histogram import summary
from http1 import request_bytes, target_of
from load import Result, Work, run
from machine import facts, print_facts

FIGURES = ("mean_ms", "min_ms", "p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms")


def main() -> int:
    args = _arguments()
    try:
        sides = {"A": _work(args, args.url, args.path)}
        if args.against:
            sides["B"] = _work(args, args.against, args.against_path or args.path)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print_facts()
    mode = f"open loop at {args.rate:g} calls/s" if args.rate else "closed loop"
    print(f"# {mode}, {args.connections} connections, {args.duration:g} s each, warm-up {args.warm_up:g} s")
    try:
        results = _measure(args, sides)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    urls = {"A": args.url, "B": args.against}
    for label, result in results.items():
        _print(label if args.against else "", urls[label], result)
    if args.against:
        _print_ratios(results["A"], results["B"])
    if args.csv:
        _write(args, urls, results)
    return 0 if all(result.latency_us.count for result in results.values()) else 1


def _measure(args: argparse.Namespace, sides: dict[str, Work]) -> dict[str, Result]:
    """Run the sides by turns, so that a machine that slows down or speeds up does so for both."""
    load = _in_python if args.generator == "python" else _in_c
    for work in sides.values():
        if args.warm_up > 0:
            load(work, args.warm_up)
    rounds = args.rounds if len(sides) > 1 else 1
    results = {label: Result() for label in sides}
    for _ in range(rounds):
        for label, work in sides.items():
            results[label].add(load(work, args.duration / rounds))
    return results


def _in_python(work: Work, duration_s: float) -> Result:
    return anyio.run(functools.partial(run, work, duration_s=duration_s), backend_options={"use_uvloop": True})


def _in_c(work: Work, duration_s: float) -> Result:
    return generator.run(work, duration_s=duration_s).result


def _work(args: argparse.Namespace, url: str, path: str | None) -> Work:
    target = target_of(url)
    data = Path(args.data[1:]).read_bytes() if args.data.startswith("@") else args.data.encode()
    headers = {name: value for name, _, value in (text.partition(":") for text in args.header)}
    if args.api_key:
        headers["x-api-key"] = args.api_key
    route = path or f"/functions/{args.function}/invoke"
    return Work(
        target=target,
        request=request_bytes(target, "POST", route, body=data, headers=headers),
        connections=args.connections,
        rate=args.rate,
        timeout_s=args.timeout,
    )


def _print(label: str, url: str, result: Result) -> None:
    figures = summary(result.latency_us)
    print(f"\n{label} {url}".strip())
    print(f"  calls    {figures.count} in {result.elapsed_s:.2f} s: {result.rate:,.0f} /s")
    if figures.count:
        values = asdict(figures)
        print("  latency  " + "  ".join(f"{name.removesuffix('_ms')} {values[name]:.3f}" for name in FIGURES) + "  ms")
    for what, times in result.errors.most_common():
        print(f"  errors   {times} x {what}")


def _print_ratios(a: Result, b: Result) -> None:
    if not a.latency_us.count or not b.latency_us.count:
        return
    ours, theirs = asdict(summary(a.latency_us)), asdict(summary(b.latency_us))
    print("\nA / B (a rate above 1 and a latency below 1 are better for A)")
    print(f"  rate     {a.rate / b.rate:.3f}")
    ratios = (f"{name.removesuffix('_ms')} {ours[name] / theirs[name]:.3f}" for name in FIGURES if theirs[name])
    print("  latency  " + "  ".join(ratios))


def _write(args: argparse.Namespace, urls: dict[str, str], results: dict[str, Result]) -> None:
    path = Path(args.csv)
    is_new = not path.exists() or path.stat().st_size == 0
    rows = [
        {
            "url": urls[label],
            "mode": "open" if args.rate else "closed",
            "connections": args.connections,
            "rate_wanted": args.rate or "",
            "elapsed_s": f"{result.elapsed_s:.3f}",
            "calls": result.latency_us.count,
            "errors": result.errors.total(),
            "rate": f"{result.rate:.1f}",
            **{name: f"{value:.3f}" for name, value in asdict(summary(result.latency_us)).items() if name in FIGURES},
            **facts(),
        }
        for label, result in results.items()
    ]
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        if is_new:
            writer.writeheader()
        writer.writerows(rows)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:9000")
    parser.add_argument("--function", default="hello-python")
    parser.add_argument("--path", help="path to POST to; else the invoke route of --function")
    parser.add_argument("--data", default='{"name":"Ada"}', help="event, or @FILE")
    parser.add_argument("--connections", type=_positive(int), default=32)
    parser.add_argument("--rate", type=_positive(float), help="calls a second: open loop")
    parser.add_argument("--duration", type=_positive(float), default=10.0, help="seconds")
    parser.add_argument("--warm-up", type=float, default=2.0, help="seconds that are not counted")
    parser.add_argument("--timeout", type=_positive(float), default=30.0, help="seconds a call may take")
    parser.add_argument("--generator", choices=("c", "python"), default="c")
    parser.add_argument("--api-key", default="")
    parser.add_argument("--header", action="append", default=[], metavar="NAME:VALUE", help="repeatable")
    parser.add_argument("--against", metavar="URL", help="second server for the same work")
    parser.add_argument("--against-path", help="its path, when it is another")
    parser.add_argument("--rounds", type=_positive(int), default=4, help="turns of each side with --against")
    parser.add_argument("--csv", metavar="FILE", help="append the figures, with the machine's facts")
    return parser.parse_args()


def _positive(kind: type[int | float]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = kind(text)
        if value <= 0:
            raise argparse.ArgumentTypeError("must be above 0")
        return value

    return parse


if __name__ == "__main__":
    sys.exit(main())
