"""A function: what it is, what it may use, and what its guard chain lets through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from uuid import UUID

MAX_CODE_BYTES = 10 << 20
MAX_CODE_FILES = 1000
MAX_SYNC_PAYLOAD_BYTES = 6 << 20
MAX_ASYNC_PAYLOAD_BYTES = 1 << 20
MAX_CALL_DEPTH = 32
AUTO_BACKEND = "auto"  # the node chooses


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityPolicy:
    """How many calls a function may have in hand and in line, on one comet."""

    max_inflight: int = 0  # calls running; 0: only the number of instances bounds them
    max_queue_depth: int = 1000  # callers in line for an instance
    max_queue_wait_s: float = 30.0
    shed_status_code: int = 429  # 429 or 503
    retry_after_s: int = 1
    breaker_error_percent: int = 0  # of a window's calls that fail; 0: the breaker never opens
    breaker_min_samples: int = 20  # a window with fewer calls says nothing
    breaker_window_s: float = 10.0
    breaker_open_s: float = 5.0  # then probes are let through
    breaker_probes: int = 1  # calls at a time while it is half open


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One row of `functions`, as every plane reads it."""

    tenant: str
    namespace: str
    name: str
    id: UUID
    runtime: str
    handler: str
    description: str = ""
    memory_mb: int = 128
    cpu_millis: int = 1000  # thousandths of one core
    max_pids: int = 64
    timeout_s: float = 30.0  # one call
    init_timeout_s: float = 10.0  # loading the code
    min_replicas: int = 0
    max_replicas: int = 10
    instance_concurrency: int = 1
    max_payload_bytes: int = MAX_SYNC_PAYLOAD_BYTES
    halted: bool = False
    capacity: CapacityPolicy = field(default_factory=CapacityPolicy)
    env: Mapping[str, str] = field(default_factory=dict)
    backend: str = AUTO_BACKEND  # the isolator of its instances, by name
    preload: tuple[str, ...] = ()  # modules of its code that are imported before an instance is forked
    code_version: int = 0
    code_hash: str = ""  # SHA-256 of the code, hex
    version: int = 1  # of the row; moves with each change
    created_at: datetime | None = None  # both are None until the row is written
    updated_at: datetime | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.tenant, self.namespace, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """The files of one version of a function's code."""

    function_id: UUID
    version: int
    hash: str
    files: Mapping[str, bytes]


def code_hash(files: Mapping[str, bytes]) -> str:
    """Return the SHA-256 of a function's files, hex.

    Paths and contents go in with their lengths and in the order of their paths, so no two sets of files meet.
    """
    digest = sha256()
    for path in sorted(files):
        name = path.encode()
        digest.update(b"%d:%s%d:" % (len(name), name, len(files[path])))
        digest.update(files[path])
    return digest.hexdigest()
