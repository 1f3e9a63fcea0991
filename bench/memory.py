#!/usr/bin/env python3
"""What a running platform costs while nobody calls: memory and CPU of all its processes.

  bench/memory.py                       the platform of this user, over 60 s
  bench/memory.py --data-dir DIR        another one on this machine

PSS is the fair share of memory: a page that n processes use counts 1/n for each. Processes are the planes that
`constellation status` names and everything below them: Postgres, zygotes, instances. Read as root or as their owner.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from machine import cpu_s, descendants, facts, name_of, print_facts, pss_bytes, sandbox_of

MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """All processes at one instant."""

    pss_bytes: dict[str, int]  # by plane
    instance_private_bytes: list[int]  # of each sandbox, all its processes together


def main() -> int:
    args = _arguments()
    print_facts()
    try:
        roots = _roots(args)
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    before, begin = _cpu(roots), time.monotonic()
    looks = []
    for _ in range(args.looks):
        looks.append(_look(roots))
        time.sleep(args.seconds / args.looks)
    elapsed_s = time.monotonic() - begin
    if _roots(args) != roots:
        print("error: a plane was started again meanwhile; nothing was idle", file=sys.stderr)
        return 1
    # Only processes that are there at both ends: one that came or went is a start or an end, not idling.
    after = _cpu(roots)
    used_s = {pid: after[pid] - before[pid] for pid in before.keys() & after.keys()}
    idle_percent = 100 * sum(used_s.values()) / elapsed_s
    by_plane = {name: statistics.mean(look.pss_bytes.get(name, 0) for look in looks) for name in roots}
    total = sum(by_plane.values())
    print(f"\nidle over {elapsed_s:.0f} s")
    for name, size in by_plane.items():
        print(f"  {name.ljust(12)} {size / MIB:8.1f} MiB PSS")
    print(f"  {'all'.ljust(12)} {total / MIB:8.1f} MiB PSS")
    print(f"  {'cpu'.ljust(12)} {idle_percent:8.2f} % of one core")
    for pid, seconds in sorted(used_s.items(), key=lambda item: -item[1])[:5]:
        if seconds > 0:
            print(f"    {name_of(pid).ljust(15)} {100 * seconds / elapsed_s:6.2f} %")
    private = looks[-1].instance_private_bytes
    if private:
        print(f"  {'instance'.ljust(12)} {statistics.median(private) / MIB:8.1f} MiB private, median of {len(private)}")
    if args.csv:
        row = {"pss_mib": f"{total / MIB:.1f}", "cpu_percent": f"{idle_percent:.2f}", "instances": len(private)}
        row["instance_private_mib"] = f"{statistics.median(private) / MIB:.2f}" if private else ""
        _write(Path(args.csv), {**row, **facts()})
    return 0


def _roots(args: argparse.Namespace) -> dict[str, int]:
    """Return plane -> pid as the supervisor tells it.

    Raises:
        ValueError: nothing runs.
    """
    beside = Path(sys.executable).parent / "constellation"
    command = [str(beside) if beside.exists() else shutil.which("constellation") or "constellation", "status"]
    if args.data_dir:
        command += ["--data-dir", args.data_dir]
    said = subprocess.run([*command, "-o", "json"], stdout=subprocess.PIPE, text=True, check=False).stdout
    planes = json.loads(said or "{}").get("planes", [])
    roots = {plane["name"]: plane["pid"] for plane in planes if plane.get("pid")}
    if not roots:
        raise ValueError("no platform runs here; start one with `constellation up`")
    return roots


def _owners(roots: dict[str, int]) -> dict[int, str]:
    """Return pid -> plane for every process; one below two planes belongs to the nearer."""
    owners: dict[int, str] = {}
    for name, root in roots.items():
        for pid in descendants(root):
            if pid == root or (owners.get(pid) is None and pid not in roots.values()):
                owners[pid] = name
    return owners


def _look(roots: dict[str, int]) -> Look:
    pss: dict[str, int] = defaultdict(int)
    private: dict[str, int] = defaultdict(int)
    for pid, plane in _owners(roots).items():
        size = pss_bytes(pid)
        pss[plane] += size["pss"]
        sandbox = sandbox_of(pid)
        if sandbox is not None:
            private[sandbox] += size["private"]
    return Look(pss_bytes=dict(pss), instance_private_bytes=list(private.values()))


def _cpu(roots: dict[str, int]) -> dict[int, float]:
    return {pid: cpu_s(pid) for pid in _owners(roots)}


def _write(path: Path, row: dict[str, object]) -> None:
    is_new = not path.exists() or path.stat().st_size == 0
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(row))
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", default="", help="of the platform; else this user's")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--looks", type=int, default=6, help="times that memory is read in these seconds")
    parser.add_argument("--csv", metavar="FILE", help="append the figures, with the machine's facts")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
