"""Limits, usage and kill by control groups, on hosts with cgroup v1, v2 or both.

The calls are plain writes to kernel files (tens of microseconds each) and do not suspend; `remove` may take some
milliseconds on v1.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from constellation.native import _core
from constellation.native.errors import checked

_lib, _ffi = _core.lib, _core.ffi

_NAMES = {_lib.CT_CGROUP_NONE: "none", _lib.CT_CGROUP_V1: "cgroup v1", _lib.CT_CGROUP_V2: "cgroup v2"}


class CgroupSupport:
    """Where this host lets us make groups; opaque but for `limits` and `dirs`."""

    def __init__(self, host: Any) -> None:
        self._host = host

    @property
    def limits(self) -> Mapping[str, str]:
        """For memory, cpu and pids: "cgroup v1", "cgroup v2" or "none"."""
        host = self._host
        return {"memory": _NAMES[host.memory], "cpu": _NAMES[host.cpu], "pids": _NAMES[host.pids]}

    @property
    def dirs(self) -> frozenset[str]:
        """Directories that hold our leaves: whoever reaps after a crash lists these."""
        host = self._host
        fields = (host.memory_dir, host.cpu_dir, host.cpu_account_dir, host.pids_dir, host.unified_dir)
        return frozenset(d for d in (_ffi.string(f).decode() for f in fields) if d)


def detect(group: str = "constellation") -> CgroupSupport:
    """Find each controller and make `group` below it; a controller that cannot be used is named "none".

    On v2 without a delegated subtree of its own this process moves itself into a leaf `host`, since a group with
    processes cannot give controllers to its children.

    Raises:
        OSError: /proc is not readable.
        ValueOutOfRange: the name is not one path component.
    """
    host = _ffi.new("ct_cgroup_host *")
    checked("cgroups", _lib.ct_cgroup_detect(group.encode(), host))
    return CgroupSupport(host)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    memory_bytes: int
    memory_peak_bytes: int
    cpu_us: int
    processes: int
    oom_kills: int  # since the leaf was made, not since it was reused


class Leaf:
    """One group a sandbox lives in: a path below each controller's directory. Reusable once it is empty."""

    def __init__(self, support: CgroupSupport, name: str) -> None:
        self._support, self.name = support, name
        self._host, self._name = support._host, name.encode()  # noqa: SLF001 - one module, two classes
        self._limits: tuple[int, int, int] | None = None  # that it is known to have

    @classmethod
    def create(cls, support: CgroupSupport, name: str) -> Leaf:
        """Make the directories, or take over those that are there.

        Raises:
            OSError: the kernel refused, as with too many groups.
        """
        leaf = cls(support, name)
        checked(f"cgroup {name}", _lib.ct_leaf_create(leaf._host, leaf._name))
        return leaf

    @property
    def cgroup_dir(self) -> str:
        """The v2 directory for `Plan.cgroup_dir`; "" without v2 controllers."""
        base: str = _ffi.string(self._host.unified_dir).decode()
        return f"{base}/{self.name}" if base else ""

    @property
    def task_files(self) -> tuple[str, ...]:
        """The v1 `tasks` files for `Plan.task_files`; co-mounted controllers give one."""
        return tuple(sorted(f"{d}/{self.name}/tasks" for d in self._support.dirs - {self._unified}))

    @property
    def _unified(self) -> str:
        text: str = _ffi.string(self._host.unified_dir).decode()
        return text

    def limit(self, *, memory_bytes: int | None, cpu_millis: int | None, processes: int | None) -> None:
        """Set the limits; None is no limit. Those whose controller is "none" are not enforced.

        Nothing is written when the leaf has them already: each write takes its time.

        Raises:
            OSError: EBUSY when more memory is in use than the new limit, and cannot be reclaimed.
        """
        wanted = (memory_bytes or 0, processes or 0, cpu_millis or 0)
        if self._limits == wanted:
            return
        self._limits = None
        checked(
            f"cgroup {self.name}", _lib.ct_leaf_limit(self._host, self._name, _ffi.new("ct_cgroup_limits *", wanted))
        )
        self._limits = wanted

    def usage(self) -> Usage:
        """Return what the leaf uses now; 0 where no controller counts it.

        Raises:
            OSError: the leaf is gone.
        """
        out = _ffi.new("ct_cgroup_usage *")
        checked(f"cgroup {self.name}", _lib.ct_leaf_usage(self._host, self._name, out))
        return Usage(
            memory_bytes=out.memory_bytes,
            memory_peak_bytes=out.memory_peak_bytes,
            cpu_us=out.cpu_us,
            processes=out.processes,
            oom_kills=out.oom_kills,
        )

    def oom_kills(self) -> int:
        """Return how many processes the kernel killed here for want of memory, since the leaf was made.

        Raises:
            OSError: the leaf is gone.
        """
        out = _ffi.new("uint64_t *")
        checked(f"cgroup {self.name}", _lib.ct_leaf_oom_kills(self._host, self._name, out))
        return int(out[0])

    def kill(self) -> int:
        """Send SIGKILL to every process inside; return how many were seen. Call again until it returns 0."""
        return checked(f"cgroup {self.name}", _lib.ct_leaf_kill(self._host, self._name))

    def remove(self) -> bool:
        """Remove the directories; False while a process is left in one. One that is gone already counts as removed.

        Raises:
            OSError: the kernel refused for another reason.
        """
        result: int = _lib.ct_leaf_remove(self._host, self._name)
        if result == -errno.EBUSY:
            return False
        checked(f"cgroup {self.name}", result)
        return True
