"""Places for instances: a host uid and a control group each, used again only when the last tenant is wholly gone."""

from __future__ import annotations

import heapq
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import anyio

from constellation.comet.backend.contract import SandboxStartFailed
from constellation.comet.namespace.settings import SLOTS
from constellation.native.cgroups import CgroupSupport, Leaf
from constellation.native.zygote import Spawned

_POLL_S = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the processes of a slot may use together."""

    memory_mb: int
    cpu_millis: int
    processes: int


# What most functions ask for, so what templates are made with
USUAL_LIMITS = Limits(memory_mb=128, cpu_millis=1000, processes=64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    number: int
    uid: int
    gid: int
    leaf: Leaf | None  # None where there are no control groups
    oom_kills: int  # what the leaf counted before this use of it


def enforced(cgroups: CgroupSupport | None) -> dict[str, str]:
    """Say how each limit is enforced; the stand-ins for missing controllers are RLIMIT_AS and RLIMIT_NPROC."""
    found = dict(cgroups.limits) if cgroups is not None else dict.fromkeys(("memory", "cpu", "pids"), "none")
    for name in ("memory", "pids"):
        if found[name] == "none":
            found[name] = "rlimit"
    return found


class Slots:
    """Lends slots, lowest first, so that control groups are reused: a v1 memory group lives on after its removal."""

    def __init__(self, *, uid_base: int, cgroups: CgroupSupport | None) -> None:
        self._uid_base, self._cgroups = uid_base, cgroups
        self._is_root = os.geteuid() == 0
        self._free: list[int] = []
        self._next = 0
        self._leaves: dict[int, Leaf] = {}

    def take(self, limits: Limits) -> Slot:
        """Return a slot whose control group has these limits.

        Raises:
            SandboxStartFailed: every slot is in use, or the kernel refused the group.
        """
        if self._free:
            number = heapq.heappop(self._free)
        elif self._next < SLOTS:
            number, self._next = self._next, self._next + 1
        else:
            raise SandboxStartFailed(step="slot", reason=f"all {SLOTS} are in use")
        uid, gid = (self._uid_base + number,) * 2 if self._is_root else (os.geteuid(), os.getegid())
        try:
            leaf = self._prepare(number, limits)
            oom_kills = leaf.oom_kills() if leaf is not None else 0
        except OSError as error:
            heapq.heappush(self._free, number)
            raise SandboxStartFailed(step="cgroup", reason=str(error)) from error
        return Slot(number=number, uid=uid, gid=gid, leaf=leaf, oom_kills=oom_kills)

    def _prepare(self, number: int, limits: Limits) -> Leaf | None:
        if self._cgroups is None:
            return None
        leaf = self._leaves.get(number)
        if leaf is not None:
            try:
                limit(leaf, limits)
            except OSError:  # pages of its last use that the kernel can not drop now
                leaf.remove()
            else:
                return leaf
        leaf = self._leaves[number] = Leaf.create(self._cgroups, f"s{number}")
        limit(leaf, limits)
        return leaf

    def give_back(self, slot: Slot) -> None:
        """Take a slot back. Only for one in which no process is left."""
        heapq.heappush(self._free, slot.number)

    @asynccontextmanager
    async def taken(self, limits: Limits, *, within_s: float) -> AsyncIterator[Slot]:
        """Take a slot; if the block fails, take it back once nothing is left in it."""
        slot = self.take(limits)
        try:
            yield slot
        except BaseException:
            with anyio.move_on_after(within_s, shield=True):
                await until_empty(slot)
                self.give_back(slot)
            raise

    def close(self) -> None:
        """Remove every control group that is empty, at last their parents; the rest is found by the next start."""
        for leaf in self._leaves.values():
            leaf.remove()
        self._leaves.clear()
        for parent in self._cgroups.dirs if self._cgroups is not None else ():
            with suppress(OSError):
                Path(parent).rmdir()


def limit(leaf: Leaf, limits: Limits) -> None:
    """Have a leaf enforce limits. Raises `OSError`: the kernel refused."""
    leaf.limit(memory_bytes=limits.memory_mb << 20, cpu_millis=limits.cpu_millis, processes=limits.processes)


async def until_gone(spawned: Spawned, slot: Slot) -> None:
    """Wait until a killed sandbox has ended with all that it started. The caller bounds the wait."""
    await spawned.wait()
    if not spawned.is_reaped:
        await until_empty(slot)


async def until_empty(slot: Slot) -> None:
    """Kill what is in the slot's control group until nothing is. The caller bounds the wait."""
    while slot.leaf is not None and slot.leaf.kill():  # noqa: ASYNC110 (the kernel has no event for an empty v1 group)
        await anyio.sleep(_POLL_S)
