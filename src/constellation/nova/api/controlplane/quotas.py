"""Tiers, quotas and usage. Everybody sees what limits its own tenant; the platform's administrators set it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from constellation.base.clock import Clock
from constellation.base.errors import InvalidRequest
from constellation.nova.api.request import ApiRequest
from constellation.nova.domain.quota import (
    ABOUT,
    PERIODS,
    Dimension,
    Limit,
    Tier,
    check_dimension,
    check_limit,
    period_end,
)
from constellation.nova.domain.scope import check_platform, check_tenant
from constellation.nova.store import page as store
from constellation.nova.store.quotas import LimitedTenant, Quotas
from constellation.routes.models.functions import Deleted
from constellation.routes.models.paging import Page
from constellation.routes.models.quotas import QuotaBody, QuotaSet, TierBody, TierLimit, TierPut, UsageBody
from constellation.routes.reading import page_of

T = TypeVar("T")
_TIER = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class QuotaRoutes:
    """Operations on what tenants may use."""

    def __init__(self, quotas: Quotas, *, clock: Clock) -> None:
        self._quotas, self._clock = quotas, clock

    async def list_quotas(self, call: ApiRequest[None]) -> Page[QuotaBody]:
        found = await self._tenant(call)
        return _dimensions(call, lambda dimension: _quota_body(found, dimension))

    async def put_quota(self, call: ApiRequest[QuotaSet]) -> QuotaBody:
        check_platform(call.identity, "set a tenant's limits")
        tenant, dimension = call.params["tenant"], check_dimension(call.params["dimension"])
        body = call.body
        await self._quotas.put_limit(
            tenant, check_limit(Limit(dimension=dimension, value=body.limit, burst=body.burst, is_own=True))
        )
        return _quota_body(await self._quotas.get(tenant), dimension)

    async def delete_quota(self, call: ApiRequest[None]) -> QuotaBody:
        check_platform(call.identity, "set a tenant's limits")
        tenant, dimension = call.params["tenant"], check_dimension(call.params["dimension"])
        await self._quotas.get(tenant)
        await self._quotas.delete_limit(tenant, dimension)
        return _quota_body(await self._quotas.get(tenant), dimension)

    async def list_usage(self, call: ApiRequest[None]) -> Page[UsageBody]:
        found = await self._tenant(call)
        used = await self._quotas.used(found.tenant.id)
        now = self._clock.now()

        def body(dimension: Dimension) -> UsageBody:
            limit = found.limits.get(dimension)
            return UsageBody(
                dimension=dimension.value,
                about=ABOUT[dimension],
                used=used.get(dimension),
                limit=None if limit is None else limit.value,
                burst=0 if limit is None else limit.burst,
                resets_at=period_end(dimension, now) if dimension in PERIODS else None,
            )

        return _dimensions(call, body)

    async def list_tiers(self, call: ApiRequest[None]) -> Page[TierBody]:
        found = await self._quotas.list_tiers(limit=call.window.limit, offset=call.window.offset)
        return page_of(found, call.window, _tier_body)

    async def put_tier(self, call: ApiRequest[TierPut]) -> TierBody:
        check_platform(call.identity, "change a tier")
        name, body = call.params["tier"], call.body
        if _TIER.fullmatch(name) is None:
            raise InvalidRequest(f"a tier's name must match {_TIER.pattern}", field="tier")
        limits = [
            check_limit(Limit(dimension=Dimension(each.dimension), value=each.limit, burst=each.burst))
            for each in body.limits
        ]
        if len({limit.dimension for limit in limits}) < len(limits):
            raise InvalidRequest("a dimension is there twice", field="limits")
        return _tier_body(await self._quotas.put_tier(name, body.description, limits))

    async def delete_tier(self, call: ApiRequest[None]) -> Deleted:
        check_platform(call.identity, "delete a tier")
        await self._quotas.delete_tier(call.params["tier"])
        return Deleted(status="deleted", name=call.params["tier"])

    async def _tenant(self, call: ApiRequest[None]) -> LimitedTenant:
        check_tenant(call.identity, call.params["tenant"])
        return await self._quotas.get(call.params["tenant"])


def _dimensions(call: ApiRequest[None], body: Callable[[Dimension], T]) -> Page[T]:
    """Return a page of all dimensions, limited or not."""
    every: Sequence[Dimension] = tuple(Dimension)
    at, window = call.window.offset, call.window
    part = tuple(every[at : at + window.limit])
    return page_of(store.Page(items=part, total=len(every), has_more=at + len(part) < len(every)), window, body)


def _quota_body(found: LimitedTenant, dimension: Dimension) -> QuotaBody:
    limit = found.limits.get(dimension)
    return QuotaBody(
        dimension=dimension.value,
        about=ABOUT[dimension],
        limit=None if limit is None else limit.value,
        burst=0 if limit is None else limit.burst,
        source="none" if limit is None else "tenant" if limit.is_own else "tier",
    )


def _tier_body(tier: Tier) -> TierBody:
    return TierBody(
        name=tier.name,
        description=tier.description,
        limits=[
            TierLimit(dimension=limit.dimension.value, limit=limit.value, burst=limit.burst)
            for limit in tier.limits
            if limit.value is not None
        ],
        created_at=tier.created_at,
        updated_at=tier.updated_at,
    )
