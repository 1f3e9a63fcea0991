"""Everything on this host that one platform holds: processes, control groups, mounts, namespaces, files, descriptors.

Read from /proc and /sys from outside, so that a platform's own bookkeeping is not what is believed. Root sees all of
it; an ordinary user sees what is the user's own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from machine import descendants, name_of
from rig import Rig

from constellation.comet.network.places import Names

_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
_VERSION = re.compile(r"(/code/[^/]+/[^/]+/)[^/]+")
# The database's own files come and go as it likes, logs grow and are bounded elsewhere.
_NOT_COUNTED = ("postgres", "logs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """What is there, each thing by a name that is the same before and after; counts where names are not."""

    processes: Counter[str]  # by what they are; sandboxed ones are "instance"
    groups: frozenset[str]  # leaves, controller by controller
    mounts: Counter[str]  # of each mount namespace that a process of ours outside sandboxes lives in
    namespaces: Counter[str]  # kinds of those held by a process or descriptor, other than this process's own
    files: Counter[str]
    descriptors: dict[str, Counter[str]]  # by process, then by kind
    network: Counter[str]  # tables and devices of the host's that are called as ours are
    ipc: int  # System V objects and files in /dev/shm of our uids


def take(rig: Rig) -> Census:
    """Return what the platform holds at this instant."""
    ours = _processes(rig)
    outside = {pid: what for pid, what in ours.items() if what != "instance"}
    return Census(
        processes=Counter(ours.values()),
        groups=frozenset(_groups(rig)),
        mounts=_mounts(rig, outside),
        namespaces=_namespaces(ours),
        files=_files(rig),
        descriptors=_all_descriptors(outside),
        network=_network(rig),
        ipc=_ipc(rig),
    )


def leaks(before: Census, after: Census, *, max_leaves: int, socket_slack: int) -> list[str]:
    """Return what `after` holds and should not, in words.

    Args:
        max_leaves: control groups that are kept for reuse, of each controller.
        socket_slack: connections by which a plane's pools may differ between two moments of rest.
    """
    found = [f"{count} x process {what}" for what, count in (after.processes - before.processes).items()]
    for place, leaves in Counter(leaf.rpartition("/")[0] for leaf in after.groups).items():
        if leaves > max_leaves:
            found.append(f"{leaves} control groups in {place}, more than the {max_leaves} that are reused")
    found += [f"{count} x mount {what}" for what, count in (after.mounts - before.mounts).items()]
    found += [f"{count} x namespace {what}" for what, count in (after.namespaces - before.namespaces).items()]
    found += [f"{count} x file {what}" for what, count in (after.files - before.files).items()]
    for what, descriptors in after.descriptors.items():
        for kind, count in (descriptors - before.descriptors.get(what, Counter())).items():
            if count > (socket_slack if kind == "socket" else 0):
                found.append(f"{count} x descriptor {kind} of {what}")
    found += [f"{count} x {what} of the host" for what, count in (after.network - before.network).items()]
    if after.ipc > before.ipc:
        found.append(f"{after.ipc - before.ipc} x System V or /dev/shm object")
    return found


def holds_code(pid: int) -> bool:
    """Say whether a sandbox is some function's: its /code is a mount then, in a template's it is an empty directory."""
    try:
        inside = Path(f"/proc/{pid}/root")
        return (inside / "code").stat().st_dev != inside.stat().st_dev
    except (FileNotFoundError, ProcessLookupError):  # it has ended, or has no root of its own yet
        return False


def kernel_groups() -> dict[str, int]:
    """Return how many control groups the kernel counts a controller, on the whole host, removed ones included."""
    try:
        rows = [line.split() for line in Path("/proc/cgroups").read_text().splitlines()[1:]]
    except OSError:
        return {}
    return {row[0]: int(row[2]) for row in rows}


def status(pid: int) -> dict[str, str]:
    """Return /proc/PID/status; empty for a process that is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def _processes(rig: Rig) -> dict[int, str]:
    """Return pid -> name of all that are ours: by ancestry, by uid, by control group and by command line."""
    names = {rig.supervisor_pid: "supervisor"} | {pid: name for name, pid in rig.plane_pids().items()}
    found: dict[int, str] = {}
    if Path(f"/proc/{rig.supervisor_pid}").exists():
        found = {pid: names.get(pid) or _kind(pid) for pid in descendants(rig.supervisor_pid)}
    inside = {pid for leaf in _groups(rig) for pid in _numbers(Path(leaf, "cgroup.procs"))}
    data_dir = str(rig.data_dir).encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in found:
            continue
        pid = int(entry.name)
        try:
            uid = entry.stat().st_uid
            is_named = data_dir in (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if uid in rig.uids or pid in inside or is_named:
            found[pid] = names.get(pid) or _kind(pid)
    for pid in list(found):
        facts = status(pid)
        if not facts or facts["State"].startswith(("Z", "X")):
            found[pid] = f"zombie of {facts.get('PPid', '?')}"
        elif int(facts["Uid"].split()[0]) in rig.uids or pid in inside:
            found[pid] = "instance"
    return {pid: what for pid, what in found.items() if Path(f"/proc/{pid}").exists()}


def _kind(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return name_of(pid)
    if b"constellation.comet.network.netd" in words:
        return "network helper"
    if any(word.endswith(b"zygote_main.py") for word in words):
        return "zygote python"
    if name_of(pid) == "ct-zygote":
        return "zygote exec"
    return "postgres" if name_of(pid) == "postgres" else name_of(pid)


def _groups(rig: Rig) -> set[str]:
    # Other platforms' groups may go meanwhile: a walk passes them over, where a glob would fail.
    tree = os.walk("/sys/fs/cgroup")
    return {f"{parent}/{name}" for parent, names, _ in tree if Path(parent).name in rig.groups for name in names}


def _mounts(rig: Rig, outside: dict[int, str]) -> Counter[str]:
    found: Counter[str] = Counter()
    ours = Path("/proc/self/ns/mnt").readlink()
    seen = set()
    for pid in (os.getpid(), *outside):
        try:
            namespace = Path(f"/proc/{pid}/ns/mnt").readlink()
            lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
        except OSError:
            continue
        if namespace in seen:
            continue
        seen.add(namespace)
        for line in lines:
            point = line.split()[4]
            # Others may mount in the host's namespace meanwhile.
            if namespace != ours or str(rig.home) in line or "constellation" in point:
                found[f"{point} in {'the host' if namespace == ours else outside.get(pid, '?')}"] += 1
    return found


def _namespaces(pids: Iterable[int]) -> Counter[str]:
    own = {str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in _NAMESPACES}
    held: set[str] = set()
    for pid in pids:
        links = [Path(f"/proc/{pid}/ns/{kind}") for kind in _NAMESPACES]
        try:
            links += list(Path(f"/proc/{pid}/fd").iterdir())
        except OSError:
            continue
        for link in links:
            target = _target(link)
            if target.partition(":")[0] in _NAMESPACES:
                held.add(target)
    return Counter(name.partition(":")[0] for name in held - own)


def _files(rig: Rig) -> Counter[str]:
    found: Counter[str] = Counter()
    for top in (rig.data_dir, rig.tmp_dir):
        for directory, names, files in os.walk(top):
            if Path(directory) == rig.data_dir:
                names[:] = [name for name in names if name not in _NOT_COUNTED]
            found.update(_VERSION.sub(r"\1VERSION", f"{directory}/{name}") for name in (*names, *files))
    return found


def _all_descriptors(outside: dict[int, str]) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {}
    for pid, what in outside.items():
        if what != "postgres":  # its backends come and go with their connections
            found.setdefault(what, Counter()).update(_descriptors(pid))
    return found


def _descriptors(pid: int) -> Counter[str]:
    found: Counter[str] = Counter()
    try:
        links = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return found
    for link in links:
        target = _target(link)
        if target:
            found[re.sub(r":?\[?\d*\]?$", "", target) if target[0] != "/" else target] += 1
    return found


def _network(rig: Rig) -> Counter[str]:
    names = [Names.of(rig.data_dir / "run" / f"{plane}-sandboxes") for plane in ("comet", "corona", "nebula")]
    devices = Path("/sys/class/net")
    found = Counter(f"device {each.uplink}" for each in names if (devices / each.uplink).exists())
    tool = shutil.which("nft")
    if tool and os.geteuid() == 0:
        said = subprocess.run([tool, "list", "tables"], capture_output=True, text=True, timeout=30, check=False).stdout
        found.update(f"table {each.table}" for each in names if each.table in said)
    return found


def _ipc(rig: Rig) -> int:
    count = 0
    for kind in ("shm", "sem", "msg"):
        try:
            rows = Path(f"/proc/sysvipc/{kind}").read_text().splitlines()
        except OSError:
            continue
        place = rows[0].split().index("uid")
        count += sum(int(row.split()[place]) in rig.uids for row in rows[1:])
    for entry in os.scandir("/dev/shm"):
        try:
            count += entry.stat(follow_symlinks=False).st_uid in rig.uids
        except OSError:
            continue
    return count


def _numbers(path: Path) -> list[int]:
    try:
        return [int(word) for word in path.read_text().split()]
    except OSError:
        return []


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""
