"""What the comets of this platform can, as they said when they started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from constellation.nova.domain.function import AUTO_BACKEND
from constellation.nova.store.pool import Database
from constellation.nova.store.queries import load

SQL = load("executors")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendAbility:
    """What one backend of one comet can, as far as it decides what may be deployed."""

    name: str
    is_available: bool
    egress_reason: str  # empty: its instances can reach a network


class Executors:
    """The table executor_backends."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def tell(self, node: str, abilities: Sequence[BackendAbility]) -> None:
        """Replace what the comet of a node said."""
        async with self._db.transaction() as tx:
            await tx.execute(SQL["forget"], node)
            await tx.execute(
                SQL["tell"],
                node,
                [each.name for each in abilities],
                [each.is_available for each in abilities],
                [each.egress_reason for each in abilities],
            )

    async def egress_refusal(self, backend: str) -> str:
        """Return why no comet can give functions of a backend a network; "" when one can, or none has said anything."""
        reason: str | None = await self._db.fetch_value(SQL["egress"], None if backend == AUTO_BACKEND else backend)
        return reason or ""
