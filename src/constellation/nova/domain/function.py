"""A function: what it is, what it may use, and what its guard chain lets through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Protocol
from uuid import UUID

from constellation.nova.domain.ingress import OPEN_TO_ALL, IngressPolicy
from constellation.nova.domain.layer_pin import LayerPin
from constellation.nova.domain.network import NO_NETWORK, NetworkPolicy
from constellation.nova.domain.result_target import NO_DESTINATIONS, Destinations
from constellation.nova.domain.volume_mount import VolumeMount

MAX_CODE_BYTES = 10 << 20
MAX_CODE_FILES = 1000
MAX_SYNC_PAYLOAD_BYTES = 6 << 20
DEFAULT_MEMORY_MB = 128
DEFAULT_KEPT_VERSIONS = 100  # chosen: a busy month; each holds its code, 10 MiB at most
MAX_ASYNC_PAYLOAD_BYTES = 1 << 20
MAX_CALL_DEPTH = 32
AUTO_BACKEND = "auto"  # the node chooses


class Mode(StrEnum):
    """What an instance is for."""

    PROCESS = "process"  # one call after the other, in a warm process
    ISOLATED = "isolated"  # one call: nothing that it leaves behind meets another


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
class PendingCode:
    """Code that was deployed and is not live yet, since it must be built first. Calls go to the live version."""

    version: int
    hash: str  # of its sources
    handler: str  # becomes the function's when it is live
    error: str | None = None  # why its build failed, first lines; None while there is hope


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
    memory_mb: int = DEFAULT_MEMORY_MB
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
    mode: Mode = Mode.PROCESS
    log_retention_days: int = 0  # of its calls' rows in the log; 0: the platform's. Never longer than that
    backend: str = AUTO_BACKEND  # the isolator of its instances, by name
    preload: tuple[str, ...] = ()  # modules of its code that are imported before an instance is forked
    layers: tuple[LayerPin, ...] = ()  # merged on /opt, later over earlier
    mounts: tuple[VolumeMount, ...] = ()
    async_destinations: Destinations = NO_DESTINATIONS
    network: NetworkPolicy = NO_NETWORK
    ingress: IngressPolicy = OPEN_TO_ALL  # known of a function that was read by its name, or to be kept warm
    code_version: int = 0  # of the code that runs; 0: none was built yet
    code_hash: str = ""  # SHA-256 of its sources, hex
    pending: PendingCode | None = None  # newer than what runs
    kept_versions: int = DEFAULT_KEPT_VERSIONS  # of the newest; the live one is kept beside them
    tags: Mapping[str, str] = field(default_factory=dict)  # for whoever looks for it; no call knows them
    live_version: int = 0  # what calls run; 0: there is no code that runs
    pin: int = 0  # the same number when this is a version that is served beside the live one; 0: it is the live one
    newest_version: int = 0  # the number that was given last
    newest_code_version: int = 0  # the same of its code
    version: int = 1  # of the row; moves with each change
    created_at: datetime | None = None  # both are None until the row is written
    updated_at: datetime | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.tenant, self.namespace, self.name)

    @property
    def slot(self) -> tuple[UUID, int]:
        """Under what a comet keeps it: the live version, and each that is served beside it, have instances of their own."""
        return (self.id, self.pin)

    @property
    def is_runnable(self) -> bool:
        """Is there code that runs? False while the first waits for its build."""
        return self.code_version > 0 or self.pending is None

    @property
    def deployed_version(self) -> int:
        """The newest version of the code, live or not."""
        return self.code_version if self.pending is None else self.pending.version

    @property
    def deployed_hash(self) -> str:
        return self.code_hash if self.pending is None else self.pending.hash

    @property
    def deployed_handler(self) -> str:
        return self.handler if self.pending is None else self.pending.handler


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """One version of a function's code: its sources, or the tree that was built from them."""

    function_id: UUID
    version: int
    hash: str  # of the sources
    files: Mapping[str, bytes]  # the sources; empty for a built version unless they were asked for
    artifact: str | None = None  # SHA-256 of what was built; None: the sources run as they are


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One file of a function's code, without what is in it."""

    path: str
    size_bytes: int


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...


def code_hash(files: Mapping[str, bytes]) -> str:
    """Return the SHA-256 of a function's files, hex.

    Paths and contents go in with their lengths and in the order of their paths, so no two sets of files meet.
    """
    digest = sha256()
    for path in sorted(files):
        feed_file(digest, path, files[path])
    return digest.hexdigest()


def feed_file(digest: _Digest, path: str, content: bytes) -> None:
    """Add the next file, in the order of paths, to a hash that becomes a `code_hash`."""
    name = path.encode()
    digest.update(b"%d:%s%d:" % (len(name), name, len(content)))
    digest.update(content)
