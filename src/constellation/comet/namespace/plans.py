"""From an instance's spec to the plan of its sandbox."""

from __future__ import annotations

from functools import lru_cache

from constellation.comet.backend.contract import InstanceSpec
from constellation.comet.namespace.slots import Slot
from constellation.comet.runtimes.recipe import Start
from constellation.comet.runtimes.registry import Installed
from constellation.native.sandbox import Bind, Entry, Limits, Plan, standard_entries

# Chosen: what an interpreter maps without using it (libraries, locale archives, allocator arenas), so that RLIMIT_AS
# leaves the handler about its memory limit. An idle Python maps 60 MiB.
_ADDRESS_SPACE_SLACK_MB = 192
_OPEN_FILES = 1024


@lru_cache(maxsize=256)  # chosen: some runtimes times a few sizes; looking at the host again costs 0.2 ms
def _root_of(installed: Installed, tmp_mb: int, shm_mb: int) -> tuple[Entry, ...]:
    runtime, interpreter = installed.runtime, installed.interpreter
    entries = standard_entries(
        prefixes=runtime.prefixes(interpreter), tmp_bytes=tmp_mb << 20, shm_bytes=min(shm_mb, tmp_mb) << 20
    )
    return (*entries, *runtime.binds(interpreter))


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
    bound_mb = spec.memory_mb + _ADDRESS_SPACE_SLACK_MB
    return Plan(
        host_uid=slot.uid,
        host_gid=slot.gid,
        entries=(*_root_of(installed, spec.tmp_mb, shm_mb), Bind(source=str(spec.code_dir), target="/code")),
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
