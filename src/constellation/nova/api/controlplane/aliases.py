"""Aliases of functions: which versions a name stands for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from msgspec import UNSET

from constellation.base.errors import InvalidRequest
from constellation.nova.api.request import ApiRequest
from constellation.nova.domain.alias import WHOLE, Alias, check_alias_name, shares_of
from constellation.nova.domain.function import Function
from constellation.nova.store.aliases import Aliases
from constellation.nova.store.canaries import Canaries
from constellation.nova.store.functions import Functions
from constellation.nova.store.page import Page as Found
from constellation.routes.models.functions import Deleted
from constellation.routes.models.paging import Page
from constellation.routes.models.versions import AliasBody, AliasPromote, AliasPut
from constellation.routes.reading import page_of


class AliasRoutes:
    """Operations on the aliases of functions of the caller's namespace."""

    def __init__(self, functions: Functions, aliases: Aliases, canaries: Canaries) -> None:
        self._functions, self._aliases, self._canaries = functions, aliases, canaries

    async def list_aliases(self, call: ApiRequest[None]) -> Page[AliasBody]:
        function = await self._function(call)
        every = await self._aliases.list(function.tenant, function.id)
        window = call.window
        found = Found(items=every[window.offset : window.offset + window.limit], total=len(every))
        return page_of(found, window, lambda alias: _body(function, alias))

    async def get_alias(self, call: ApiRequest[None]) -> AliasBody:
        function = await self._function(call)
        return _body(function, await self._aliases.get(function.tenant, function.id, call.params["alias"]))

    async def put_alias(self, call: ApiRequest[AliasPut]) -> AliasBody:
        body, name = call.body, check_alias_name(call.params["alias"])
        function = await self._function(call)
        await self._canaries.refuse_moving(function.tenant, function.id, name)
        if (body.version is UNSET) == (body.weights is UNSET):
            raise InvalidRequest("give exactly one of version and weights", field="weights")
        weights = body.weights if body.version is UNSET else {body.version: WHOLE}
        assert weights is not UNSET
        alias = Alias(name=name, shares=shares_of(weights), is_sticky=body.is_sticky, description=body.description)
        return _body(function, await self._aliases.put(function.tenant, function.id, alias))

    async def promote_alias(self, call: ApiRequest[AliasPromote]) -> AliasBody:
        function, wanted = await self._function(call), call.body.version
        alias = await self._aliases.get(function.tenant, function.id, call.params["alias"])
        await self._canaries.refuse_moving(function.tenant, function.id, alias.name)
        version = max(alias.versions) if wanted is UNSET else wanted
        promoted = replace(alias, shares=shares_of({version: WHOLE}))
        return _body(function, await self._aliases.put(function.tenant, function.id, promoted))

    async def delete_alias(self, call: ApiRequest[None]) -> Deleted:
        function, name = await self._function(call), call.params["alias"]
        await self._canaries.refuse_moving(function.tenant, function.id, name)
        await self._aliases.delete(function.tenant, function.id, name)
        return Deleted(status="deleted", name=name)

    async def _function(self, call: ApiRequest[Any]) -> Function:
        return await self._functions.get(*call.scope, call.params["name"])


def _body(function: Function, alias: Alias) -> AliasBody:
    assert alias.created_at is not None
    assert alias.updated_at is not None
    return AliasBody(
        function=function.name,
        alias=alias.name,
        weights={share.version: share.weight for share in alias.shares},
        is_sticky=alias.is_sticky,
        description=alias.description,
        created_at=alias.created_at,
        updated_at=alias.updated_at,
    )
