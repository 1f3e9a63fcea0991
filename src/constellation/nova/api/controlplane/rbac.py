"""Roles, and who has which. Nobody gives or takes what it does not have itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from msgspec import UNSET

from constellation.base.clock import Clock
from constellation.base.errors import InvalidRequest
from constellation.base.ids import uuid7
from constellation.nova.api.controlplane.rights import refuse_unheld
from constellation.nova.api.overtaken import until_written
from constellation.nova.api.request import ApiRequest
from constellation.nova.domain.access import ANY, GRANTABLE, ROLE_PERMISSIONS, Role
from constellation.nova.domain.globs import check_globs
from constellation.nova.domain.grants import Effect
from constellation.nova.domain.people import Binding, CustomRole, check_permissions, check_role_name, check_subject
from constellation.nova.domain.scope import check_confers, check_platform
from constellation.nova.store.bindings import Bindings
from constellation.routes.models.functions import Deleted
from constellation.routes.models.paging import Page, page_facts
from constellation.routes.models.people import (
    BindingBody,
    BindingCreate,
    LimitedPermissions,
    MyPermissions,
    PermissionBody,
    Permissions,
    RoleBody,
    RoleCreate,
    RoleUpdate,
)
from constellation.routes.reading import page_of
from constellation.routes.route import Route


class RbacRoutes:
    """Operations on roles and bindings of the caller's tenant."""

    def __init__(self, bindings: Bindings, routes: Sequence[Route], *, clock: Clock) -> None:
        self._bindings, self._clock = bindings, clock
        asked = defaultdict(list)
        for route in routes:
            asked[route.permission].append(f"{route.method} {route.template}")
        self._permissions = Permissions(
            permissions=[PermissionBody(permission=p.value, routes=asked[p]) for p in sorted(GRANTABLE)]
        )

    async def my_permissions(self, call: ApiRequest[None]) -> MyPermissions:
        identity = call.identity
        return MyPermissions(
            subject=identity.subject,
            tenant=identity.tenant,
            namespace=identity.namespace,
            permissions=sorted(identity.permissions),
            limited=[
                LimitedPermissions(
                    permissions=sorted(limit.permissions), only=list(limit.only), never=list(limit.never)
                )
                for limit in identity.limits
            ],
            tenant_wide=sorted(identity.tenant_wide),
            is_platform_admin=identity.is_platform_admin,
        )

    async def list_permissions(self, _call: ApiRequest[None]) -> Permissions:
        return self._permissions

    async def list_roles(self, call: ApiRequest[None]) -> Page[RoleBody]:
        window = call.window
        builtin = [_builtin(role) for role in Role]
        shown = builtin[window.offset : window.offset + window.limit]
        found = await self._bindings.list_roles(
            call.identity.tenant,
            limit=window.limit - len(shown),
            offset=max(window.offset - len(builtin), 0),
        )
        items = shown + [_role_body(role) for role in found.items]
        total = len(builtin) + found.total
        facts = page_facts(limit=window.limit, offset=window.offset, returned=len(items), total=total, is_exact=True)
        return Page(items=items, pagination=facts)

    async def create_role(self, call: ApiRequest[RoleCreate]) -> RoleBody:
        body, now = call.body, self._clock.now()
        permissions = check_permissions(body.permissions)
        check_confers(call.identity, permissions, namespace=ANY)
        role = CustomRole(
            tenant=call.identity.tenant,
            name=check_role_name(body.name),
            description=body.description,
            permissions=permissions,
            version=1,
            created_at=now,
            updated_at=now,
        )
        return _role_body(await self._bindings.create_role(role))

    async def get_role(self, call: ApiRequest[None]) -> RoleBody:
        name = call.params["name"]
        if name in list(Role):
            return _builtin(Role(name))
        return _role_body(await self._bindings.get_role(call.identity.tenant, name))

    async def update_role(self, call: ApiRequest[RoleUpdate]) -> RoleBody:
        return await until_written(lambda: self._update(call))

    async def delete_role(self, call: ApiRequest[None]) -> Deleted:
        role = await self._own(call)
        check_confers(call.identity, role.permissions, namespace=ANY)
        await self._bindings.delete_role(role.tenant, role.name)
        return Deleted(status="deleted", name=role.name)

    async def list_bindings(self, call: ApiRequest[None]) -> Page[BindingBody]:
        found = await self._bindings.list(
            call.identity.tenant,
            subject=call.query.get("subject"),
            limit=call.window.limit,
            offset=call.window.offset,
        )
        return page_of(found, call.window, _binding_body)

    async def create_binding(self, call: ApiRequest[BindingCreate]) -> BindingBody:
        body, identity = call.body, call.identity
        (namespace,) = check_globs("namespace", [body.namespace])
        binding = Binding(
            tenant=identity.tenant,
            id=uuid7(),
            subject=check_subject(body.subject),
            role=body.role,
            effect=Effect(body.effect),
            namespace=namespace,
            functions=check_globs("functions", body.functions),
            created_by=identity.subject,
        )
        await self._refuse_unheld(call, binding)
        return _binding_body(await self._bindings.create(binding))

    async def get_binding(self, call: ApiRequest[None]) -> BindingBody:
        return _binding_body(await self._binding(call))

    async def delete_binding(self, call: ApiRequest[None]) -> Deleted:
        binding = await self._binding(call)
        await self._refuse_unheld(call, binding)
        await self._bindings.delete(binding)
        return Deleted(status="deleted", name=str(binding.id))

    async def _update(self, call: ApiRequest[RoleUpdate]) -> RoleBody:
        role, wanted = await self._own(call), call.body
        changed = replace(
            role,
            description=role.description if wanted.description is UNSET else wanted.description,
            permissions=role.permissions if wanted.permissions is UNSET else check_permissions(wanted.permissions),
        )
        # What is taken out counts too: a role may be what somebody is denied.
        check_confers(call.identity, role.permissions | changed.permissions, namespace=ANY)
        return _role_body(role if changed == role else await self._bindings.update_role(changed))

    async def _own(self, call: ApiRequest[object]) -> CustomRole:
        name = call.params["name"]
        if name in list(Role):
            raise InvalidRequest(f"{name} is a built-in role: make one of your own instead", field="name")
        return await self._bindings.get_role(call.identity.tenant, name)

    async def _binding(self, call: ApiRequest[object]) -> Binding:
        try:
            binding = UUID(call.params["id"])
        except ValueError as error:
            raise InvalidRequest("id must be a UUID", field="id") from error
        return await self._bindings.get(call.identity.tenant, binding)

    async def _refuse_unheld(self, call: ApiRequest[object], binding: Binding) -> None:
        if binding.is_platforms:
            check_platform(call.identity, "change what acts in every tenant")
        await refuse_unheld(self._bindings, call.identity, binding.role, namespace=binding.namespace)


def _builtin(role: Role) -> RoleBody:
    return RoleBody(name=role.value, description="", permissions=sorted(ROLE_PERMISSIONS[role]), is_builtin=True)


def _role_body(role: CustomRole) -> RoleBody:
    return RoleBody(
        name=role.name, description=role.description, permissions=sorted(role.permissions), is_builtin=False
    )


def _binding_body(binding: Binding) -> BindingBody:
    assert binding.created_at is not None
    return BindingBody(
        id=binding.id,
        subject=binding.subject,
        role=binding.role,
        effect=binding.effect.value,
        namespace=binding.namespace,
        functions=list(binding.functions),
        created_by=binding.created_by,
        created_at=binding.created_at,
    )
