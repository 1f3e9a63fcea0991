"""Schedules: when a function is fired by the clock."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from constellation.base.clock import Clock
from constellation.base.errors import InvalidRequest, NotFound, PayloadTooLarge
from constellation.nova.api.overtaken import until_written
from constellation.nova.api.request import ApiRequest
from constellation.nova.domain.alias import check_qualifier
from constellation.nova.domain.cron import check_cron, next_run
from constellation.nova.domain.function import MAX_ASYNC_PAYLOAD_BYTES, Function
from constellation.nova.domain.schedule import Schedule
from constellation.nova.store.aliases import Aliases
from constellation.nova.store.functions import Functions
from constellation.nova.store.schedules import Schedules
from constellation.nova.store.versions import Versions
from constellation.routes.models.functions import Deleted
from constellation.routes.models.paging import Page
from constellation.routes.models.schedules import ScheduleBody, ScheduleCreate, ScheduleUpdate
from constellation.routes.reading import page_of


class ScheduleRoutes:
    """Operations on schedules of the caller's namespace."""

    def __init__(
        self, schedules: Schedules, functions: Functions, versions: Versions, aliases: Aliases, *, clock: Clock
    ) -> None:
        self._schedules, self._functions, self._clock = schedules, functions, clock
        self._versions, self._aliases = versions, aliases

    async def create_schedule(self, call: ApiRequest[ScheduleCreate]) -> ScheduleBody:
        body = call.body
        tenant, namespace = call.scope
        function = await self._functions.get(tenant, namespace, call.params["name"])
        planned = self._plan(body.cron, body.time_zone)
        qualifier = await self._qualifier(function, body.qualifier)
        schedule = await self._schedules.create(
            tenant=tenant,
            namespace=namespace,
            function_name=function.name,
            cron=body.cron.strip(),
            time_zone=body.time_zone,
            input=_input(body.input) or b"null",
            enabled=body.enabled,
            next_run_at=planned if body.enabled else None,
            qualifier=qualifier,
        )
        return _schedule_body(schedule)

    async def list_function_schedules(self, call: ApiRequest[None]) -> Page[ScheduleBody]:
        function = await self._functions.get(*call.scope, call.params["name"])
        return await self._list(call, function.name)

    async def list_schedules(self, call: ApiRequest[None]) -> Page[ScheduleBody]:
        return await self._list(call, None)

    async def update_schedule(self, call: ApiRequest[ScheduleUpdate]) -> ScheduleBody:
        return await until_written(lambda: self._update(call))

    async def delete_schedule(self, call: ApiRequest[None]) -> Deleted:
        schedule = await self._read(call)
        await self._schedules.delete(*call.scope, schedule.id)
        return Deleted(status="deleted", name=str(schedule.id))

    async def _list(self, call: ApiRequest[None], function_name: str | None) -> Page[ScheduleBody]:
        found = await self._schedules.list(
            *call.scope, function_name=function_name, limit=call.window.limit, offset=call.window.offset
        )
        return page_of(found, call.window, _schedule_body)

    async def _update(self, call: ApiRequest[ScheduleUpdate]) -> ScheduleBody:
        body, schedule = call.body, await self._read(call)
        cron = schedule.cron if body.cron is UNSET else body.cron.strip()
        time_zone = schedule.time_zone if body.time_zone is UNSET else body.time_zone
        enabled = schedule.enabled if body.enabled is UNSET else body.enabled
        qualifier = schedule.qualifier
        if body.qualifier is not UNSET:
            function = await self._functions.get(*call.scope, schedule.function_name)
            qualifier = await self._qualifier(function, body.qualifier)
        planned = schedule.next_run_at
        if not enabled:
            self._plan(cron, time_zone)
            planned = None
        elif not schedule.enabled or (cron, time_zone) != (schedule.cron, schedule.time_zone):
            planned = self._plan(cron, time_zone)
        changed = replace(
            schedule,
            cron=cron,
            time_zone=time_zone,
            enabled=enabled,
            input=_input(body.input) or schedule.input,
            next_run_at=planned,
            qualifier=qualifier,
        )
        return _schedule_body(schedule if changed == schedule else await self._schedules.update(changed))

    async def _read(self, call: ApiRequest[object]) -> Schedule:
        text = call.params["id"]
        try:
            schedule_id = UUID(text)
        except ValueError:
            raise NotFound("schedule", text[:80]) from None
        schedule = await self._schedules.get(*call.scope, schedule_id)
        if schedule.function_name != call.params["name"]:
            raise NotFound("schedule", text)
        return schedule

    async def _qualifier(self, function: Function, text: str) -> str:
        """Return the version or alias to fire; raise `InvalidRequest` unless the function has it now."""
        qualifier = check_qualifier(text)
        try:
            if qualifier.isdigit():
                await self._versions.get(*function.key, int(qualifier))
            elif qualifier:
                await self._aliases.get(function.tenant, function.id, qualifier)
        except NotFound as error:
            raise InvalidRequest(f"{function.name} has no version or alias {qualifier!r}", field="qualifier") from error
        return qualifier

    def _plan(self, cron: str, time_zone: str) -> datetime:
        """Return the next run from now on, or raise `InvalidRequest` for a bad rule or one that never comes true."""
        check_cron(cron, time_zone)
        planned = next_run(cron, time_zone, self._clock.now())
        if planned is None:
            raise InvalidRequest(f"cron {cron!r} never runs", field="cron")
        return planned


def _input(given: msgspec.Raw | UnsetType) -> bytes:
    """Return the bytes of the input; empty when none is given."""
    if isinstance(given, UnsetType):
        return b""
    data = bytes(given)
    if len(data) > MAX_ASYNC_PAYLOAD_BYTES:
        raise PayloadTooLarge(limit_bytes=MAX_ASYNC_PAYLOAD_BYTES)
    try:
        msgspec.json.decode(data)  # the decoder skipped over it, which checks its form but not its texts
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"input is not valid JSON: {error}", field="input") from error
    return data


def _schedule_body(schedule: Schedule) -> ScheduleBody:
    return ScheduleBody(
        id=schedule.id,
        tenant=schedule.tenant,
        namespace=schedule.namespace,
        function=schedule.function_name,
        cron=schedule.cron,
        time_zone=schedule.time_zone,
        input=msgspec.Raw(schedule.input),
        enabled=schedule.enabled,
        next_run_at=schedule.next_run_at,
        last_run_at=schedule.last_run_at,
        last_invocation_id=schedule.last_job_id,
        qualifier=schedule.qualifier,
        created_at=schedule.created_at,
    )
