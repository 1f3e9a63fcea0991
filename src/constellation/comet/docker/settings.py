"""What the docker backend is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from constellation.nova.config.sections import DockerBackendSettings, DockerFunctionSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSettings:
    """Which images functions may be, and how they come to this host."""

    pull: str = "never"  # or "missing": what is not here; "always": at each deployment
    pull_s: float = 600.0  # one pull
    allowed: tuple[str, ...] = ("*",)  # patterns of names; {tenant} in one is the function's
    credentials: Path | None = None  # a file as `docker login` writes it

    @classmethod
    def of(cls, section: DockerFunctionSettings) -> ImageSettings:
        return cls(
            pull=section.pull,
            pull_s=section.timeout_s,
            allowed=tuple(section.allowed.split()),
            credentials=Path(section.credentials) if section.credentials else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerSettings:
    """`platform` is what our containers are known by; it must differ between the executors of one host."""

    run_dir: Path  # 0700, of this executor alone, and where the daemon sees it under the same path
    platform: str
    socket: Path
    images: Mapping[str, str]  # runtime id -> image
    functions: ImageSettings = ImageSettings()
    uid_base: int  # the user of the first container; each has one of its own, as kernels count some things by user
    resolv_conf: Path = Path("/etc/resolv.conf")  # whose name servers are asked for what functions may ask
    shm_mb: int = 16
    call_s: float = 10.0  # one request to the daemon
    probe_s: float = 5.0  # whether it answers at all
    look_s: float = 30.0  # between looks at it, and for containers that nobody knows
    destroy_s: float = 8.0  # a container's removal; shorter than the pool's patience
    exit_note_s: float = 3.0  # from the end of a channel to the daemon's word that its container has ended

    @classmethod
    def of(cls, section: DockerBackendSettings, *, run_dir: Path, platform: str, uid_base: int) -> DockerSettings:
        return cls(
            run_dir=run_dir,
            platform=platform,
            socket=Path(section.socket),
            images={each.name: getattr(section.image, each.name) for each in fields(section.image)},
            functions=ImageSettings.of(section.functions),
            uid_base=uid_base,
        )
