#!/usr/bin/env python3
"""New sandboxes straight on the namespace backend, without planes around it: how many a second, and where a start's
time goes.

  bench/sandboxes.py                             one after the other: microseconds of each step of a cold start
  bench/sandboxes.py --lanes 8 --count 100000    as fast as it goes, for as long as it takes; no failure is tolerated
  bench/sandboxes.py --runtime node --rest 0.2   with time between two starts, so that templates are refilled
  bench/sandboxes.py --no-templates              what a start costs when no template is ready
  bench/sandboxes.py --preload numpy --rest 0.1  forked from a nursery that has imported it (from this interpreter's
                                                 packages; larger than the code that a platform takes today)

Each sandbox is made, initialised with a hello function, called once and destroyed.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import anyio
from machine import print_facts

from constellation.base.errors import ConstellationError
from constellation.base.ids import uuid7
from constellation.comet.backend.contract import Call, InstanceSpec
from constellation.comet.namespace.backend import NamespaceBackend
from constellation.comet.namespace.settings import NamespaceSettings, group_name
from constellation.testing.sandboxes import running_backend

SOURCES = {
    "python": ("main.py", "def handler(event, context):\n    return {'hello': event.get('name')}\n"),
    "node": ("main.js", "exports.handler = async (event) => ({ hello: event.name });\n"),
    "deno": ("main.ts", "export const handler = async (event: any) => ({ hello: event.name });\n"),
    "bun": ("main.ts", "export const handler = async (event: any) => ({ hello: event.name });\n"),
    "ruby": ("main.rb", "def handler(event, context) = { hello: event['name'] }\n"),
    "php": ("main.php", "<?php\nfunction handler($event, $context) { return ['hello' => $event['name']]; }\n"),
    "lua": ("main.lua", "return { handler = function(event) return { hello = event.name } end }\n"),
    "perl": ("main.pl", "sub handler { return { hello => $_[0]{name} } }\n1;\n"),
    "r": ("main.R", "handler <- function(event, context) list(hello = event$name)\n"),
    "elixir": ("main.exs", 'defmodule Main do\n  def handler(event, _), do: %{hello: event["name"]}\nend\n'),
}
STEPS = ("create", "init", "call", "destroy")
READY_S = 60.0


class Bench:
    def __init__(self, args: argparse.Namespace, home: Path) -> None:
        self._args, self._home = args, home
        self._settings = NamespaceSettings(run_dir=home / "run", group=group_name(home))
        self._left = args.count
        self.took_us: dict[str, list[float]] = {step: [] for step in (*STEPS, "to first answer")}
        self.errors = Counter[str]()
        self.private_kib: list[int] = []
        self.elapsed_s = 0.0

    async def run(self) -> None:
        args = self._args
        name, source = SOURCES[args.runtime]
        code_dir = self._home / "code"
        code_dir.mkdir()
        code_dir.chmod(0o755)
        for module in args.preload:
            source = f"import {module}\n" + source
            _copy_package(module, code_dir / "deps")
        (code_dir / name).write_text(source)
        spec = InstanceSpec(
            tenant="bench", namespace="bench", function_id=uuid7(), function_name="hello", function_version="1",
            runtime=args.runtime, handler="main.handler", code_dir=code_dir, preload=tuple(args.preload),
        )  # fmt: skip
        async with running_backend(self._settings) as backend:
            if not backend.support().available:
                raise SystemExit(f"error: {backend.support().reason}")
            if args.templates:
                await backend.keep_templates({args.runtime}, memory_bytes=args.template_memory << 20)
            else:
                await (await backend.create(spec, timeout_s=60)).destroy()  # the fork server itself is no template
            if args.preload:  # the first start asks for the nursery
                await (await backend.create(spec, timeout_s=60)).destroy()
            with anyio.fail_after(READY_S):
                await backend.templates_ready()
            if args.preload and not backend.nurseries:
                raise SystemExit("error: there is no nursery; the log above says why")
            began = time.perf_counter()
            async with anyio.create_task_group() as tasks:
                for _ in range(args.lanes):
                    tasks.start_soon(self._lane, backend, spec)
            self.elapsed_s = time.perf_counter() - began

    async def _lane(self, backend: NamespaceBackend, spec: InstanceSpec) -> None:
        while self._left > 0:
            self._left -= 1
            try:
                await self._once(backend, spec)
            except (ConstellationError, OSError) as error:
                self.errors[f"{type(error).__name__}: {error}"] += 1
            if self._args.rest:
                await anyio.sleep(self._args.rest)

    async def _once(self, backend: NamespaceBackend, spec: InstanceSpec) -> None:
        stamps = [time.perf_counter()]
        instance = await backend.create(spec, timeout_s=60)
        try:
            stamps.append(time.perf_counter())
            await instance.init(timeout_s=60)
            stamps.append(time.perf_counter())
            await instance.invoke(Call(request_id=uuid7(), payload=b'{"name":"Ada"}', timeout_s=60))
            stamps.append(time.perf_counter())
            if self._args.lanes == 1:
                self.private_kib.append(_private_kib(instance.pid))
        finally:
            begin = time.perf_counter()
            await instance.destroy()
        steps = [later - earlier for earlier, later in itertools.pairwise(stamps)]
        for step, took_s in zip(STEPS, (*steps, time.perf_counter() - begin), strict=True):
            self.took_us[step].append(took_s * 1e6)
        self.took_us["to first answer"].append((stamps[-1] - stamps[0]) * 1e6)


def _copy_package(name: str, deps: Path) -> None:
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None or not found.submodule_search_locations:
        raise SystemExit(f"error: {name} is no package of this interpreter")
    package = Path(found.origin).parent
    for part in (package, package.with_name(f"{name}.libs")):
        if part.is_dir():
            shutil.copytree(part, deps / part.name)


def _cpu_s() -> tuple[float, float]:
    """Return the CPU time of this process, which is the backend, and of all its children that have ended."""
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime, others.ru_utime + others.ru_stime


def _private_kib(pid: int) -> int:
    """Return the unshared memory of a process and of its children."""
    total = 0
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    total += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_"))
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        total += _private_kib(int(child))
    return total


def main() -> int:
    args = _arguments()
    print_facts()
    home = Path(tempfile.mkdtemp(prefix="constellation-bench-"))
    home.chmod(0o755)
    try:
        bench = Bench(args, home)
        before = _cpu_s()
        anyio.run(bench.run, backend_options={"use_uvloop": True})
        own_ms, others_ms = (1000 * (after - begin) for begin, after in zip(before, _cpu_s(), strict=True))
    finally:
        shutil.rmtree(home, ignore_errors=True)
    made = len(bench.took_us["create"])
    print(f"\n{args.runtime}: {made} sandboxes in {bench.elapsed_s:.2f} s: {made / bench.elapsed_s:.0f}/s")
    # Says what a busy machine's rates do not. Teardown of namespaces, which kernel threads do, is not in it.
    total_ms = (own_ms + others_ms) / max(1, made)
    print(
        f"  CPU of all its processes: {total_ms:.2f} ms a sandbox, {own_ms / max(1, made):.2f} of it in the backend itself"
    )
    for step, values in bench.took_us.items():
        if len(values) > 1:
            cuts = statistics.quantiles(values, n=100)
            print(
                f"  {step:<16} min {min(values):7.0f}  p50 {cuts[49]:7.0f}  p90 {cuts[89]:7.0f}  p99 {cuts[98]:7.0f}  max {max(values):7.0f}  us"
            )
    if bench.private_kib:
        print(f"  private memory after one call: {statistics.median(bench.private_kib)} KiB")
    for what, times in bench.errors.most_common():
        print(f"  errors           {times} x {what}")
    return 1 if bench.errors else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runtime", choices=sorted(SOURCES), default="python")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--lanes", type=int, default=1, help="sandboxes at a time")
    parser.add_argument("--rest", type=float, default=0.0, help="seconds of rest in a lane after each")
    parser.add_argument("--preload", nargs="+", default=[], metavar="PACKAGE")
    parser.add_argument("--templates", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--template-memory", type=int, default=256, metavar="MIB")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
