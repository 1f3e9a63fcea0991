"""A build: what a version of a function's code goes through before it can run, and which code needs one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from uuid import UUID

import msgspec

from constellation.nova.domain.runtimes import RuntimeInfo

MAX_LOG_BYTES = 256 << 10  # of one build, all its attempts together
MAX_ATTEMPTS = 3  # a worker that died under it is not the build's fault; three are
MAX_ERROR_CHARS = 4000
MAX_STATED_CHARS = 500  # of it, what a refused call repeats
STATED_LINES = 5

# A file by this name is a manifest: it asks for a build only when it names a dependency under one of these keys.
_MANIFESTS: Mapping[str, tuple[str, ...]] = {"package.json": ("dependencies", "optionalDependencies")}


class BuildState(StrEnum):
    PENDING = "pending"
    COMPILING = "compiling"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        return self in (BuildState.SUCCESS, BuildState.FAILED, BuildState.CANCELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One row of `builds`; its log is read apart."""

    tenant: str
    namespace: str
    id: UUID
    function_id: UUID
    function_name: str
    code_version: int
    code_hash: str  # of the sources
    runtime: str
    handler: str
    state: BuildState
    error: str | None
    attempt: int
    is_cached: bool  # what an equal build made before was taken
    artifact: str | None  # SHA-256 of the tree it made
    log_bytes: int
    log_truncated: bool
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOutline:
    """What is shown of a build with its function."""

    id: UUID
    code_version: int
    state: BuildState
    error: str | None


def needs_build(runtime: RuntimeInfo, files: Mapping[str, bytes]) -> bool:
    """Must these sources be built before they can run: is it a compiled language, or do they name dependencies?"""
    if runtime.is_compiled:
        return True
    return any(_asks(name, files[name]) for name in runtime.lock_files if name in files)


def _asks(name: str, content: bytes) -> bool:
    keys = _MANIFESTS.get(name)
    if keys is None:
        return bool(content.strip())
    try:
        manifest = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
        return any(bool(msgspec.json.decode(manifest[key])) for key in keys if key in manifest)
    except msgspec.MsgspecError:
        return True  # a builder that is shown it says what is wrong with it, in the build's log


def cache_key(*, toolchain: str, runtime: str, handler: str, code_hash: str) -> str:
    """Return what two builds of one tenant must share for one of them to be enough."""
    return sha256(msgspec.json.encode([toolchain, runtime, handler, code_hash])).hexdigest()


def stated(error: str) -> str:
    """Return the first lines of a build's error, for whoever calls a function that has nothing else to say."""
    return "\n".join(error.strip().splitlines()[:STATED_LINES])[:MAX_STATED_CHARS]
