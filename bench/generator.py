"""The load generator in C (native/tools/load_main.c), driven from here: Python's costs more than a warm call does."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from histogram import Histogram
from load import Result, Work

NATIVE = Path(__file__).parents[1] / "native"
GRACE_S = 30.0  # chosen: connecting, and the last answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run: every kind of answer with its own latencies; "ok" are the calls that succeeded."""

    elapsed_s: float
    cpu_s: float  # of the generator itself: near `elapsed_s` it was what was measured
    late_us: Histogram  # open loop: by how much calls were sent after they were due
    took_us: dict[str, Histogram] = field(default_factory=dict)

    @property
    def result(self) -> Result:
        made = Result(elapsed_s=self.elapsed_s)
        for what, took_us in self.took_us.items():
            if what == "ok":
                made.latency_us.add(took_us)
            else:
                made.errors[what] += took_us.count
        return made


@functools.cache
def program(name: str) -> Path:
    """Build a program of native/ that only benches use, and return it.

    Raises:
        OSError: it can not be built.
    """
    done = subprocess.run(
        ["make", "-s", "-C", str(NATIVE), f"PYTHON={sys.executable}", "bench"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise OSError(f"native/tools can not be built: {done.stdout[-2000:]}")
    return NATIVE / "build" / name


def run(work: Work, *, duration_s: float, warm_up_s: float = 0.0) -> Measured:
    """Load the server; calls that were begun in time are waited for and counted, those of the warm-up are not.

    Raises:
        ValueError: the server wants TLS, which this generator does not speak.
        OSError: the generator can not be built, or failed.
    """
    target = work.target
    if target.is_tls:
        raise ValueError("ct-load speaks plain HTTP only; --generator python speaks TLS")
    limits = [work.connections, duration_s, warm_up_s, work.rate or 0, work.timeout_s]
    done = subprocess.run(
        [program("ct-load"), target.host, str(target.port), *map(str, limits)],
        input=work.request,
        capture_output=True,
        timeout=duration_s + warm_up_s + work.timeout_s + GRACE_S,
        check=False,
    )
    if done.returncode != 0:
        raise OSError(done.stderr.decode(errors="replace").strip() or f"ct-load ended with {done.returncode}")
    told = json.loads(done.stdout)
    return Measured(
        elapsed_s=told["elapsed_s"],
        cpu_s=told["cpu_s"],
        late_us=Histogram.from_buckets(told["late"]),
        took_us={what: Histogram.from_buckets(facts) for what, facts in told["outcomes"].items()},
    )
