"""Everything a sandbox is, as data: what its root holds, who it runs as, what it may use, what it runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, assert_never

from constellation.native import _core, libexec_path
from constellation.native.errors import LengthOverLimit, checked

_lib, _ffi = _core.lib, _core.ffi

INSIDE_UID = 1000  # chosen: never 0, so nothing inside believes that it is root
VOLUME_ID: int = _lib.CT_VOLUME_ID
_GUEST_INIT = "/run/ct-guest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """A host file or directory, with all that is mounted below it: read-only, nosuid, nodev.

    Its modes count: inside, files of another owner are readable only when the host lets everybody read them.
    """

    source: str
    target: str
    is_optional: bool = False  # a source that does not exist is left out
    is_executable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device node of the host."""

    source: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A symbolic link with the text `to`."""

    to: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFile:
    """A file of the sandbox's own root, without NUL bytes."""

    target: str
    text: str
    mode: int = 0o444


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    target: str
    mode: int = 0o755


# Chosen: a pip install of some ten packages; each costs about 1 KiB of kernel memory
_TMPFS_INODES = 16384


@dataclass(frozen=True, slots=True, kw_only=True)
class Tmpfs:
    """A writable directory in memory; its pages count towards the instance's memory."""

    target: str
    size_bytes: int
    inodes: int = _TMPFS_INODES
    mode: int = 0o1777
    is_executable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Proc:
    """A fresh /proc of the sandbox's own pid namespace: read-only, without what tells of the host."""

    target: str = "/proc"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminals:
    """Pseudo terminals of the sandbox's own; `/dev/ptmx` is to be a link to `pts/ptmx`."""

    target: str = "/dev/pts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A host directory whose files are the sandbox's own, whichever wrote them: nosuid, nodev, noexec.

    On the host they are `VOLUME_ID`'s, where comet may map ids; else its own user's.
    """

    source: str
    target: str
    is_writable: bool = False


Entry = Volume | Bind | Device | Link | TextFile | Directory | Tmpfs | Proc | Terminals


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Resource limits of every process inside; None leaves the value that comet was started with."""

    open_files: int | None = 1024
    processes: int | None = None  # counted for the host uid inside its user namespace
    file_bytes: int | None = None
    address_space_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One sandbox. Spawned by `Zygote.spawn`; the order in which it is carried out is in native/src/sandbox/spawn.c."""

    host_uid: int  # of this instance alone; never 0
    host_gid: int
    entries: tuple[Entry, ...]
    inside_uid: int = INSIDE_UID
    inside_gid: int = INSIDE_UID
    argv: tuple[str, ...] = ()  # empty for a fork server that returns into its interpreter
    env: Mapping[str, str] = field(default_factory=dict)
    hostname: str = "sandbox"
    workdir: str = "/tmp"  # noqa: S108 - the sandbox's own
    limits: Limits = Limits()
    cgroup_dir: str = ""  # cgroup v2 leaf to be born in
    task_files: tuple[str, ...] = ()  # cgroup v1 leaves to join
    setup_s: float = 5.0  # longest time from fork to a complete sandbox
    has_guest_init: bool = False  # ct-guest is pid 1 and argv its child: for programs that do not reap
    is_nursery: bool = False  # may clone children into fresh namespaces below its own (native/src/sandbox/branch.h)
    is_alone: bool = False  # no other sandbox has its root: nothing of it is kept
    may_share_memory: bool = True  # False refuses shmget and memfd_create, which only a memory cgroup counts
    _encoded: list[bytes] = field(default_factory=list, init=False, repr=False, compare=False)  # once it was asked for

    def encode(self) -> bytes:
        """Return the request as ct-zygote reads it.

        Raises:
            ValueOutOfRange: a host id of 0, a relative target, or another value outside its field.
            LengthOverLimit: more entries, arguments or bytes than a plan may have.
            FileNotFoundError: ct-guest is wanted and was not built.
        """
        if self._encoded:
            return self._encoded[0]
        entries, argv = self.entries, self.argv
        if self.has_guest_init:
            entries = (*entries, Bind(source=str(libexec_path("ct-guest")), target=_GUEST_INIT))
            argv = (_GUEST_INIT, *argv)
        held: list[Any] = []  # keeps the C strings alive until the plan is encoded

        def text(value: str) -> Any:
            if "\0" in value:
                raise ValueError(f"NUL byte in {value!r}")
            held.append(_ffi.new("char[]", os.fsencode(value)))
            return held[-1]

        plan = _ffi.new("ct_plan *")
        plan.flags = 0 if self.may_share_memory else _lib.CT_PLAN_NO_SHARED_MEMORY
        plan.flags |= _lib.CT_PLAN_NURSERY if self.is_nursery else 0
        plan.flags |= _lib.CT_PLAN_ALONE if self.is_alone else 0
        plan.host_uid, plan.host_gid = self.host_uid, self.host_gid
        plan.inside_uid, plan.inside_gid = self.inside_uid, self.inside_gid
        plan.setup_ms = round(self.setup_s * 1000)
        plan.open_files = self.limits.open_files or 0
        plan.processes = self.limits.processes or 0
        plan.file_bytes = self.limits.file_bytes or 0
        plan.address_space_bytes = self.limits.address_space_bytes or 0
        plan.hostname, plan.workdir, plan.cgroup_dir = text(self.hostname), text(self.workdir), text(self.cgroup_dir)
        plan.task_file_count = _fill(plan.task_files, map(text, self.task_files), "task files")
        plan.argc = _fill(plan.argv, map(text, argv), "arguments", spare=1)
        plan.envc = _fill(plan.env, (text(f"{k}={v}") for k, v in self.env.items()), "variables", spare=1)
        if len(entries) > len(plan.entries):
            raise LengthOverLimit("plan entries", _lib.CT_E_TOOBIG)
        plan.entry_count = len(entries)
        for slot, entry in zip(plan.entries, entries, strict=False):
            _fill_entry(slot, entry, text)
        out = _ffi.new("uint8_t[]", _lib.CT_PLAN_BYTES_MAX)
        size = checked("plan", _lib.ct_plan_encode(plan, out, len(out)))
        self._encoded.append(bytes(_ffi.buffer(out, size)))
        return self._encoded[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a sandbox that waits lacks to be one function's; None leaves what its plan said."""

    code_dir: Path  # on the host; mounted read-only on /code
    layers_dir: Path | None = None  # likewise, on /opt
    sockets_dir: Path | None = None  # likewise, on /run/db
    processes: int | None = None  # of its first process; what that has started already keeps the plan's
    address_space_bytes: int | None = None
    tmp_bytes: int | None = None
    shm_bytes: int | None = None

    def encode(self, pid: int) -> bytes:
        """Return the request as ct-zygote reads it.

        Raises:
            LengthOverLimit: a path is too long.
        """
        claim = _ffi.new("ct_claim *")
        code, layers = os.fsencode(self.code_dir), os.fsencode(self.layers_dir or "")
        sockets = os.fsencode(self.sockets_dir or "")
        if max(len(code), len(layers), len(sockets)) >= len(claim.code_dir):
            raise LengthOverLimit("code, layer or socket directory", _lib.CT_E_TOOBIG)
        claim.magic, claim.pid, claim.code_dir, claim.layers_dir = _lib.CT_CLAIM_MAGIC, pid, code, layers
        claim.sockets_dir = sockets
        claim.processes, claim.address_space_bytes = self.processes or 0, self.address_space_bytes or 0
        claim.tmp_bytes, claim.shm_bytes = self.tmp_bytes or 0, self.shm_bytes or 0
        return bytes(_ffi.buffer(claim))


@dataclass(frozen=True, slots=True, kw_only=True)
class Furnish:
    """What the host makes in the namespaces of a nursery's child: /proc, a loopback, and these."""

    tmp_bytes: int
    shm_bytes: int
    inodes: int = _TMPFS_INODES

    def encode(self) -> bytes:
        """Return the request as ct-zygote reads it."""
        furnish = _ffi.new("ct_furnish *")
        furnish.magic, furnish.inodes = _lib.CT_FURNISH_MAGIC, self.inodes
        furnish.tmp_bytes, furnish.shm_bytes = self.tmp_bytes, self.shm_bytes
        return bytes(_ffi.buffer(furnish))


def _fill(slots: Any, values: Iterable[Any], what: str, *, spare: int = 0) -> int:
    room, count = len(slots) - spare, 0
    for value in values:
        if count == room:
            raise LengthOverLimit(f"plan {what}", _lib.CT_E_TOOBIG)
        slots[count] = value
        count += 1
    return count


def _fill_entry(slot: Any, entry: Entry, text: Callable[[str], Any]) -> None:
    slot.target = text(entry.target)
    source = ""
    match entry:
        case Bind():
            slot.kind, source = _lib.CT_ENTRY_BIND, entry.source
            slot.flags = (_lib.CT_ENTRY_OPTIONAL if entry.is_optional else 0) | (
                0 if entry.is_executable else _lib.CT_ENTRY_NOEXEC
            )
        case Volume():
            slot.kind, source = _lib.CT_ENTRY_VOLUME, entry.source
            slot.flags = _lib.CT_ENTRY_WRITABLE if entry.is_writable else 0
        case Device():
            slot.kind, source = _lib.CT_ENTRY_DEVICE, entry.source
        case Link():
            slot.kind, source = _lib.CT_ENTRY_LINK, entry.to
        case TextFile():
            slot.kind, slot.mode, source = _lib.CT_ENTRY_FILE, entry.mode, entry.text
        case Directory():
            slot.kind, slot.mode = _lib.CT_ENTRY_DIR, entry.mode
        case Tmpfs():
            slot.kind, slot.mode = _lib.CT_ENTRY_TMPFS, entry.mode
            slot.size_bytes, slot.inodes = entry.size_bytes, entry.inodes
            slot.flags = 0 if entry.is_executable else _lib.CT_ENTRY_NOEXEC
        case Proc():
            slot.kind = _lib.CT_ENTRY_PROC
        case Terminals():
            slot.kind = _lib.CT_ENTRY_PTS
        case _:
            assert_never(entry)
    slot.source = text(source)


_ETC = {
    "passwd": "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\n"
    f"sandbox:x:{INSIDE_UID}:{INSIDE_UID}::/tmp:/bin/sh\n"
    "nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n",
    "group": f"root:x:0:\nsandbox:x:{INSIDE_UID}:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "resolv.conf": "",
}


def standard_entries(
    *, prefixes: Iterable[Path] = (), code_dir: Path | None = None, tmp_bytes: int, shm_bytes: int
) -> tuple[Entry, ...]:
    """Return the root that every language worker gets.

    /usr and each interpreter's `prefixes` (at their own paths) and `code_dir` at /code, read-only; an /etc, /dev and
    /proc of its own; /tmp of at most `tmp_bytes` and /dev/shm of at most `shm_bytes`, both in memory.
    """
    entries: list[Entry] = [Bind(source="/usr", target="/usr")]
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        path = Path("/", name)
        if path.is_symlink():
            entries.append(Link(to=str(path.readlink()), target=str(path)))
        elif path.is_dir():
            entries.append(Bind(source=str(path), target=str(path)))
    outside_usr = sorted({p.resolve() for p in prefixes if not p.resolve().is_relative_to("/usr")})
    entries += [
        Bind(source=str(p), target=str(p))
        for p in outside_usr
        if not any(p != other and p.is_relative_to(other) for other in outside_usr)
    ]
    entries += [TextFile(target=f"/etc/{name}", text=text) for name, text in _ETC.items()]
    entries += [
        Bind(source="/etc/ld.so.cache", target="/etc/ld.so.cache", is_optional=True),
        Bind(source="/etc/alternatives", target="/etc/alternatives", is_optional=True),
    ]
    entries += [Device(source=f"/dev/{n}", target=f"/dev/{n}") for n in ("null", "zero", "full", "random", "urandom")]
    entries += [
        Link(to="/proc/self/fd", target="/dev/fd"),
        Link(to="/proc/self/fd/0", target="/dev/stdin"),
        Link(to="/proc/self/fd/1", target="/dev/stdout"),
        Link(to="/proc/self/fd/2", target="/dev/stderr"),
        Tmpfs(target="/dev/shm", size_bytes=shm_bytes, is_executable=False),  # noqa: S108 - the sandbox's own
        Proc(),
        Tmpfs(target="/tmp", size_bytes=tmp_bytes),  # noqa: S108 - the sandbox's own
    ]
    if code_dir is not None:
        entries.append(Bind(source=str(code_dir), target="/code"))
    return tuple(entries)
