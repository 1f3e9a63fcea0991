"""Tiers, quotas and usage, as calls."""

from __future__ import annotations

from constellation.client.call import Call, call, page_call
from constellation.routes.models import functions as f
from constellation.routes.models import quotas as q
from constellation.routes.models.paging import DEFAULT_LIMIT, Page


def list_quotas(tenant: str, *, page_size: int = DEFAULT_LIMIT) -> Call[Page[q.QuotaBody]]:
    """A tenant's limits, its own and its tier's."""
    return page_call("list_quotas", q.QuotaBody, page_size=page_size, params={"tenant": tenant})


def put_quota(tenant: str, dimension: str, quota: q.QuotaSet) -> Call[q.QuotaBody]:
    """Give a tenant a limit of its own."""
    return call("put_quota", q.QuotaBody, params={"tenant": tenant, "dimension": dimension}, body=quota)


def delete_quota(tenant: str, dimension: str) -> Call[q.QuotaBody]:
    """Have the tier's limit be the tenant's again."""
    return call("delete_quota", q.QuotaBody, params={"tenant": tenant, "dimension": dimension})


def list_usage(tenant: str, *, page_size: int = DEFAULT_LIMIT) -> Call[Page[q.UsageBody]]:
    """What a tenant uses of what it may."""
    return page_call("list_usage", q.UsageBody, page_size=page_size, params={"tenant": tenant})


def list_tiers(*, page_size: int = DEFAULT_LIMIT) -> Call[Page[q.TierBody]]:
    """Tiers by name, with their limits."""
    return page_call("list_tiers", q.TierBody, page_size=page_size)


def put_tier(tier: str, limits: q.TierPut) -> Call[q.TierBody]:
    """Make a tier, or change one."""
    return call("put_tier", q.TierBody, params={"tier": tier}, body=limits)


def delete_tier(tier: str) -> Call[f.Deleted]:
    """Delete a tier that no tenant has."""
    return call("delete_tier", f.Deleted, params={"tier": tier})
