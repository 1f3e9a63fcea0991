"""Objectives of functions: set, shown, taken back, and how the calls of now do."""

from __future__ import annotations

from typing import Any

from msgspec import structs

from constellation.nova.api.request import ApiRequest
from constellation.nova.domain.function import Function
from constellation.nova.domain.slo import (
    NO_SLO,
    Objective,
    Slo,
    SloPolicy,
    Snapshot,
    breaches_of,
    check_slo,
    has_enough,
)
from constellation.nova.store.functions import Functions
from constellation.nova.store.slos import Slos
from constellation.routes.models.slos import SloBreach, SloObjectives, SloPolicyBody, SloSnapshot, SloStatus


class SloRoutes:
    """Operations on the objectives of the functions of the caller's namespace."""

    def __init__(self, functions: Functions, slos: Slos) -> None:
        self._functions, self._slos = functions, slos

    async def get_slo(self, call: ApiRequest[None]) -> SloPolicyBody:
        return _body((await self._slos.get(await self._function(call))).policy)

    async def put_slo(self, call: ApiRequest[SloPolicyBody]) -> SloPolicyBody:
        given = structs.asdict(call.body)
        policy = SloPolicy(**structs.asdict(given.pop("objectives")), **given)
        check_slo(policy)
        await self._slos.put(await self._function(call), policy)
        return _body(policy)

    async def delete_slo(self, call: ApiRequest[None]) -> SloPolicyBody:
        await self._slos.delete(await self._function(call))
        return _body(NO_SLO)

    async def slo_status(self, call: ApiRequest[None]) -> SloStatus:
        slo = await self._slos.get(await self._function(call))
        snapshot = await self._slos.snapshot(slo)
        policy, is_enough = slo.policy, has_enough(slo.policy, snapshot)
        breaches = breaches_of(policy, snapshot) if policy.enabled else ()
        return SloStatus(
            function=slo.function_name,
            enabled=policy.enabled,
            state=_state(slo, is_enough=is_enough),
            breached=sorted(each.value for each in slo.breached),
            breached_at=slo.breached_at,
            policy=_body(policy),
            snapshot=_snapshot(snapshot),
            has_enough_samples=is_enough,
            breaches=[SloBreach(objective=e.objective.value, limit=e.limit, actual=e.actual) for e in breaches],
        )

    async def _function(self, call: ApiRequest[Any]) -> Function:
        return await self._functions.get(*call.scope, call.params["name"])


def _state(slo: Slo, *, is_enough: bool) -> str:
    if not slo.policy.enabled:
        return "off"
    if slo.breached:
        return "breached"
    return "met" if is_enough else "unknown"


def _body(policy: SloPolicy) -> SloPolicyBody:
    return SloPolicyBody(
        enabled=policy.enabled,
        window_s=policy.window_s,
        min_samples=policy.min_samples,
        objectives=SloObjectives(**{each.value: policy.limits.get(each) for each in Objective}),
    )


def _snapshot(snapshot: Snapshot) -> SloSnapshot:
    return SloSnapshot(
        since=snapshot.since,
        until=snapshot.until,
        calls=snapshot.calls,
        errors=snapshot.errors,
        cold_starts=snapshot.cold_starts,
        **{each.value: snapshot.actual(each) for each in Objective},
    )
