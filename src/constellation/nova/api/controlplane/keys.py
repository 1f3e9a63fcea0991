"""API keys of the caller's tenant."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from msgspec import UNSET

from constellation.base.clock import Clock
from constellation.base.errors import InvalidRequest
from constellation.nova.api.controlplane.rights import refuse_outranked, refuse_unheld
from constellation.nova.api.overtaken import until_written
from constellation.nova.api.request import ApiRequest
from constellation.nova.domain.access import ANY, ApiKey, check_rate
from constellation.nova.domain.names import check_function_name, check_scope_name
from constellation.nova.domain.scope import (
    acts_tenant_wide,
    check_key_namespace,
    check_key_visible,
    check_platform,
)
from constellation.nova.store.api_keys import ApiKeys, hash_api_key, new_api_key
from constellation.nova.store.bindings import Bindings
from constellation.nova.store.tenancy import Tenancy
from constellation.routes.models.access import ApiKeyBody, ApiKeyCreate, ApiKeyCreated, ApiKeyUpdate
from constellation.routes.models.functions import Deleted
from constellation.routes.models.paging import Page
from constellation.routes.reading import page_of


class KeyRoutes:
    """Operations on keys; nobody makes or changes one that reaches further than itself."""

    def __init__(self, keys: ApiKeys, bindings: Bindings, tenancy: Tenancy, *, clock: Clock) -> None:
        self._keys, self._bindings, self._tenancy, self._clock = keys, bindings, tenancy, clock

    async def create_apikey(self, call: ApiRequest[ApiKeyCreate]) -> ApiKeyCreated:
        body = call.body
        check_function_name(body.name)
        check_rate(rate_per_s=body.rate_per_s, burst=body.burst)
        namespace = await self._namespace(call)
        if body.is_platform:
            check_platform(call.identity, "make a key for every tenant")
        role, account = _bearer(body)
        if role is not None:
            await refuse_unheld(self._bindings, call.identity, role, namespace=namespace)
        expires_at = None
        if body.expires_in_s is not UNSET:
            expires_at = self._clock.now() + timedelta(seconds=body.expires_in_s)
        text = new_api_key()
        key = ApiKey(
            tenant=call.identity.tenant,
            namespace=namespace,
            name=body.name,
            role=role,
            service_account=account,
            is_platform=body.is_platform,
            expires_at=expires_at,
            rate_per_s=body.rate_per_s,
            burst=body.burst,
        )
        await refuse_outranked(self._bindings, call.identity, key.subject)
        return _shown_once(await self._keys.create(key, key_hash=hash_api_key(text)), text)

    async def list_apikeys(self, call: ApiRequest[None]) -> Page[ApiKeyBody]:
        identity = call.identity
        found = await self._keys.list(
            identity.tenant,
            namespace=None if acts_tenant_wide(identity) else identity.namespace,
            with_platform=identity.is_platform_admin,
            limit=call.window.limit,
            offset=call.window.offset,
        )
        return page_of(found, call.window, _key_body)

    async def update_apikey(self, call: ApiRequest[ApiKeyUpdate]) -> ApiKeyBody:
        return await until_written(lambda: self._update(call))

    async def delete_apikey(self, call: ApiRequest[None]) -> Deleted:
        key = await self._touched(call)
        await self._keys.delete(key.tenant, key.name)
        return Deleted(status="deleted", name=key.name)

    async def rotate_apikey(self, call: ApiRequest[None]) -> ApiKeyCreated:
        key, text = await self._touched(call), new_api_key()
        return _shown_once(await self._keys.rotate(key.tenant, key.name, key_hash=hash_api_key(text)), text)

    async def _update(self, call: ApiRequest[ApiKeyUpdate]) -> ApiKeyBody:
        key, wanted = await self._touched(call), call.body
        if key.role is None and wanted.role is not UNSET:
            raise InvalidRequest(f"the key acts as {key.subject}, whose roles it has", field="role")
        rate_per_s = key.rate_per_s if wanted.rate_per_s is UNSET else wanted.rate_per_s
        burst = (key.burst if rate_per_s else 0) if wanted.burst is UNSET else wanted.burst
        check_rate(rate_per_s=rate_per_s, burst=burst)
        changed = replace(
            key,
            enabled=key.enabled if wanted.enabled is UNSET else wanted.enabled,
            role=key.role if wanted.role is UNSET else wanted.role,
            rate_per_s=rate_per_s,
            burst=burst,
        )
        if changed.role is not None and changed.role != key.role:
            await refuse_unheld(self._bindings, call.identity, changed.role, namespace=key.namespace)
        return _key_body(key if changed == key else await self._keys.update(changed))

    async def _read(self, call: ApiRequest[object]) -> ApiKey:
        key = await self._keys.get(call.identity.tenant, call.params["name"])
        check_key_visible(call.identity, key)
        return key

    async def _touched(self, call: ApiRequest[object]) -> ApiKey:
        """Return a key that the caller may change: whoever has it may all that it may."""
        key = await self._read(call)
        if key.role is not None:
            await refuse_unheld(self._bindings, call.identity, key.role, namespace=key.namespace)
        await refuse_outranked(self._bindings, call.identity, key.subject)
        return key

    async def _namespace(self, call: ApiRequest[ApiKeyCreate]) -> str:
        wanted = call.body.namespace
        if wanted is UNSET:
            return ANY if call.body.is_platform else call.identity.namespace
        check_key_namespace(call.identity, wanted)
        if wanted != ANY:
            await self._tenancy.get_namespace(call.identity.tenant, check_scope_name("namespace", wanted))
        return wanted


def _bearer(body: ApiKeyCreate) -> tuple[str | None, str | None]:
    """Return the role and the service account of a new key: it has one of them."""
    if body.service_account is UNSET:
        return ("operator" if body.role is UNSET else body.role), None
    if body.role is not UNSET:
        raise InvalidRequest("a key of a service account has that one's roles: give it none itself", field="role")
    if body.is_platform:
        raise InvalidRequest("a service account acts in its own tenant", field="is_platform")
    return None, body.service_account


def _shown_once(key: ApiKey, text: str) -> ApiKeyCreated:
    return ApiKeyCreated(
        name=key.name,
        tenant=key.tenant,
        namespace=key.namespace,
        role=key.role,
        service_account=key.service_account,
        expires_at=key.expires_at,
        rate_per_s=key.rate_per_s,
        burst=key.burst,
        key=text,
    )


def _key_body(key: ApiKey) -> ApiKeyBody:
    assert key.created_at is not None
    return ApiKeyBody(
        name=key.name,
        tenant=key.tenant,
        namespace=key.namespace,
        role=key.role,
        is_platform=key.is_platform,
        enabled=key.enabled,
        expires_at=key.expires_at,
        rate_per_s=key.rate_per_s,
        burst=key.burst,
        created_at=key.created_at,
        service_account=key.service_account,
        last_used_at=key.last_used_at,
    )
