"""From what an instance may use to the plan of its sandbox."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from constellation.comet.backend.contract import InstanceSpec, SandboxStartFailed
from constellation.comet.namespace.nursery import Stock
from constellation.comet.namespace.settings import NamespaceSettings
from constellation.comet.namespace.slots import Limits as SlotLimits
from constellation.comet.namespace.slots import Slot
from constellation.comet.namespace.spares import Shape, is_cheap
from constellation.comet.runtimes.recipe import KIT_DIR, Start
from constellation.comet.runtimes.registry import Installed
from constellation.native.cgroups import Leaf
from constellation.native.sandbox import Bind, Claim, Directory, Entry, Limits, Plan, TextFile, Volume, standard_entries
from constellation.nova.domain.database import SOCKETS_DIR
from constellation.nova.domain.secret import FILES_DIR

# Chosen: what an interpreter maps without using it (libraries, locale archives, allocator arenas), so that RLIMIT_AS
# leaves the handler about its memory limit. An idle Python maps 60 MiB.
_ADDRESS_SPACE_SLACK_MB = 192
_OPEN_FILES = 1024
_CODE, _LAYERS = "/code", "/opt"


@lru_cache(maxsize=256)  # chosen: some runtimes times a few sizes; looking at the host again costs 0.2 ms
def _root_of(installed: Installed, kit: Path | None, tmp_mb: int, shm_mb: int) -> tuple[Entry, ...]:
    runtime, interpreter = installed.runtime, installed.interpreter
    entries = standard_entries(
        prefixes=runtime.prefixes(interpreter), tmp_bytes=tmp_mb << 20, shm_bytes=min(shm_mb, tmp_mb) << 20
    )
    shared = () if kit is None else (Bind(source=str(kit), target=KIT_DIR),)
    return (*entries, *runtime.binds(interpreter), *shared, Directory(target=SOCKETS_DIR))


def plan_of(
    installed: Installed,
    slot: Slot,
    *,
    code_dir: Path | None,
    layers_dir: Path | None = None,
    kit: Path | None,
    memory_mb: int,
    processes: int,
    tmp_mb: int,
    shm_mb: int,
    has_memory_group: bool,
    setup_s: float,
    is_nursery: bool = False,
) -> Plan:
    """Return everything the sandbox of an instance is.

    Without `code_dir` it is one that waits to be claimed: limits of 0 and the code come with the claim.
    """
    return _plan_of(
        installed,
        (slot.uid, slot.gid),
        slot.leaf,
        code_dir=code_dir,
        layers_dir=layers_dir,
        kit=kit,
        memory_mb=memory_mb,
        processes=processes,
        tmp_mb=tmp_mb,
        shm_mb=shm_mb,
        has_memory_group=has_memory_group,
        setup_s=setup_s,
        is_nursery=is_nursery,
    )


@lru_cache(maxsize=256)  # chosen: slots that are lent again and again; a plan costs 0.2 ms to make, 10 KiB to keep
def _plan_of(
    installed: Installed,
    ids: tuple[int, int],
    leaf: Leaf | None,
    *,
    code_dir: Path | None,
    layers_dir: Path | None,
    kit: Path | None,
    memory_mb: int,
    processes: int,
    tmp_mb: int,
    shm_mb: int,
    has_memory_group: bool,
    setup_s: float,
    is_nursery: bool,
) -> Plan:
    runtime, interpreter = installed.runtime, installed.interpreter
    is_exec = runtime.start is Start.EXEC
    argv: tuple[str, ...] = ()
    if is_exec:
        program, *rest = runtime.argv(interpreter)
        argv = (program, *runtime.heap_flags(memory_mb), *rest)
    if runtime.is_program and code_dir is None:
        argv = ("--await", _CODE, *argv)  # to ct-guest
    code, layers = _place(_CODE, code_dir), _place(_LAYERS, layers_dir)
    root = _root_of(installed, kit, tmp_mb, shm_mb)
    own = (code,) if _holds_layers_place(root) else (layers, code)
    if layers_dir is not None and layers not in own:
        raise SandboxStartFailed(step="layers", reason=f"this host's {runtime.info.id} lies below {_LAYERS} itself")
    return Plan(
        host_uid=ids[0],
        host_gid=ids[1],
        entries=(*root, *own),
        argv=argv,
        env=runtime.env,
        has_guest_init=is_exec,
        limits=Limits(
            open_files=_OPEN_FILES,
            processes=processes or None,
            address_space_bytes=address_space_bytes(installed, memory_mb, has_memory_group=has_memory_group),
        ),
        cgroup_dir=leaf.cgroup_dir if leaf is not None else "",
        task_files=leaf.task_files if leaf is not None else (),
        setup_s=setup_s,
        may_share_memory=has_memory_group,
        is_nursery=is_nursery,
    )


def _place(target: str, source: Path | None) -> Entry:
    return Directory(target=target) if source is None else Bind(source=str(source), target=target)


def _holds_layers_place(entries: Iterable[Entry]) -> bool:
    """Whether something of the host lies below /opt of a root."""
    return any(entry.target == _LAYERS or entry.target.startswith(f"{_LAYERS}/") for entry in entries)


def with_shown(plan: Plan, spec: InstanceSpec | None) -> Plan:
    """Return the plan of a sandbox that shows secrets, sockets or volumes: its root is its own, and no copy of it is kept."""
    if spec is None or not (is_own(spec) or spec.sockets_dir):
        return plan
    shown: list[Entry] = [
        TextFile(target=f"{FILES_DIR}/{name}", text=text, mode=0o400) for name, text in spec.secret_files.items()
    ]
    if spec.sockets_dir is not None:
        shown.append(Bind(source=str(spec.sockets_dir), target=SOCKETS_DIR, is_executable=False))
    shown.extend(Volume(source=str(v.directory), target=v.path, is_writable=v.is_writable) for v in spec.volumes)
    return replace(plan, entries=(*plan.entries, *shown), is_alone=True)


def is_own(spec: InstanceSpec) -> bool:
    """Whether the root of an instance is its own: it can not be one that was made before."""
    return bool(spec.secret_files or spec.volumes)


def address_space_bytes(installed: Installed, memory_mb: int, *, has_memory_group: bool) -> int | None:
    """Return the RLIMIT_AS that stands in for a memory group; None where there is one, or for no limit yet."""
    if not installed.runtime.is_address_space_bound or has_memory_group or not memory_mb:
        return None
    return (memory_mb + _ADDRESS_SPACE_SLACK_MB) << 20


def claim_of(spec: InstanceSpec, installed: Installed, settings: NamespaceSettings, *, has_memory_group: bool) -> Claim:
    """Return what a ready sandbox becomes an instance by."""
    is_tmp_usual = spec.tmp_mb == settings.tmp_mb
    return Claim(
        code_dir=spec.code_dir,
        layers_dir=spec.layers_dir,
        sockets_dir=spec.sockets_dir,
        processes=spec.max_pids,
        address_space_bytes=address_space_bytes(installed, spec.memory_mb, has_memory_group=has_memory_group),
        tmp_bytes=None if is_tmp_usual else spec.tmp_mb << 20,
        shm_bytes=None if is_tmp_usual else min(settings.shm_mb, spec.tmp_mb) << 20,
    )


def stock_of(spec: InstanceSpec, installed: Installed, limits: SlotLimits) -> Stock:
    """Return what a nursery must hold for an instance to be forked from it."""
    places = [spec.code_dir] if spec.layers_dir is None else [spec.code_dir, spec.layers_dir]
    found = [place.stat() for place in places]  # as quick as the mounts that an ordinary start makes of them
    return Stock(
        tenant=spec.tenant,
        function_id=spec.function_id,
        installed=installed,
        code_dir=spec.code_dir,
        layers_dir=spec.layers_dir,
        inodes=tuple((each.st_dev, each.st_ino) for each in found),
        modules=spec.preload,
        limits=limits,
        tmp_mb=spec.tmp_mb,
    )


def shape_of(installed: Installed, limits: SlotLimits, *, is_wired: bool = False) -> Shape:
    """Return which spares can become an instance of these limits."""
    if is_cheap(installed.runtime):  # one process, whose limits can all be set when it is claimed
        return Shape(installed=installed.template, is_wired=is_wired)
    return Shape(
        installed=installed.template, memory_mb=limits.memory_mb, processes=limits.processes, is_wired=is_wired
    )
