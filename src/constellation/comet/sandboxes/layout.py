"""Where things are inside a sandbox, and the plan that makes it so."""

from __future__ import annotations

from pathlib import Path

from constellation.comet.namespace.slots import Limits as SlotLimits
from constellation.comet.namespace.slots import Slot
from constellation.comet.sandboxes.wanted import Wanted
from constellation.native.sandbox import (
    Bind,
    Directory,
    Entry,
    Limits,
    Link,
    Plan,
    Terminals,
    TextFile,
    Tmpfs,
    standard_entries,
)

HOME = "/home/sandbox"
TMP = "/tmp"  # noqa: S108 (the sandbox's own)
WRITABLE = (HOME, TMP)  # what a fork takes along
AGENT_DIR = "/run/agent"
AGENT = f"{AGENT_DIR}/agent.py"
PROGRAMS = "/run/programs"  # the template's interpreters, first in PATH
PATH = f"{HOME}/.local/bin:{PROGRAMS}:/usr/local/bin:/usr/bin:/bin"
INSIDE = Path(__file__).parent / "inside"
TMP_MB, _SHM_MB = 64, 16
_INODES = 200_000  # chosen: half a large node_modules; each costs about 1 KiB of kernel memory
_OPEN_FILES = 4096


def limits_of(wanted: Wanted) -> SlotLimits:
    """Return what the control group allows: files are memory, and count on top."""
    return SlotLimits(
        memory_mb=wanted.memory_mb + wanted.disk_mb, cpu_millis=wanted.cpu_millis, processes=wanted.processes
    )


def plan_of(wanted: Wanted, slot: Slot, *, task_files: tuple[str, ...], setup_s: float, has_memory_group: bool) -> Plan:
    """Return the sandbox: pid 1 is the agent, which listens on the channel that it is given."""
    leaf = slot.leaf
    entries: list[Entry] = [
        *standard_entries(
            prefixes=[Path(prefix) for prefix in wanted.prefixes],
            tmp_bytes=min(TMP_MB, wanted.disk_mb) << 20,
            shm_bytes=_SHM_MB << 20,
        ),
        Bind(source=str(INSIDE), target=AGENT_DIR),
        *(Bind(source=source, target=target) for source, target in wanted.binds),
        Directory(target=PROGRAMS),
        *(Link(to=to, target=target) for to, target in wanted.links),
        Terminals(),
        Link(to="pts/ptmx", target="/dev/ptmx"),
        TextFile(target="/etc/hostname", text="sandbox\n"),
        Tmpfs(target=HOME, size_bytes=wanted.disk_mb << 20, inodes=_INODES, mode=0o1777),
    ]
    return Plan(
        host_uid=slot.uid,
        host_gid=slot.gid,
        entries=tuple(entries),
        argv=(*wanted.agent_argv, HOME, str(wanted.processes)),
        env={"PATH": PATH, "LANG": "C.UTF-8", "HOME": HOME},
        workdir=HOME,
        limits=Limits(open_files=_OPEN_FILES, processes=wanted.processes),
        cgroup_dir=leaf.cgroup_dir if leaf is not None else "",
        task_files=(*(leaf.task_files if leaf is not None else ()), *task_files),
        setup_s=setup_s,
        may_share_memory=has_memory_group,
    )
