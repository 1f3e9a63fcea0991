"""What a platform looks like under load: instances, callers in line, and the memory of the planes on the way."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import census
from rig import Rig

LOOK_S = 0.005


@dataclass(slots=True, kw_only=True)
class Watch:
    """The most that was seen at any look."""

    instances: int = 0  # as /stats tells
    sandboxes: int = 0  # children of comet's fork servers
    queued: int = 0
    rss_bytes: Counter[str] = field(default_factory=Counter)
    looks: int = 0


@contextmanager
def watching(rig: Rig, function: str) -> Iterator[Watch]:
    """Look at a function's instances for the length of the block, in a thread: the load must not wait for it."""
    watch, is_over = Watch(), threading.Event()
    thread = threading.Thread(target=_look, args=(rig, function, watch, is_over))
    thread.start()
    try:
        yield watch
    finally:
        is_over.set()
        thread.join()


def rss_bytes(rig: Rig) -> dict[str, int]:
    pids = rig.plane_pids()
    sizes = {name: census.status(pids[name]).get("VmRSS", "0 kB") for name in ("zenith", "comet")}
    return {name: int(size.split()[0]) << 10 for name, size in sizes.items()}


def _look(rig: Rig, function: str, watch: Watch, is_over: threading.Event) -> None:
    comet = rig.plane_pids()["comet"]
    while not is_over.wait(LOOK_S):
        watch.sandboxes = max(watch.sandboxes, sum(map(_children, _child_pids(comet))))
        for what, size in rss_bytes(rig).items():
            watch.rss_bytes[what] = max(watch.rss_bytes[what], size)
        status, stats = rig.ask("GET", "/stats")
        if status == 200:
            for each in stats["functions"]:
                if each["function"] == function:
                    watch.instances = max(watch.instances, each["idle"] + each["busy"] + each["booting"])
                    watch.queued = max(watch.queued, each["queued"])
        watch.looks += 1


def _child_pids(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _children(pid: int) -> int:
    return len(_child_pids(pid))
