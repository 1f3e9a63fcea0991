"""From what an instance may use to the container that it is. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from constellation.comet.backend.contract import InstanceSpec
from constellation.comet.link.channel import CODE_DIR, LAYERS_DIR
from constellation.comet.runtimes.recipe import WORKER_DIR, Contained, Runtime

DOOR_DIR = "/run/constellation"  # in the container: where its socket is
SOCKET_NAME = "agent.sock"
GUEST = f"{WORKER_DIR}/ct-guest"
# How names are found, whatever the image says: comet's own name server is there when the function has a network.
NAMES = {
    "hosts": "127.0.0.1 localhost\n127.0.0.1 sandbox\n",
    "resolv.conf": "nameserver 127.0.0.1\n",
}
PLATFORM_LABEL = "constellation.platform"
_CPU_PERIOD_US = 100_000  # the kernel's own default; a quota may be more than the host has, which NanoCpus may not
_OPEN_FILES = 1024
_INODES = 16_384  # chosen: each holds some 1 KiB of the kernel's memory
# What Docker hides by itself, and all of the host's devices: a sandbox of ours has no /sys either.
_MASKED = [
    *(f"/proc/{name}" for name in ("acpi", "asound", "interrupts", "kcore", "keys", "latency_stats", "sched_debug")),
    *(f"/proc/{name}" for name in ("scsi", "timer_list", "timer_stats")),
    "/sys",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a container has of this host, whatever runs in it."""

    image: str  # by its id, so that what was looked at is what runs
    instance: str
    platform: str
    uid: int
    guest_dir: Path  # on the host: ct-guest, the worker's source and `NAMES`, readable for all
    door_dir: Path  # on the host: the socket that ct-guest connects to
    shm_mb: int


def container_of(spec: InstanceSpec, runtime: Runtime, contained: Contained, place: Place) -> dict[str, Any]:
    """Return the body of the request that creates the container of an instance whose worker is ours."""
    program, *rest = contained.argv
    return _container(
        spec,
        place,
        command=[program, *runtime.heap_flags(spec.memory_mb), *rest],
        env={name: value for name, value in runtime.env.items() if name != "PATH"},  # the image knows its own
        mounts=[
            _read_only(spec.code_dir, CODE_DIR),
            _read_only(place.guest_dir, WORKER_DIR),
            *([] if spec.layers_dir is None else _layers(spec.layers_dir, contained)),
        ],
        WorkingDir="/tmp",  # noqa: S108 (the container's own)
    )


def _layers(directory: Path, contained: Contained) -> list[Mapping[str, Any]]:
    """Show layers, and by mounts what a sandbox has links for: an image's root can not be written to. Touches the disk."""
    linked = {target: directory / Path(to).relative_to(LAYERS_DIR) for target, to in contained.links.items()}
    shown = [_read_only(place, target) for target, place in linked.items() if place.is_dir()]
    return [_read_only(directory, LAYERS_DIR), *shown]


def container_of_image(spec: InstanceSpec, program: Sequence[str], place: Place) -> dict[str, Any]:
    """Return the same where the image is the function: its own program in its own directory, and ct-guest before it."""
    return _container(
        spec,
        place,
        command=["--http", *program],
        env={"HOME": "/tmp"},  # noqa: S108 (as above)
        mounts=[_read_only(place.guest_dir / "ct-guest", GUEST)],
    )


def container_of_sandbox(
    spec: InstanceSpec, argv: Sequence[str], place: Place, *, home: str, home_mb: int, agent_dir: str, label: str
) -> dict[str, Any]:
    """Return the same of an interactive sandbox, whose first program is its agent and whose home can be written to."""
    made = _container(
        spec,
        place,
        command=argv,
        env={"HOME": home},
        mounts=[_read_only(place.guest_dir, agent_dir), _read_only(place.guest_dir / "ct-guest", GUEST)],
        WorkingDir=home,
    )
    made["Labels"] = {
        label: place.platform,
        "constellation.tenant": spec.tenant,
        "constellation.sandbox": place.instance,
    }
    made["HostConfig"]["Memory"] += home_mb << 20  # files are memory, and count on top
    made["HostConfig"]["MemorySwap"] += home_mb << 20
    made["HostConfig"]["Tmpfs"][home] = f"{_in_memory(home_mb, place.uid)},exec"
    return made


def _container(
    spec: InstanceSpec,
    place: Place,
    *,
    command: Sequence[str],
    env: Mapping[str, str],
    mounts: Sequence[Mapping[str, Any]],
    **more: Any,
) -> dict[str, Any]:
    memory_bytes = spec.memory_mb << 20
    return {
        **more,
        "Image": place.image,
        "Hostname": "sandbox",
        "User": f"{place.uid}:{place.uid}",
        "Entrypoint": [GUEST, "--connect", f"{DOOR_DIR}/{SOCKET_NAME}"],
        "Cmd": list(command),
        "Env": [f"{name}={value}" for name, value in env.items()],
        "Labels": {
            PLATFORM_LABEL: place.platform,
            "constellation.tenant": spec.tenant,
            "constellation.namespace": spec.namespace,
            "constellation.function": spec.function_name,
            "constellation.instance": place.instance,
        },
        "Healthcheck": {"Test": ["NONE"]},  # an image's own would run beside the handler
        "NetworkDisabled": True,
        "HostConfig": {
            "NetworkMode": "none",
            "IpcMode": "private",
            "CgroupnsMode": "private",
            "ReadonlyRootfs": True,
            "Privileged": False,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges:true"],
            "Sysctls": {"net.ipv4.ip_unprivileged_port_start": "1024"},  # Docker's is 0
            "Memory": memory_bytes,
            "MemorySwap": memory_bytes,  # both together: no swap
            "CpuPeriod": _CPU_PERIOD_US,
            "CpuQuota": max(1000, spec.cpu_millis * _CPU_PERIOD_US // 1000),  # the kernel's least
            "PidsLimit": spec.max_pids,
            "Ulimits": [
                {"Name": "nofile", "Soft": _OPEN_FILES, "Hard": _OPEN_FILES},
                {"Name": "core", "Soft": 0, "Hard": 0},
            ],
            "MaskedPaths": _MASKED,
            # the user's own, since runc takes the mode of the image's directory over ours
            "Tmpfs": {
                "/tmp": f"{_in_memory(spec.tmp_mb, place.uid)},exec",  # noqa: S108 (as above)
                "/dev/shm": f"{_in_memory(min(place.shm_mb, spec.tmp_mb), place.uid)},noexec",  # noqa: S108 (as above)
            },
            "Mounts": [
                _read_only(place.door_dir, DOOR_DIR),
                *mounts,
                *(_read_only(place.guest_dir / name, f"/etc/{name}") for name in NAMES),
            ],
            "LogConfig": {"Type": "none"},  # what it prints comes to us by a pipe of ours, within bounds of ours
            "RestartPolicy": {"Name": "no"},
        },
    }


def _in_memory(size_mb: int, uid: int) -> str:
    return f"rw,nosuid,nodev,mode=1777,uid={uid},gid={uid},size={size_mb << 20},nr_inodes={_INODES}"


def _read_only(source: Path, target: str) -> Mapping[str, Any]:
    return {
        "Type": "bind",
        "Source": str(source),
        "Target": target,
        "ReadOnly": True,
        "BindOptions": {"Propagation": "rprivate"},
    }
