#!/usr/bin/env python3
"""Fresh instances of WebAssembly inside a tenant's worker: how many a second, and how soon the first of a function is there.

  bench/wasm.py                        20,000 calls one after the other in one worker, each in a store of its own; the frames
                                       are sent ahead, so that the worker never waits for this program
  bench/wasm.py --opens 500            how long from handing a channel to the worker to the first answer of a new function
  bench/wasm.py --module FILE          another module than the starter

The worker is the real one in its real sandbox; between it and this program is nothing but the channel.
"""

from __future__ import annotations

import argparse
import functools
import os
import shutil
import socket
import statistics
import struct
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anyio
from machine import print_facts
from rig import Failed

from constellation.base.ids import uuid7
from constellation.comet.backend.contract import InstanceSpec
from constellation.comet.link.channel import init_of
from constellation.comet.namespace.settings import NamespaceSettings, group_name
from constellation.comet.wasm.settings import WasmSettings
from constellation.comet.wasm.worker import TenantWorker
from constellation.orbit.languages import LANGUAGES
from constellation.testing.wasm import compile_into, running_wasm

_HEADER = struct.Struct(">IBBHI")
_HELLO, _INIT, _READY, _EXEC, _RESULT, _LOG = 1, 2, 3, 4, 5, 8
_REMAINING_MS = 30_000


@dataclass(eq=False)
class _Guest:
    spec: InstanceSpec

    def worker_ended_nowait(self, cause: str) -> None:
        raise SystemExit(f"the worker ended: {cause}")


class _Opened:
    """A channel to the worker, without an instance around it."""

    def __init__(self, worker: TenantWorker, spec: InstanceSpec) -> None:
        self._worker, self.guest = worker, _Guest(spec)
        self._ours, theirs = socket.socketpair()
        held, given = os.pipe()
        worker.open_nowait(spec, self.guest, theirs, given)  # type: ignore[arg-type] # as much of an instance as it needs
        theirs.close()
        os.close(given)
        self._held = held
        self._in = self._ours.makefile("rb", buffering=1 << 16)
        self._expect(_HELLO)
        message = init_of(spec).SerializeToString()
        self._ours.sendall(_HEADER.pack(len(message), _INIT, 0, 0, 0) + message)
        self._expect(_READY)

    def _expect(self, *kinds: int) -> bytes:
        while True:
            length, kind, *_ = _HEADER.unpack(self._in.read(_HEADER.size))
            body = self._in.read(length)
            if kind in kinds:
                return body
            if kind != _LOG:
                raise SystemExit(f"the worker said {kind}: {body!r}")

    def calls(self, count: int, event: bytes) -> None:
        body = bytes(40) + struct.pack(">II", _REMAINING_MS, 0) + event
        frames = b"".join(_HEADER.pack(len(body), _EXEC, 0, 0, number + 1) + body for number in range(count))
        sender = threading.Thread(target=self._ours.sendall, args=(frames,))
        sender.start()
        for _ in range(count):
            self._expect(_RESULT)
        sender.join()

    def close(self) -> None:
        self._in.close()
        self._ours.close()
        os.read(self._held, 1)  # until the worker has let go of all
        os.close(self._held)
        self._worker.gone_nowait(self.guest)  # type: ignore[arg-type] # as above


def _cpu_us(pid: int) -> tuple[float, float]:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    tick_us = 1e6 / os.sysconf("SC_CLK_TCK")
    return int(fields[11]) * tick_us, int(fields[12]) * tick_us


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of one worker: fresh instances a second, its CPU a call, and milliseconds of each new function's first answer."""

    rate: float
    user_us: float
    system_us: float
    opens_ms: list[float]


def measured(*, count: int, opens: int, module: Path | None = None, data: str = '{"name":"Ada"}') -> Figures:
    """Measure in a worker of the bench's own.

    Raises:
        Failed: it can not be had on this host.
    """
    home = Path(tempfile.mkdtemp(prefix="bench-wasm."))
    try:
        return anyio.run(_run, home, module, functools.partial(_measure, count, opens, data.encode()))
    finally:
        shutil.rmtree(home, ignore_errors=True)


async def _run(home: Path, module: Path | None, measure: Callable[[TenantWorker, InstanceSpec], Figures]) -> Figures:
    place = home / "code" / "acme"
    place.mkdir(parents=True)
    for directory in (home, place.parent, place):
        directory.chmod(0o755)
    sandboxes = NamespaceSettings(run_dir=home / "run", group=group_name(home))
    source = module.read_bytes() if module else LANGUAGES["wasm"].source("hello")
    compile_into(place / "f", source)
    spec = InstanceSpec(
        tenant="acme", namespace="prod", function_id=uuid7(), function_name="f", function_version="1", runtime="wasm",
        handler="main.handle", code_dir=place / "f", cpu_millis=2000,
    )  # fmt: skip
    async with running_wasm(sandboxes, WasmSettings(code_root=place.parent)) as backend:
        if not backend.support().available:
            raise Failed(backend.support().reason)
        instance = await backend.create(spec, timeout_s=30)  # which starts the worker
        (worker,) = backend.workers
        figures = await anyio.to_thread.run_sync(measure, worker, spec)
        await instance.destroy()
        return figures


def _measure(count: int, opens: int, event: bytes, worker: TenantWorker, spec: InstanceSpec) -> Figures:
    opened = _Opened(worker, spec)
    opened.calls(500, event)  # warm
    before, begun = _cpu_us(worker.pid), time.perf_counter()
    opened.calls(count, event)
    took_s, after = time.perf_counter() - begun, _cpu_us(worker.pid)
    opened.close()
    user, system = ((late - early) / count for early, late in zip(before, after, strict=True))
    took = []
    for _ in range(opens):
        begun = time.perf_counter()
        opened = _Opened(worker, spec)
        opened.calls(1, event)
        took.append((time.perf_counter() - begun) * 1e3)
        opened.close()
    return Figures(rate=count / took_s, user_us=user, system_us=system, opens_ms=took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--opens", type=int, default=200)
    parser.add_argument("--module", type=Path)
    parser.add_argument("--data", default='{"name":"Ada"}')
    args = parser.parse_args()
    print_facts()
    figures = measured(count=args.count, opens=args.opens, module=args.module, data=args.data)
    cpu = f"CPU of the worker {figures.user_us:.1f} us user, {figures.system_us:.1f} us system a call"
    print(f"fresh instances  {figures.rate:9,.0f}/s   {cpu}")
    quantiles = statistics.quantiles(figures.opens_ms, n=100)
    longest = max(figures.opens_ms)
    print(
        f"new function to first answer   p50 {quantiles[49]:.2f} ms   p90 {quantiles[89]:.2f} ms   max {longest:.2f} ms"
    )


if __name__ == "__main__":
    main()
