"""Where the specification of an instance comes from."""

from __future__ import annotations

from typing import Protocol

from constellation.comet.backend.contract import InstanceSpec
from constellation.nova.domain.function import Function


class Sources(Protocol):
    """What the pool asks for code."""

    async def acquire(self, function: Function) -> InstanceSpec:
        """Make the code ready on disk and return what to boot; it stays until `release_nowait`."""
        ...

    def release_nowait(self, spec: InstanceSpec) -> None: ...
