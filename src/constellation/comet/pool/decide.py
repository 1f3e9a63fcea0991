"""What to start and what to retire next: pure rules over the groups of one node."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic

from constellation.comet.pool.state import Group, Held, Member, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one node may hold."""

    max_instances: int
    max_boots: int  # at a time
    idle_ttl_s: float


@dataclass(frozen=True, slots=True)
class Boot(Generic[Held]):
    group: Group[Held]


@dataclass(frozen=True, slots=True)
class Evict(Generic[Held]):
    """Destroy an idle member so that another function gets its place."""

    group: Group[Held]
    member: Member[Held]


def boots_for_calls(group: Group[Held]) -> int:
    """Return how many more boots the calls in line ask for."""
    if not group.waiters:
        return 0
    seats = group.function.instance_concurrency
    needed = -(-len(group.waiters) // seats) - group.booting
    return min(needed, _head_room(group))


def boots_for_warmth(group: Group[Held], *, now_s: float) -> int:
    """Return how many more boots `min_replicas` asks for."""
    if now_s < group.prewarm_after_s:
        return 0
    return min(group.kept_warm - group.current, _head_room(group))


def _head_room(group: Group[Held]) -> int:
    return 0 if group.is_removed else group.function.max_replicas - group.current


def next_step(
    asking: Sequence[Group[Held]],
    everybody: Iterable[Group[Held]],
    bounds: Bounds,
    *,
    total: int,
    booting: int,
    dying: int,
) -> Boot[Held] | Evict[Held] | None:
    """Return the next thing to do for the functions whose calls ask for boots, first come first served.

    Args:
        asking: groups whose `boots_for_calls` is above 0; the one that was served longest ago first.
        everybody: all groups, for victims.
        total: members of the node, dead ones that are not gone included.
        booting: boots in progress.
        dying: members being destroyed, whose places come free by themselves.
    """
    boots_left = bounds.max_boots - booting
    if not asking or boots_left <= 0:
        return None
    if total < bounds.max_instances:
        return Boot(asking[0])
    if dying < min(boots_left, sum(boots_for_calls(group) for group in asking)):
        victim = least_recently_used(everybody)
        return Evict(*victim) if victim else None
    return None


def least_recently_used(groups: Iterable[Group[Held]]) -> tuple[Group[Held], Member[Held]] | None:
    """Return the idle member that nobody used for longest; those that `min_replicas` keeps only when no other is left."""
    best: tuple[tuple[bool, float, int], Group[Held], Member[Held]] | None = None
    for group in groups:
        is_reserved = group.current <= group.kept_warm
        for member in group.shelf:
            if member.state is not State.IDLE:
                continue
            rank = (is_reserved, member.idle_since_s, member.number)
            if best is None or rank < best[0]:
                best = (rank, group, member)
    return (best[1], best[2]) if best else None


def should_yield(group: Group[Held], asking: Iterable[Group[Held]]) -> bool:
    """On a full node: give up a member that comes free, though calls wait for it, because a function without any
    instance has been waiting for longer?
    """
    mine = group.oldest_since_s()
    for other in asking:
        theirs = other.oldest_since_s()
        if other is not group and other.current == 0 and theirs is not None and (mine is None or theirs < mine):
            return True
    return False


def expired(group: Group[Held], bounds: Bounds, *, now_s: float) -> list[Member[Held]]:
    """Return the idle members that outlived their time, the least recently used first; `min_replicas` of them stay."""
    spare = group.current - group.kept_warm
    if spare <= 0:
        return []
    old = [m for m in group.shelf if m.state is State.IDLE and now_s - m.idle_since_s >= bounds.idle_ttl_s]
    old.sort(key=lambda member: member.idle_since_s)
    return old[:spare]
