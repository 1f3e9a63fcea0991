"""What turns a function's sources into what runs, and what it says while it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import UUID

from constellation.base.errors import ConstellationError


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    build_id: UUID
    tenant: str
    namespace: str
    function_id: UUID
    function_name: str
    runtime: str
    handler: str
    sources: Path  # on the host; read-only
    output: Path  # an empty directory on the host; afterwards the tree that becomes /code
    memory_mb: int = 2048
    cpu_millis: int = 2000
    disk_mb: int = 1024
    timeout_s: float = 600.0


class BuildFailed(ConstellationError):
    """The user's own mistake: a compile error, an unknown dependency, more than a limit."""

    code, http_status = "build_failed", 422

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class BuilderUnavailable(ConstellationError):
    """The host lacks the toolchain; the message says exactly what is missing."""

    code, http_status = "builder_unavailable", 503

    def __init__(self, runtime: str, *, reason: str) -> None:
        super().__init__(f"nothing can build {runtime} here: {reason}", extras={"runtime": runtime})
        self.runtime, self.reason = runtime, reason


class Builder(Protocol):
    async def find(self) -> None:
        """Look for the tools on this host, and remove what a killed run left. Once, before anything else."""
        ...

    def toolchain(self, runtime: str) -> str:
        """Return name and version of what builds a runtime; a part of the cache key.

        Raises:
            BuilderUnavailable: the host lacks it.
        """
        ...

    async def build(self, request: BuildRequest, *, log: Callable[[bytes], None]) -> str | None:
        """Fill `request.output`. If cancelled, everything that was started has ended before control returns.

        Returns the handler that the code has from now on; None: the one it was deployed with.

        Raises:
            BuildFailed, BuilderUnavailable
        """
        ...
