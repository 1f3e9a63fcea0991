#!/usr/bin/env python3
"""What it costs a warm call to know its caller: CPU of zenith and comet a call, by kind of caller, by turns.

  bench/callers.py                            a platform of its own
  bench/callers.py --connections 8 --turns 40

`local` is the trusted user of the machine, without a credential; `key` an API key; `session` the token of a user who
logged in, with a role by a binding; `limited` a key whose rights are for some functions only. In each turn every kind
calls the same function for a moment, in an order that goes round; a figure is the median over the turns, and the
difference to `local` the median of each turn's own, so that what else the machine does at a time meets all of them.
CPU is that of /proc/PID/schedstat.
"""

from __future__ import annotations

import argparse
import secrets
import statistics
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import generator
from hops import COMET, ZENITH, used, used_since
from http1 import request_bytes, target_of
from load import Work
from machine import print_facts
from rig import Failed, Rig

NAME = "bench-callers"
CODE = "def handler(event, context):\n    return event\n"
EVENT = b'{"name":"Ada"}'
LOCAL, CALLS = "local", "calls"
TARGET_US = 5.0  # chosen: what authentication that is cached may add to a warm call


def main() -> int:
    args = _arguments()
    print_facts()
    try:
        with ExitStack() as stack:
            rig = Rig({})
            stack.callback(rig.close)
            stack.callback(rig.stop)
            rig.start()
            rig.deploy(NAME, CODE)
            works = {caller: _work(rig, headers, args.connections) for caller, headers in _callers(rig).items()}
            for caller, work in works.items():
                _warm(caller, work, args.warm_up)
            turns = [_turn(rig, works, at, args.moment) for at in range(args.turns)]
    except (Failed, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(table(turns)))
    return 0


def _callers(rig: Rig) -> dict[str, dict[str, str]]:
    """Return caller -> the headers that it calls with."""
    password = secrets.token_urlsafe()
    made(rig, "/users", {"name": "bench", "password": password, "role": "invoker"})
    token = made(rig, "/auth/login", {"user": "bench", "password": password})["token"]
    made(rig, "/service-accounts", {"name": "bench"})
    limited = made(rig, "/apikeys", {"name": "limited", "service_account": "bench"})["key"]
    subject = {"subject": "service-account:bench", "role": "invoker"}
    made(rig, "/rbac/bindings", subject | {"functions": ["bench-*"]})
    made(rig, "/rbac/bindings", subject | {"functions": ["other-*"], "effect": "deny"})
    return {
        LOCAL: {},
        "key": {"x-api-key": rig.make_key("bench")},
        "session": {"authorization": f"Bearer {token}"},
        "limited": {"x-api-key": str(limited)},
    }


def made(rig: Rig, path: str, body: Mapping[str, object]) -> dict[str, object]:
    """Return what nova made. Raises `Failed`: it refused."""
    status, answer = rig.ask("POST", path, body)
    if status not in (200, 201):
        raise Failed(f"{path}: {status} {answer}")
    return dict(answer)


def _work(rig: Rig, headers: Mapping[str, str], connections: int) -> Work:
    target = target_of(rig.url)
    request = request_bytes(target, "POST", f"/functions/{NAME}/invoke", body=EVENT, headers=headers)
    return Work(target=target, request=request, connections=connections, timeout_s=10.0)


def _warm(caller: str, work: Work, seconds: float) -> None:
    """Call until everybody knows the caller. Raises `Failed`: it may not call."""
    result = generator.run(work, duration_s=seconds).result
    if not result.latency_us.count:
        raise Failed(f"{caller}: {dict(result.errors) or 'no call succeeded'}")


def _turn(rig: Rig, works: Mapping[str, Work], at: int, moment_s: float) -> dict[str, dict[str, float]]:
    """Return caller -> its calls, and plane -> CPU us a call."""
    order = list(works)
    order = order[at % len(order) :] + order[: at % len(order)]
    found = {}
    for caller in order:
        pids = rig.plane_pids()
        before = {plane: used([pids[plane]]) for plane in (ZENITH, COMET)}
        calls = generator.run(works[caller], duration_s=moment_s).result.latency_us.count
        if not calls:
            raise Failed(f"{caller}: no call succeeded")
        found[caller] = {CALLS: float(calls)} | {
            plane: used_since(before[plane], used([pids[plane]])).cpu_ns / 1000 / calls for plane in before
        }
    return found


def table(turns: Sequence[Mapping[str, Mapping[str, float]]]) -> list[str]:
    """Return the lines that are printed."""
    lines = [
        f"\n{len(turns)} turns; CPU us a call, medians",
        f"{'caller':12}{'calls a turn':>14}{'zenith':>10}{'comet':>10}{'both':>10}{'more than local':>18}",
    ]
    for caller in turns[0]:
        calls, zenith, comet = (
            statistics.median(turn[caller][what] for turn in turns) for what in (CALLS, ZENITH, COMET)
        )
        more = statistics.median(_cpu(turn[caller]) - _cpu(turn[LOCAL]) for turn in turns)
        verdict = (
            "" if caller == LOCAL else f"{more:>+18.2f}  {'within' if more <= TARGET_US else 'over'} {TARGET_US:g}"
        )
        lines.append(f"{caller:12}{calls:>14.0f}{zenith:>10.1f}{comet:>10.1f}{zenith + comet:>10.1f}{verdict}")
    return lines


def _cpu(facts: Mapping[str, float]) -> float:
    return facts[ZENITH] + facts[COMET]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--turns", type=int, default=24)
    parser.add_argument("--moment", type=float, default=1.0, help="seconds of each caller in each turn")
    parser.add_argument("--warm-up", type=float, default=1.0, help="seconds of each caller before, not counted")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
