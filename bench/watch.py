"""What a platform looks like under load: instances, callers in line, and the memory of the planes on the way."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import census
from rig import Failed, Rig

LOOK_S = 0.005
ASK_S = (
    2.0  # /stats is answered by Python: with four looks a second zenith grew by 11 MiB in a load, with one in all by 3
)


@dataclass(slots=True, kw_only=True)
class Watch:
    """The most that was seen at any look, of which the last is taken when the load is over.

    An instance too many stays for as long as an idle one does (`pool.idle_ttl`), so no bound is passed between two looks.
    """

    instances: int = 0  # as /stats tells
    sandboxes: int = 0  # those that hold a function's code: templates, which fork servers start too, hold none
    queued: int = 0
    rss_bytes: Counter[str] = field(default_factory=Counter)
    looks: int = 0


@contextmanager
def watching(rig: Rig, function: str) -> Iterator[Watch]:
    """Look at a function's instances for the length of the block, in a thread: the load must not wait for it.

    Raises:
        Failed: it could not be looked at.
    """
    watch, is_over, failures = Watch(), threading.Event(), list[Exception]()

    def look() -> None:
        try:
            _look(rig, function, watch, is_over)
        except Exception as error:  # noqa: BLE001  # handed to the block's end
            failures.append(error)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield watch
    finally:
        is_over.set()
        thread.join()
    if failures:
        raise Failed(f"the instances could not be looked at: {failures[0]!r}")


def rss_bytes(rig: Rig) -> dict[str, int]:
    return _rss_bytes(rig.plane_pids())


def _rss_bytes(pids: dict[str, int]) -> dict[str, int]:
    sizes = {name: census.status(pids[name]).get("VmRSS", "0 kB") for name in ("zenith", "comet")}
    return {name: int(size.split()[0]) << 10 for name, size in sizes.items()}


def _look(rig: Rig, function: str, watch: Watch, is_over: threading.Event) -> None:
    pids, asked_s, is_last = rig.plane_pids(), 0.0, False
    while not is_last:
        is_last = is_over.wait(LOOK_S)
        watch.sandboxes = max(watch.sandboxes, sum(map(census.holds_code, sandboxes(pids["comet"]))))
        watch.looks += 1
        if not is_last and time.monotonic() < asked_s + ASK_S:
            continue
        asked_s = time.monotonic()
        for what, size in _rss_bytes(pids).items():
            watch.rss_bytes[what] = max(watch.rss_bytes[what], size)
        status, stats = rig.ask("GET", "/stats")
        if status == 200:
            for each in stats["functions"]:
                if each["function"] == function:
                    watch.instances = max(watch.instances, each["idle"] + each["busy"] + each["booting"])
                    watch.queued = max(watch.queued, each["queued"])


def sandboxes(comet: int) -> list[int]:
    """Return the pids of what comet's fork servers have started."""
    return [child for server in _child_pids(comet) for child in _child_pids(server)]


def _child_pids(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
