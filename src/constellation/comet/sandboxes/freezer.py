"""Stopping every process of a sandbox at one instant, by the freezer of cgroup v1 or by cgroup v2."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from constellation.native.cgroups import Leaf

_POLL_S = 0.002


class FreezeFailed(Exception):
    """Something inside did not come to rest in time; nothing is frozen."""


class Freezer:
    """`root`: our directory below the v1 freezer; None: the leaves' own v2 directories are used, if there are any."""

    def __init__(self, root: Path | None) -> None:
        self._root = root

    @classmethod
    def find(cls, group: str) -> Freezer:
        place = _v1_place()
        if place is not None:
            root = place / group
            with suppress(OSError):
                root.mkdir(exist_ok=True)
                return cls(root)
        return cls(None)

    def task_files(self, leaf: Leaf | None) -> tuple[str, ...]:
        """Return what a sandbox of this leaf joins, so that it can be frozen."""
        if leaf is None or self._root is None:
            return ()
        place = self._root / leaf.name
        try:
            place.mkdir(exist_ok=True)
        except OSError:
            return ()
        return (str(place / "tasks"),)

    def can(self, leaf: Leaf | None) -> bool:
        place = self._state_file(leaf)
        return place is not None and place.exists()

    def freeze(self, leaf: Leaf, *, within_s: float) -> None:
        """Return once nothing runs. Blocks.

        Raises:
            FreezeFailed
            OSError: the kernel refused.
        """
        place = self._state_file(leaf)
        if place is None:
            raise FreezeFailed
        until = time.monotonic() + within_s
        place.write_text("FROZEN" if self._root is not None else "1")
        while not self._is_frozen(place):
            if time.monotonic() > until:
                self.thaw(leaf)
                raise FreezeFailed
            time.sleep(_POLL_S)

    def thaw(self, leaf: Leaf) -> None:
        place = self._state_file(leaf)
        if place is not None:
            with suppress(FileNotFoundError):
                place.write_text("THAWED" if self._root is not None else "0")

    def clear(self) -> None:
        """Let whatever a killed keeper left frozen go, so that it can be ended; remove what is empty."""
        if self._root is None or not self._root.is_dir():
            return
        for place in self._root.iterdir():
            if place.is_dir():
                with suppress(OSError):
                    (place / "freezer.state").write_text("THAWED")
                with suppress(OSError):
                    place.rmdir()

    def close(self) -> None:
        self.clear()
        if self._root is not None:
            with suppress(OSError):
                self._root.rmdir()

    def _state_file(self, leaf: Leaf | None) -> Path | None:
        if leaf is None:
            return None
        if self._root is not None:
            return self._root / leaf.name / "freezer.state"
        return Path(leaf.cgroup_dir) / "cgroup.freeze" if leaf.cgroup_dir else None

    def _is_frozen(self, place: Path) -> bool:
        if self._root is not None:
            return place.read_text().strip() == "FROZEN"
        return "frozen 1" in (place.parent / "cgroup.events").read_text().splitlines()


def _v1_place() -> Path | None:
    """Return our own directory in the hierarchy of the v1 freezer."""
    own = ""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "freezer" in controllers.split(","):
            own = path
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup" and "freezer" in options.split(","):
            _, _, _, root, target, *_ = before.split(" ")
            below = own.removeprefix(root).lstrip("/") if own.startswith(root) else ""
            place = Path(target) / below
            return place if place.is_dir() else Path(target)
    return None
