"""What the namespace backend is told."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from constellation.base.errors import InvalidRequest

SLOTS = 65_536  # host uids from `uid_base` on, one an instance


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceSettings:
    """`group` names the parent of our control groups and must differ between platforms of one host."""

    run_dir: Path  # 0700, of this comet alone
    group: str
    uid_base: int = 1_000_000  # as root: the host uid of the first instance
    kit_dir: Path | None = None  # what workers need that is made once a host; None: of this comet alone
    interpreters: Mapping[str, Path] = field(default_factory=dict)  # runtime id -> another interpreter than the default
    spawn_s: float = 10.0  # making one sandbox
    destroy_s: float = 5.0  # until a killed instance is given up as stuck in the kernel
    memory_watch_s: float = 0.25  # between looks at resident sizes, where no control group limits memory
    shm_mb: int = 16
    tmp_mb: int = 64  # what most instances ask for
    use_cgroups: bool = True
    resolv_conf: Path = Path("/etc/resolv.conf")  # whose name servers are asked for what functions may ask

    @property
    def kits(self) -> Path:
        return self.kit_dir or self.run_dir / "kits"

    def __post_init__(self) -> None:
        if not 1 <= self.uid_base <= 0xFFFF_FFFF - SLOTS:
            raise InvalidRequest(
                f"uid_base {self.uid_base} must leave room for {SLOTS} uids above 0", field="sandbox.uid_base"
            )


def group_name(data_dir: Path) -> str:
    """Return the control group parent of the platform whose data lies there."""
    return "constellation-" + hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()[:12]
