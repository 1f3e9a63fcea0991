"""Settings of the platform, and of its tenants, while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from constellation.base.errors import InvalidRequest
from constellation.base.units import format_duration, format_size
from constellation.nova.api.request import ApiRequest, Tagged
from constellation.nova.api.tags import check_tag
from constellation.nova.config.live import PLATFORM, SET, InForce, Known, SettingInvalid, known, known_keys, value_of
from constellation.nova.config.setting import Kind
from constellation.nova.domain.scope import check_platform, check_tenant
from constellation.nova.secrets.vault import Vault
from constellation.nova.store.settings import SettingChange, SetValue, SetValues
from constellation.routes.models.paging import Page, page_facts
from constellation.routes.models.settings import SettingBody, SettingChangeBody, SettingPut, SettingRevert
from constellation.routes.reading import page_of

MAX_SECRET_CHARS = 400  # sealed and written as text it fits its column


class SettingRoutes:
    """Operations on settings: everybody who may reads those of the own tenant, platform administrators all."""

    def __init__(self, values: SetValues, in_force: InForce, vault: Vault) -> None:
        self._values, self._in_force, self._vault = values, in_force, vault

    async def list_settings(self, call: ApiRequest[None]) -> Page[SettingBody]:
        tenant = _tenant_of(call)
        search = call.query.get("search", "").lower()
        is_set_only = call.query.get("set") in ("1", "true")
        own = await self._values.all_of(tenant)
        platform = own if tenant == PLATFORM else await self._values.all_of(PLATFORM)
        found = [
            each
            for each in known_keys().values()
            if (tenant == PLATFORM or each.live.per_tenant)
            and (search in each.key or search in each.live.about.lower())
            and (not is_set_only or _is_set(own, each.key))
        ]
        window = call.window
        shown = [self._body(tenant, each, own, platform) for each in found[window.offset :][: window.limit]]
        return Page(
            items=shown,
            pagination=page_facts(limit=window.limit, offset=window.offset, returned=len(shown), total=len(found)),
        )

    async def get_setting(self, call: ApiRequest[None]) -> Tagged[SettingBody]:
        return await self._shown(*self._about(call))

    async def put_setting(self, call: ApiRequest[SettingPut]) -> Tagged[SettingBody]:
        check_platform(call.identity, "change settings")
        _, setting = self._about(call)
        value = setting.parse(call.body.value)
        if not setting.facts.is_secret:
            return await self._write(call, setting.text(value), note=call.body.note)
        if not value or len(str(value)) > MAX_SECRET_CHARS:
            raise SettingInvalid(setting.key, f"must have 1 to {MAX_SECRET_CHARS} characters; unset takes it back")
        return await self._write(call, self._vault.seal_setting(setting.key, str(value)), note=call.body.note)

    async def unset_setting(self, call: ApiRequest[None]) -> Tagged[SettingBody]:
        check_platform(call.identity, "change settings")
        return await self._write(call, None, note="")

    async def list_setting_changes(self, call: ApiRequest[None]) -> Page[SettingChangeBody]:
        tenant, setting = self._about(call)
        found = await self._values.changes(tenant, setting.key, limit=call.window.limit, offset=call.window.offset)
        return page_of(found, call.window, _change)

    async def revert_setting(self, call: ApiRequest[SettingRevert]) -> Tagged[SettingBody]:
        check_platform(call.identity, "change settings")
        tenant, setting = self._about(call)
        if setting.facts.is_secret:
            raise SettingInvalid(setting.key, "earlier values of a secret are not kept; set it anew")
        was = await self._values.value_at(tenant, setting.key, call.body.version)
        value = None if was is None else setting.text(setting.parse(was))  # ranges may have changed since
        return await self._write(call, value, note=call.body.note or f"back to version {call.body.version}")

    async def _write(self, call: ApiRequest[Any], value: str | None, *, note: str) -> Tagged[SettingBody]:
        tenant, setting = self._about(call)
        version = None
        if call.if_match is not None:
            held = await self._values.try_get(tenant, setting.key)
            version = 0 if held is None else held.version
            check_tag("setting", setting.key, _tag(version), call.if_match)
        told = SET if setting.facts.is_secret else None
        actor = call.identity.subject
        await self._values.put(tenant, setting.key, value, actor=actor, note=note, version=version, told=told)
        return await self._shown(tenant, setting)

    async def _shown(self, tenant: str, setting: Known) -> Tagged[SettingBody]:
        own = await self._values.all_of(tenant)
        platform = own if tenant == PLATFORM else await self._values.all_of(PLATFORM)
        body = self._body(tenant, setting, own, platform)
        return Tagged(body=body, tag=_tag(body.version))

    def _about(self, call: ApiRequest[Any]) -> tuple[str, Known]:
        """Return whose value of which setting a request is about."""
        setting, tenant = known(call.params["key"]), _tenant_of(call)
        if tenant != PLATFORM and not setting.live.per_tenant:
            check_platform(call.identity, f"see {setting.key}")
            raise InvalidRequest(f"{setting.key} is the platform's: tenants have no value of their own", field="tenant")
        return tenant, setting

    def _body(
        self, tenant: str, setting: Known, own: Mapping[str, SetValue], platform: Mapping[str, SetValue]
    ) -> SettingBody:
        loaded, held = self._in_force.loaded, own.get(setting.key)
        configured = setting.text(value_of(loaded.settings, setting.key))
        value, source = configured, loaded.sources.get(setting.key, "default")
        for values, name in ((platform, "run time (platform)" if tenant else "run time"), (own, "run time")):
            if _is_set(values, setting.key):
                value, source = SET if setting.facts.is_secret else str(values[setting.key].value), name
        facts = setting.facts
        return SettingBody(
            key=setting.key,
            about=setting.live.about,
            kind=facts.kind.value,
            default=setting.default,
            at_least=_bound(facts.kind, facts.low),
            at_most=_bound(facts.kind, facts.high),
            choices=list(facts.choices),
            planes=list(setting.live.planes),
            per_tenant=setting.live.per_tenant,
            tenant=tenant,
            value=value,
            source=source,
            is_set=_is_set(own, setting.key),
            configured=configured,
            version=0 if held is None else held.version,
            updated_by="" if held is None else held.updated_by,
            updated_at=None if held is None else held.updated_at,
        )


def _tenant_of(call: ApiRequest[Any]) -> str:
    """Return whose settings a request is about: the platform's for its administrators, unless they name a tenant."""
    named = call.query.get("tenant")
    if named is None:
        return PLATFORM if call.identity.is_platform_admin else call.identity.tenant
    if not named:
        check_platform(call.identity, "see the platform's settings")
        return PLATFORM
    check_tenant(call.identity, named)
    return named


def _is_set(values: Mapping[str, SetValue], key: str) -> bool:
    held = values.get(key)
    return held is not None and held.value is not None


def _tag(version: int) -> str:
    return f'"{version}"'


def _bound(kind: Kind, bound: float | None) -> str | None:
    if bound is None:
        return None
    if kind is Kind.DURATION:
        return format_duration(bound)
    return format_size(int(bound)) if kind is Kind.SIZE else f"{bound:g}"


def _change(change: SettingChange) -> SettingChangeBody:
    return SettingChangeBody(
        key=change.key,
        tenant=change.tenant,
        version=change.version,
        was=change.was,
        value=change.value,
        note=change.note,
        actor=change.actor,
        at=change.at,
    )
