from __future__ import annotations

import pytest

from constellation.base.errors import Forbidden, NotFound, ScopeDenied
from constellation.nova.domain.access import ANY, ApiKey, Permission, Role
from constellation.nova.domain.grants import Principal
from constellation.nova.domain.identity import identity_of
from constellation.nova.domain.scope import check_key_namespace, check_key_visible, check_platform, check_tenant


def identity(tenant: str, namespace: str, role: Role = Role.ADMIN):
    return identity_of(
        Principal.with_role(role, subject="s", tenant=tenant, namespace=namespace),
        tenant="acme" if tenant == ANY else tenant,
        namespace="dev" if namespace == ANY else namespace,
        now_s=0,
    )


PLATFORM, TENANT, NAMESPACE = identity(ANY, ANY), identity("acme", ANY), identity("acme", "dev")


def key(namespace: str, *, is_platform: bool = False) -> ApiKey:
    return ApiKey(tenant="acme", namespace=namespace, name="k", role=Role.ADMIN, is_platform=is_platform)


def test_only_the_platform_looks_into_other_tenants():
    check_tenant(PLATFORM, "beta")
    check_tenant(TENANT, "acme")
    with pytest.raises(ScopeDenied):
        check_tenant(TENANT, "beta")
    check_platform(PLATFORM, "do it")
    with pytest.raises(Forbidden, match="only a platform administrator may do it"):
        check_platform(TENANT, "do it")


def test_who_is_bound_to_a_namespace_does_not_manage_the_tenant():
    assert Permission.TENANT_MANAGE in TENANT.permissions
    assert Permission.TENANT_MANAGE not in NAMESPACE.permissions
    assert Permission.APIKEY_MANAGE in NAMESPACE.permissions


def test_a_key_reaches_no_further_than_its_maker():
    for namespace in ("dev", "prod", ANY):
        check_key_namespace(TENANT, namespace)
    check_key_namespace(NAMESPACE, "dev")
    for namespace in ("prod", ANY):
        with pytest.raises(ScopeDenied):
            check_key_namespace(NAMESPACE, namespace)


def test_a_key_that_reaches_further_is_not_seen():
    check_key_visible(PLATFORM, key(ANY, is_platform=True))
    check_key_visible(TENANT, key(ANY))
    check_key_visible(NAMESPACE, key("dev"))
    for viewer, hidden in [
        (TENANT, key(ANY, is_platform=True)),
        (NAMESPACE, key("dev", is_platform=True)),
        (NAMESPACE, key(ANY)),
        (NAMESPACE, key("prod")),
    ]:
        with pytest.raises(NotFound):
            check_key_visible(viewer, hidden)
