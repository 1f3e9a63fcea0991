"""What the wasm backend is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class WasmSettings:
    code_root: Path  # below it, a directory for each tenant, which the tenant's worker may read
    idle_s: float = 60.0  # a worker without an instance is kept so long
    start_s: float = 10.0  # making a worker
    destroy_s: float = 5.0  # until an instance that does not end costs its tenant the worker
    own_mb: int = 96  # of a worker, on top of what its functions may have: measured 20, and the files of /tmp
    tmp_mb: int = 64  # what all calls of a tenant may write to their /tmp at a time
