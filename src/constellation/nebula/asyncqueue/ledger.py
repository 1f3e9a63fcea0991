"""What the queue needs of the store. Errors are `ConstellationError`s that may pass; nothing is half written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from constellation.nova.store.jobs import ClaimedJob, Completion, Failure


class JobLedger(Protocol):
    """Every write is conditional on the claim's token and answers with the ids that it wrote."""

    async def claim(self, *, owner: str, lease_s: float, limit: int) -> tuple[ClaimedJob, ...]: ...

    async def renew(self, claims: Sequence[ClaimedJob], *, lease_s: float) -> frozenset[UUID]: ...

    async def complete(self, results: Sequence[Completion]) -> frozenset[UUID]: ...

    async def fail(self, failures: Sequence[Failure]) -> frozenset[UUID]: ...

    async def suspend(self, claims: Sequence[ClaimedJob]) -> frozenset[UUID]: ...

    async def release(self, claims: Sequence[ClaimedJob], *, delay_s: float = 0.0) -> frozenset[UUID]: ...

    async def seconds_to_next(self) -> float | None: ...
