"""Canaries: begin one, see how it does, end it."""

from __future__ import annotations

from typing import Any

from constellation.base.errors import InvalidRequest, StateConflict
from constellation.base.ids import uuid7
from constellation.nova.api.request import ApiRequest
from constellation.nova.domain.canary import Canary, CanaryState, Sample, Verdict, check_steps
from constellation.nova.domain.function import Function
from constellation.nova.store.aliases import Aliases
from constellation.nova.store.canaries import Canaries
from constellation.nova.store.functions import Functions
from constellation.routes.models.canaries import CanaryBody, CanaryDetail, CanarySample, CanaryStart
from constellation.routes.models.paging import Page
from constellation.routes.reading import page_of


class CanaryRoutes:
    """Operations on the canaries of functions of the caller's namespace."""

    def __init__(self, functions: Functions, aliases: Aliases, canaries: Canaries) -> None:
        self._functions, self._aliases, self._canaries = functions, aliases, canaries

    async def start_canary(self, call: ApiRequest[CanaryStart]) -> CanaryBody:
        body, function = call.body, await self._function(call)
        alias = await self._aliases.get(function.tenant, function.id, body.alias)
        if len(alias.shares) != 1:
            raise StateConflict("alias", alias.name, state="divided", wanted="at one version: promote that first")
        old = alias.shares[0].version
        if old == body.version:
            raise InvalidRequest(f"alias {alias.name!r} is at version {old} already", field="version")
        canary = Canary(
            tenant=function.tenant,
            namespace=function.namespace,
            function_id=function.id,
            function_name=function.name,
            id=uuid7(),
            alias=alias.name,
            old_version=old,
            new_version=body.version,
            steps=check_steps(body.steps),
            step_s=body.step_s,
            min_calls=body.min_calls,
            max_error_percent=body.max_error_percent,
            max_p95_ratio=body.max_p95_ratio,
        )
        return _body(await self._canaries.begin(canary, alias))

    async def get_canary(self, call: ApiRequest[None]) -> CanaryDetail:
        function = await self._function(call)
        canary = await self._canaries.newest(function.tenant, function.id)
        old, new = Sample(), Sample()
        if canary.state is CanaryState.RUNNING:
            old, new = await self._canaries.samples(canary)
        return CanaryDetail(**_facts(canary), old=_sample(old), new=_sample(new))

    async def list_canaries(self, call: ApiRequest[None]) -> Page[CanaryBody]:
        function = await self._function(call)
        window = call.window
        found = await self._canaries.list(function.tenant, function.id, limit=window.limit, offset=window.offset)
        return page_of(found, window, _body)

    async def cancel_canary(self, call: ApiRequest[None]) -> CanaryBody:
        return await self._end(call, CanaryState.CANCELLED)

    async def promote_canary(self, call: ApiRequest[None]) -> CanaryBody:
        return await self._end(call, CanaryState.PROMOTED)

    async def _end(self, call: ApiRequest[Any], state: CanaryState) -> CanaryBody:
        function = await self._function(call)
        while True:
            canary = await self._canaries.newest(function.tenant, function.id)
            if canary.state is not CanaryState.RUNNING:
                raise StateConflict("canary", canary.alias, state=canary.state.value, wanted="running")
            verdict = Verdict(state=state, step=canary.step, reason=f"{state.value} by {call.identity.subject}")
            if await self._canaries.settle(canary, verdict):  # else it moved on between the two
                return _body(await self._canaries.newest(function.tenant, function.id))

    async def _function(self, call: ApiRequest[Any]) -> Function:
        return await self._functions.get(*call.scope, call.params["name"])


def _body(canary: Canary) -> CanaryBody:
    return CanaryBody(**_facts(canary))


def _facts(canary: Canary) -> dict[str, Any]:
    is_running = canary.state is CanaryState.RUNNING
    return {
        "id": canary.id,
        "function": canary.function_name,
        "alias": canary.alias,
        "old_version": canary.old_version,
        "new_version": canary.new_version,
        "state": canary.state.value,
        "reason": canary.reason,
        "percent": canary.steps[canary.step] if is_running else 100 * (canary.state is CanaryState.PROMOTED),
        "step": canary.step,
        "steps": list(canary.steps),
        "step_s": canary.step_s,
        "min_calls": canary.min_calls,
        "max_error_percent": canary.max_error_percent,
        "max_p95_ratio": canary.max_p95_ratio,
        "stepped_at": canary.stepped_at,
        "created_at": canary.created_at,
        "ended_at": canary.ended_at,
    }


def _sample(sample: Sample) -> CanarySample:
    return CanarySample(calls=sample.calls, errors=sample.errors, p95_ms=sample.p95_ms)
