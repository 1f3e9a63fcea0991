"""What tenants may use, and what they use."""

from __future__ import annotations

from constellation.nova.domain.access import Permission
from constellation.routes.models import quotas as q
from constellation.routes.models.functions import Deleted
from constellation.routes.models.paging import Page
from constellation.routes.route import PAGING, Route, nova

P = Permission
_QUOTAS = "/tenants/{tenant}/quotas"

QUOTAS: tuple[Route, ...] = (
    nova("list_quotas", "GET", _QUOTAS, P.TENANT_READ, "A tenant's limits, its own and its tier's",
         response=Page[q.QuotaBody], query=PAGING),
    nova("put_quota", "PUT", _QUOTAS + "/{dimension}", P.TENANT_MANAGE,
         "Give a tenant a limit of its own; for platform administrators", request=q.QuotaSet, response=q.QuotaBody),
    nova("delete_quota", "DELETE", _QUOTAS + "/{dimension}", P.TENANT_MANAGE,
         "Have the tier's limit be the tenant's again; for platform administrators", response=q.QuotaBody),
    nova("list_usage", "GET", "/tenants/{tenant}/usage", P.TENANT_READ, "What a tenant uses of what it may",
         response=Page[q.UsageBody], query=PAGING),
    nova("list_tiers", "GET", "/tiers", P.TENANT_READ, "Tiers by name, with their limits", response=Page[q.TierBody],
         query=PAGING),
    nova("put_tier", "PUT", "/tiers/{tier}", P.TENANT_MANAGE,
         "Make a tier, or change one; its tenants have its limits at once; for platform administrators",
         request=q.TierPut, response=q.TierBody),
    nova("delete_tier", "DELETE", "/tiers/{tier}", P.TENANT_MANAGE,
         "Delete a tier that no tenant has; for platform administrators", response=Deleted),
)  # fmt: skip
