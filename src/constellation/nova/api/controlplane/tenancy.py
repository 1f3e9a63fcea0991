"""Tenants and namespaces. A tenant's administrator names its own; tenants themselves are the platform's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from msgspec import UNSET

from constellation.base.errors import InvalidRequest, StateConflict
from constellation.nova.api.overtaken import until_written
from constellation.nova.api.request import ApiRequest
from constellation.nova.domain.names import DEFAULT_TENANT, check_scope_name
from constellation.nova.domain.quota import DEFAULT_TIER
from constellation.nova.domain.scope import check_platform, check_tenant
from constellation.nova.domain.tenancy import Namespace, Tenant, TenantStatus
from constellation.nova.store import page as store
from constellation.nova.store.functions import Functions
from constellation.nova.store.seeds import TenantSeed
from constellation.nova.store.tenancy import Tenancy
from constellation.routes.models.access import (
    NamespaceBody,
    NamespaceCreate,
    TenantBody,
    TenantCreate,
    TenantUpdate,
    WhoAmI,
)
from constellation.routes.models.functions import Deleted
from constellation.routes.models.paging import Page
from constellation.routes.reading import page_of


class TenancyRoutes:
    """Operations on tenants and namespaces, and the caller's own facts."""

    def __init__(self, tenancy: Tenancy, functions: Functions, *, seed_of: Callable[[str, str], TenantSeed]) -> None:
        """`seed_of`: what a tenant that a subject makes begins with, when it is to have a seed."""
        self._tenancy, self._functions, self._seed_of = tenancy, functions, seed_of

    async def whoami(self, call: ApiRequest[None]) -> WhoAmI:
        identity = call.identity
        return WhoAmI(
            subject=identity.subject,
            tenant=identity.tenant,
            namespace=identity.namespace,
            permissions=sorted(permission.value for permission in identity.permissions),
            is_platform_admin=identity.is_platform_admin,
            rate_per_s=identity.rate_per_s,
            burst=identity.burst,
        )

    async def list_tenants(self, call: ApiRequest[None]) -> Page[TenantBody]:
        if call.identity.is_platform_admin:
            found = await self._tenancy.list_tenants(limit=call.window.limit, offset=call.window.offset)
        else:
            own = await self._tenancy.get_tenant(call.identity.tenant)
            found = store.Page(items=(own,)[call.window.offset :], total=1)
        return page_of(found, call.window, _tenant_body)

    async def create_tenant(self, call: ApiRequest[TenantCreate]) -> TenantBody:
        check_platform(call.identity, "create a tenant")
        tenant = check_scope_name("id", call.body.id)
        tier = DEFAULT_TIER if call.body.tier is UNSET else call.body.tier
        seed = self._seed_of(tenant, call.identity.subject) if call.body.seed else None
        return _tenant_body(await self._tenancy.create_tenant(tenant, name=call.body.name, tier=tier, seed=seed))

    async def update_tenant(self, call: ApiRequest[TenantUpdate]) -> TenantBody:
        check_tenant(call.identity, call.params["tenant"])
        if call.body.status is not UNSET:
            check_platform(call.identity, "change a tenant's status")
        if call.body.tier is not UNSET:
            check_platform(call.identity, "change a tenant's tier")
        return await until_written(lambda: self._update(call))

    async def delete_tenant(self, call: ApiRequest[None]) -> Deleted:
        check_platform(call.identity, "delete a tenant")
        tenant = call.params["tenant"]
        await self._tenancy.delete_tenant(tenant)
        return Deleted(status="deleted", name=tenant)

    async def list_namespaces(self, call: ApiRequest[None]) -> Page[NamespaceBody]:
        tenant = await self._tenant(call)
        found = await self._tenancy.list_namespaces(tenant.id, limit=call.window.limit, offset=call.window.offset)
        return page_of(found, call.window, _namespace_body)

    async def create_namespace(self, call: ApiRequest[NamespaceCreate]) -> NamespaceBody:
        tenant = await self._tenant(call)
        name = check_scope_name("name", call.body.name)
        return _namespace_body(await self._tenancy.create_namespace(tenant.id, name))

    async def delete_namespace(self, call: ApiRequest[None]) -> Deleted:
        tenant = await self._tenant(call)
        namespace = call.params["namespace"]
        await self._tenancy.get_namespace(tenant.id, namespace)
        held = await self._functions.list(tenant.id, namespace, limit=1)
        if held.total:
            raise StateConflict("namespace", namespace, state=f"holding {held.total} functions", wanted="empty")
        await self._tenancy.delete_namespace(tenant.id, namespace)
        return Deleted(status="deleted", name=namespace)

    async def _tenant(self, call: ApiRequest[object]) -> Tenant:
        check_tenant(call.identity, call.params["tenant"])
        return await self._tenancy.get_tenant(call.params["tenant"])

    async def _update(self, call: ApiRequest[TenantUpdate]) -> TenantBody:
        tenant = await self._tenancy.get_tenant(call.params["tenant"])
        changed = replace(
            tenant,
            name=tenant.name if call.body.name is UNSET else call.body.name,
            status=tenant.status if call.body.status is UNSET else _status(call.body.status),
            tier=tenant.tier if call.body.tier is UNSET else call.body.tier,
        )
        if tenant.id == DEFAULT_TENANT and changed.status is TenantStatus.SUSPENDED:
            raise StateConflict("tenant", tenant.id, state="the default tenant", wanted="another one")
        return _tenant_body(tenant if changed == tenant else await self._tenancy.update_tenant(changed))


def _status(text: str) -> TenantStatus:
    try:
        return TenantStatus(text)
    except ValueError:
        raise InvalidRequest(f"status {text[:80]!r} must be one of {', '.join(TenantStatus)}", field="status") from None


def _tenant_body(tenant: Tenant) -> TenantBody:
    return TenantBody(
        id=tenant.id,
        name=tenant.name,
        status=tenant.status.value,
        tier=tenant.tier,
        created_at=tenant.created_at,
        updated_at=tenant.updated_at,
    )


def _namespace_body(namespace: Namespace) -> NamespaceBody:
    return NamespaceBody(tenant=namespace.tenant, name=namespace.name, created_at=namespace.created_at)
