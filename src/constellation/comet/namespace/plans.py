"""From an instance's spec to the plan of its sandbox."""

from __future__ import annotations

from constellation.comet.backend.contract import InstanceSpec
from constellation.comet.namespace.slots import Slot
from constellation.comet.runtimes.recipe import Start
from constellation.comet.runtimes.registry import Installed
from constellation.native.sandbox import Limits, Plan, standard_entries

# Chosen: what an interpreter maps without using it (libraries, locale archives, allocator arenas), so that RLIMIT_AS
# leaves the handler about its memory limit. An idle Python maps 60 MiB.
_ADDRESS_SPACE_SLACK_MB = 192
_OPEN_FILES = 1024


def plan_of(
    spec: InstanceSpec, installed: Installed, slot: Slot, *, shm_mb: int, has_memory_group: bool, setup_s: float
) -> Plan:
    """Return everything the sandbox of this instance is."""
    runtime, interpreter = installed.runtime, installed.interpreter
    is_exec = runtime.start is Start.EXEC
    argv: tuple[str, ...] = ()
    if is_exec:
        program, *rest = runtime.argv(interpreter)
        argv = (program, *runtime.heap_flags(spec.memory_mb), *rest)
    entries = standard_entries(
        prefixes=runtime.prefixes(interpreter),
        code_dir=spec.code_dir,
        tmp_bytes=spec.tmp_mb << 20,
        shm_bytes=min(shm_mb, spec.tmp_mb) << 20,
    )
    bound_mb = spec.memory_mb + _ADDRESS_SPACE_SLACK_MB
    return Plan(
        host_uid=slot.uid,
        host_gid=slot.gid,
        entries=(*entries, *runtime.binds(interpreter)),
        argv=argv,
        env=runtime.env,
        has_guest_init=is_exec,
        limits=Limits(
            open_files=_OPEN_FILES,
            processes=spec.max_pids,
            address_space_bytes=bound_mb << 20 if runtime.is_address_space_bound and not has_memory_group else None,
        ),
        cgroup_dir=slot.leaf.cgroup_dir if slot.leaf is not None else "",
        task_files=slot.leaf.task_files if slot.leaf is not None else (),
        setup_s=setup_s,
        may_share_memory=has_memory_group,
    )
