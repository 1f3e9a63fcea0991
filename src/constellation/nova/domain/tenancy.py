"""Tenants and the namespaces that divide them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class TenantStatus(StrEnum):
    ACTIVE = "active"
    SUSPENDED = "suspended"  # may read, may neither write nor invoke


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """One row of `tenants`."""

    id: str
    name: str  # for people
    status: TenantStatus
    tier: str  # whose limits it has, but for its own
    version: int  # of the row; moves with each change
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """One row of `namespaces`."""

    tenant: str
    name: str
    created_at: datetime
