"""Whether containers of functions can run here, and what is missing if not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from constellation.comet.docker.engine import Engine, Image, Info

_API = (1, 41)  # Docker 20.10: private cgroup namespaces


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a look at the daemon came to."""

    reason: str  # "" when containers can run
    limits: Mapping[str, str]
    missing_images: Mapping[str, str] = field(default_factory=dict)  # runtime id -> why it can not run
    is_remapped: bool = False  # users in containers are others outside


async def look(engine: Engine, images: Mapping[str, str]) -> Found:
    """Ask the daemon about itself and about the images. The caller bounds the wait.

    Raises:
        EngineFailed: it does not answer.
    """
    version = await engine.api_version()
    if version < _API:
        spoken, wanted = (".".join(map(str, each)) for each in (version, _API))
        return Found(reason=f"the daemon speaks API {spoken}; {wanted} (Docker 20.10) is the least", limits={})
    info = await engine.info()
    found = {runtime: why_not(name, await engine.try_image(name)) for runtime, name in images.items()}
    missing = {runtime: reason for runtime, reason in found.items() if reason}
    return Found(reason=lacks(info), limits=limits_of(info), missing_images=missing, is_remapped=is_remapped(info))


def why_not(name: str, image: Image | None) -> str:
    """Say why no function can run in an image; "" when it can. Pure."""
    if image is None:
        return f"image {name} is not on this host (docker pull {name})"
    if image.volumes:
        return f"image {name} declares volumes ({', '.join(image.volumes)}), which no limit holds for"
    return ""


def lacks(info: Info) -> str:
    """Say what a daemon must have and this one has not. Pure."""
    if info.os_type != "linux":
        return f"the daemon runs containers of {info.os_type or 'an unknown system'}, not of Linux"
    seccomp = [each for each in info.security_options or () if each.startswith("name=seccomp")]
    if not seccomp or any("profile=unconfined" in each for each in seccomp):
        return "the daemon filters no system calls (seccomp)"
    return ""


def limits_of(info: Info) -> dict[str, str]:
    """Say how each limit is enforced. Pure.

    "sockets" is what the kernel holds for TCP connections: a group of v1 counts it apart, and runc sets no limit there.
    """
    means = f"cgroup v{info.cgroup_version}"
    has = {"memory": info.memory_limit, "cpu": info.cpu_cfs_quota, "pids": info.pids_limit}
    has["sockets"] = info.memory_limit and info.cgroup_version != "1"
    return {name: means if is_there else "none" for name, is_there in has.items()}


def is_remapped(info: Info) -> bool:
    """Say whether the daemon gives containers a user namespace. Pure."""
    return any(each.startswith(("name=userns", "name=rootless")) for each in info.security_options or ())
