"""API keys of the caller's tenant."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from msgspec import UNSET

from constellation.base.clock import Clock
from constellation.nova.api.controlplane.rights import refuse_unheld
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
        await refuse_unheld(self._bindings, call.identity, body.role, namespace=namespace)
        expires_at = None
        if body.expires_in_s is not UNSET:
            expires_at = self._clock.now() + timedelta(seconds=body.expires_in_s)
        text = new_api_key()
        key = await self._keys.create(
            ApiKey(
                tenant=call.identity.tenant,
                namespace=namespace,
                name=body.name,
                role=body.role,
                is_platform=body.is_platform,
                expires_at=expires_at,
                rate_per_s=body.rate_per_s,
                burst=body.burst,
            ),
            key_hash=hash_api_key(text),
        )
        return ApiKeyCreated(
            name=key.name,
            tenant=key.tenant,
            namespace=key.namespace,
            role=key.role,
            expires_at=key.expires_at,
            rate_per_s=key.rate_per_s,
            burst=key.burst,
            key=text,
        )

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
        key = await self._read(call)
        await refuse_unheld(self._bindings, call.identity, key.role, namespace=key.namespace)
        await self._keys.delete(key.tenant, key.name)
        return Deleted(status="deleted", name=key.name)

    async def _update(self, call: ApiRequest[ApiKeyUpdate]) -> ApiKeyBody:
        key, wanted = await self._read(call), call.body
        await refuse_unheld(self._bindings, call.identity, key.role, namespace=key.namespace)
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
        if changed.role != key.role:
            await refuse_unheld(self._bindings, call.identity, changed.role, namespace=key.namespace)
        return _key_body(key if changed == key else await self._keys.update(changed))

    async def _read(self, call: ApiRequest[object]) -> ApiKey:
        key = await self._keys.get(call.identity.tenant, call.params["name"])
        check_key_visible(call.identity, key)
        return key

    async def _namespace(self, call: ApiRequest[ApiKeyCreate]) -> str:
        wanted = call.body.namespace
        if wanted is UNSET:
            return ANY if call.body.is_platform else call.identity.namespace
        check_key_namespace(call.identity, wanted)
        if wanted != ANY:
            await self._tenancy.get_namespace(call.identity.tenant, check_scope_name("namespace", wanted))
        return wanted


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
    )
