"""What a new tenant begins with, written together with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from constellation.nova.domain.function import Function
from constellation.nova.domain.people import Binding
from constellation.nova.store import bindings, functions, service_accounts
from constellation.nova.store.pool import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantSeed:
    """A function with its code, service accounts with their descriptions, and what roles they have."""

    function: Function
    files: Mapping[str, bytes]
    accounts: Mapping[str, str]
    bindings: Sequence[Binding]


async def plant(tx: Session, seed: TenantSeed) -> None:
    """Write a seed in the transaction that makes its tenant."""
    for name, description in seed.accounts.items():
        await tx.execute(service_accounts.SQL["insert"], seed.function.tenant, name, description)
    for binding in seed.bindings:
        await bindings.insert(tx, binding)
    await functions.plant(tx, seed.function, seed.files)
