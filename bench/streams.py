#!/usr/bin/env python3
"""Answers in pieces: how fast they pass, and what a reader that takes nothing costs.

  bench/streams.py                              a platform of its own, beside a bare relay, by turns
  bench/streams.py --streams 1,8 --piece 1024   small pieces: what each of them costs
  bench/streams.py --runtime python             the platform's functions in Python; the relay's source stays in C

The relay is native/tools/stream_main.c: two processes in C between the client and a process that writes frames, with as many
sockets as a streamed call has, that read and write and know nothing. The platform's function writes the same frames from its
sandbox. MB are of what the reader got, its framing included; CPU is of the processes between reader and worker: zenith and comet, or
the two relays. Memory is zenith's and comet's own (Pss), before, and with readers that took the first byte and then nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import generator
from http1 import request_bytes, target_of
from machine import cpu_s, descendants, name_of, print_facts, pss_bytes
from rig import Failed, Rig, counts

ORBIT = Path(__file__).parents[1] / "bin" / "orbit"
DEPLOY_S = 300.0
C_CODE = """#include <constellation.h>
#include <stdlib.h>
#include <string.h>

int handler(const char *event, size_t length, ct_context *context, ct_answer *answer) {
    (void)length;
    const size_t size = strtoul(event, NULL, 10);
    char *piece = malloc(size);
    memset(piece, 'x', size);
    while (ct_remaining_ms(context) > 0)
        ct_chunk(answer, piece, size);
    free(piece);
    return 0;
}
"""
PYTHON_CODE = """def handler(event, context):
    piece = b"x" * event
    while True:
        yield piece
"""
MANIFEST = """name: bench-streams
runtime: {runtime}
handler: {handler}
memory_mb: 128
timeout_s: 300
max_replicas: {replicas}
"""


@dataclass(slots=True, kw_only=True)
class Server:
    name: str
    url: str
    path: str
    between: Sequence[int]  # the processes whose CPU counts
    overhead_bytes: int  # of a piece, at the reader
    # A plain call, behind which the gateway knows its caller anew: a stream that meets it without would be Python's to its end.
    ask: Callable[[], object] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def request(self, piece_bytes: int) -> bytes:
        return request_bytes(
            target_of(self.url), "POST", self.path, body=str(piece_bytes).encode(), headers=dict(self.headers)
        )


@dataclass(slots=True)
class Total:
    bytes: int = 0
    elapsed_s: float = 0.0
    cpu_s: float = 0.0


def main() -> int:
    args = _arguments()
    print_facts()
    try:
        with ExitStack() as stack:
            rig = stack.enter_context(_rig())
            ours = _platform(rig, args)
            bare = stack.enter_context(_relay(args.piece))
            _measure(ours, 1, args, Total())  # from now on comet knows the function
            for count in args.streams:
                totals = {server.name: Total() for server in (bare, ours)}
                for _ in range(args.rounds):
                    for server in (bare, ours):
                        _measure(server, count, args, totals[server.name])
                print("\n".join(_table(count, args.piece, ours, bare, totals)), flush=True)
            if args.slow:
                print("\n".join(_memory(rig, ours, args)), flush=True)
    except (Failed, OSError, ValueError, subprocess.SubprocessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


# ---- the servers


@contextmanager
def _rig() -> Iterator[Rig]:
    rig = Rig({})
    with ExitStack() as stack:
        stack.callback(rig.close)
        stack.callback(rig.stop)
        rig.start()
        yield rig


def _platform(rig: Rig, args: argparse.Namespace) -> Server:
    with tempfile.TemporaryDirectory() as place:
        code, handler = ("main.c", "main.handler") if args.runtime == "c" else ("main.py", "main.handler")
        replicas = max(*args.streams, args.slow, 1)
        (Path(place) / code).write_text(C_CODE if args.runtime == "c" else PYTHON_CODE)
        (Path(place) / "function.yaml").write_text(
            MANIFEST.format(runtime=args.runtime, handler=handler, replicas=replicas)
        )
        done = subprocess.run(
            [ORBIT, "--server", rig.url, "deploy", place], capture_output=True, text=True, timeout=DEPLOY_S, check=False
        )
        if done.returncode != 0:
            raise Failed(f"orbit deploy: {done.stdout[-1000:]}{done.stderr[-1000:]}")
    pids = rig.plane_pids()
    return Server(
        name="platform",
        url=rig.url,
        path="/functions/bench-streams/invoke-stream",
        between=[pids["zenith"], pids["comet"]],
        overhead_bytes=len(f"{args.piece:x}\r\n\r\n"),
        ask=lambda: [rig.ask("POST", "/functions/hello-python/invoke", {}) for _ in range(2)],
    )


@contextmanager
def _relay(piece_bytes: int) -> Iterator[Server]:
    program = generator.program("ct-stream")
    process = subprocess.Popen(
        [program, "relay", "0", str(piece_bytes)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = int(process.stdout.readline())
        yield Server(
            name="relay",
            url=f"http://127.0.0.1:{port}",
            path="/",
            between=[pid for pid in descendants(process.pid) if name_of(pid) == "ct-stream"],
            overhead_bytes=12,
        )
    finally:
        process.stdin.close()
        process.wait(10)


# ---- measuring


def _read(server: Server, count: int, args: argparse.Namespace, seconds: float) -> subprocess.Popen[bytes]:
    target = target_of(server.url)
    process = subprocess.Popen(
        [
            generator.program("ct-stream"),
            "read",
            target.host,
            str(target.port),
            str(count),
            str(args.warm_up),
            str(seconds),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(server.request(args.piece))
    process.stdin.close()
    return process


def _measure(server: Server, count: int, args: argparse.Namespace, total: Total) -> None:
    """Read `count` streams for one turn."""
    if server.ask is not None:
        server.ask()
    process = _read(server, count, args, args.duration / args.rounds)
    assert process.stdout is not None
    assert process.stderr is not None
    before = sum(map(cpu_s, server.between))
    told, said = process.stdout.read(), process.stderr.read()
    spent_s = sum(map(cpu_s, server.between)) - before
    if process.wait() != 0:
        raise Failed(f"{server.name}: {said.decode()}")
    found = json.loads(told)
    total.bytes += found["bytes"]
    total.elapsed_s += found["elapsed_s"]
    # The warm-up's CPU is its share of the time: the rate is the same.
    total.cpu_s += spent_s * found["elapsed_s"] / (found["elapsed_s"] + args.warm_up)


def _table(count: int, piece_bytes: int, ours: Server, bare: Server, totals: Mapping[str, Total]) -> list[str]:
    lines = [f"\n{count} streams, pieces of {piece_bytes} bytes"]
    rates = {}
    for server in (ours, bare):
        total = totals[server.name]
        pieces = total.bytes / (piece_bytes + server.overhead_bytes)
        rates[server.name] = pieces / total.elapsed_s
        lines.append(
            f"  {server.name:<9} {total.bytes / total.elapsed_s / 1e6:8.0f} MB/s  {rates[server.name]:10,.0f} pieces/s"
            f"  CPU {total.cpu_s / max(pieces, 1) * 1e6:8.3f} us a piece, {total.cpu_s / max(total.bytes, 1) * 1e9:6.3f} s a GB"
        )
    lines.append(f"  rate, platform / relay: {rates[ours.name] / rates[bare.name]:.2f}")
    return lines


def _memory(rig: Rig, server: Server, args: argparse.Namespace) -> list[str]:
    pids = rig.plane_pids()

    def look() -> dict[str, int]:
        return {plane: pss_bytes(pids[plane])["pss"] for plane in ("zenith", "comet")}

    before = look()
    seconds = args.slow_s
    process = _read(server, -args.slow, args, seconds)
    time.sleep(args.warm_up + seconds / 3)
    early = look()
    time.sleep(seconds / 3)
    late = look()
    if process.wait() != 0:
        raise Failed("the slow readers failed")
    time.sleep(1)
    after = look()
    lines = [f"\n{args.slow} readers that take nothing of an endless answer, Pss in MiB"]
    for plane in before:
        figures = [each[plane] / (1 << 20) for each in (before, early, late, after)]
        lines.append(
            f"  {plane:<7} before {figures[0]:6.1f}   with them {figures[1]:6.1f}, {seconds / 3:g} s later {figures[2]:6.1f}"
            f"   after {figures[3]:6.1f}   {(figures[2] - figures[0]) * 1024 / args.slow:6.0f} KiB each"
        )
    return lines


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=counts, default=(1, 8, 32), metavar="N,...", help="at a time")
    parser.add_argument("--piece", type=int, default=65536, help="bytes")
    parser.add_argument("--runtime", choices=("c", "python"), default="c")
    parser.add_argument("--duration", type=float, default=8.0, help="seconds of each side")
    parser.add_argument("--rounds", type=int, default=4, help="turns of each side")
    parser.add_argument("--warm-up", type=float, default=0.5, help="seconds of each turn that are not counted")
    parser.add_argument("--slow", type=int, default=32, help="readers that take nothing; 0: none")
    parser.add_argument("--slow-s", type=float, default=9.0, help="how long they take nothing")
    return parser.parse_args()


if __name__ == "__main__":
    os.environ.setdefault("NO_PROXY", "127.0.0.1")
    sys.exit(main())
