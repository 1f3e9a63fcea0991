"""Versions of functions: what they were, how they differ, and back to one."""

from __future__ import annotations

from typing import Any

import anyio
from msgspec import UNSET

from constellation.base.errors import StateConflict
from constellation.nova.api.controlplane.code import code_body
from constellation.nova.api.controlplane.destinations import DestinationUses
from constellation.nova.api.controlplane.functions import function_body, shown
from constellation.nova.api.overtaken import change_function
from constellation.nova.api.request import ApiRequest, Tagged
from constellation.nova.domain.function import Code, Function
from constellation.nova.domain.version import Version, file_changes, setting_changes
from constellation.nova.store.builds import Builds
from constellation.nova.store.functions import Functions
from constellation.nova.store.versions import Versions
from constellation.routes.models.functions import CodeBody, Deleted, FunctionBody
from constellation.routes.models.paging import Page
from constellation.routes.models.versions import (
    FileChangeBody,
    Rollback,
    SettingChangeBody,
    VersionBody,
    VersionDiff,
    VersionSummary,
)
from constellation.routes.reading import number_of, page_of

MAX_VERSION = 2**31 - 1  # what the column holds


class VersionRoutes:
    """Operations on the versions of functions of the caller's namespace."""

    def __init__(self, functions: Functions, versions: Versions, builds: Builds, destinations: DestinationUses) -> None:
        self._functions, self._versions, self._builds = functions, versions, builds
        self._destinations = destinations
        self._comparing = anyio.CapacityLimiter(1)  # comparing long files takes CPU; the loop keeps the other core

    async def list_versions(self, call: ApiRequest[None]) -> Page[VersionSummary]:
        function = await self._function(call)
        found = await self._versions.list(function, limit=call.window.limit, offset=call.window.offset)
        return page_of(found, call.window, _summary)

    async def get_version(self, call: ApiRequest[None]) -> VersionBody:
        await self._function(call)
        return _body(await self._version(call))

    async def get_version_code(self, call: ApiRequest[None]) -> CodeBody:
        await self._function(call)
        return code_body(await self._code((await self._version(call)).function))

    async def diff_versions(self, call: ApiRequest[None]) -> VersionDiff:
        await self._function(call)
        before, after = await self._version(call), await self._version(call, "other")
        settings = setting_changes(before.function, after.function)
        files: tuple[Any, ...] = ()
        if before.function.code_version != after.function.code_version:
            old, new = await self._code(before.function), await self._code(after.function)
            files = await anyio.to_thread.run_sync(file_changes, old.files, new.files, limiter=self._comparing)
        return VersionDiff(
            function=before.function.name,
            version=before.number,
            other=after.number,
            changes=[SettingChangeBody(field=each.field, before=each.before, after=each.after) for each in settings],
            files=[FileChangeBody(path=each.path, state=each.state.value, diff=each.diff) for each in files],
        )

    async def activate_version(self, call: ApiRequest[None]) -> Tagged[FunctionBody]:
        return await self._activate(call, _number(call, "version"))

    async def rollback_function(self, call: ApiRequest[Rollback]) -> Tagged[FunctionBody]:
        return await self._activate(call, None if call.body.version is UNSET else call.body.version)

    async def delete_version(self, call: ApiRequest[None]) -> Deleted:
        function, number = await self._function(call), _number(call, "version")
        await self._versions.delete(function.tenant, function.id, number)
        return Deleted(status="deleted", name=str(number))

    async def _activate(self, call: ApiRequest[Any], number: int | None) -> Tagged[FunctionBody]:
        async def change(function: Function) -> Function:
            wanted = await self._versions.before_live(function) if number is None else number
            if wanted is None:
                raise StateConflict(
                    "function",
                    function.name,
                    state=f"at version {function.live_version}",
                    wanted="at one with an older one kept",
                )
            was = (await self._versions.get(*function.key, wanted)).function
            if was.live_version == function.live_version and function.pending is None:
                return function
            # What is gone meanwhile does not keep anybody from going back.
            await self._destinations.check(call.identity, was, function.async_destinations, must_exist=False)
            return await self._functions.activate(function, was)

        return await shown(self._builds, await change_function(self._functions, call, change))

    async def _function(self, call: ApiRequest[Any]) -> Function:
        return await self._functions.get(*call.scope, call.params["name"])

    async def _version(self, call: ApiRequest[Any], param: str = "version") -> Version:
        return await self._versions.get(*call.scope, call.params["name"], _number(call, param))

    async def _code(self, function: Function) -> Code:
        return await self._functions.code(function.tenant, function.id, function.code_version, is_source_wanted=True)


def _number(call: ApiRequest[Any], param: str) -> int:
    number = number_of(call.params, param, default=None, low=1, high=MAX_VERSION)
    assert number is not None
    return number


def _summary(version: Version) -> VersionSummary:
    return VersionSummary(**_facts(version))


def _body(version: Version) -> VersionBody:
    return VersionBody(**_facts(version), configuration=function_body(version.function, None))


def _facts(version: Version) -> dict[str, Any]:
    function = version.function
    return {
        "version": version.number,
        "is_live": version.is_live,
        "code_version": function.code_version,
        "code_hash": function.code_hash,
        "runtime": function.runtime,
        "handler": function.handler,
        "memory_mb": function.memory_mb,
        "timeout_s": function.timeout_s,
        "description": function.description,
        "created_at": version.created_at,
    }
