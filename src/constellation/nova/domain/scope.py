"""Who may manage what of tenancy: the rules that permissions alone do not say."""

from __future__ import annotations

from collections.abc import Iterable

from constellation.base.errors import Forbidden, NotFound, ScopeDenied
from constellation.nova.domain.access import ANY, TENANT_WIDE, ApiKey, Identity, Permission
from constellation.nova.domain.grants import Effect, Grant
from constellation.nova.domain.people import User


def acts_tenant_wide(identity: Identity) -> bool:
    """Tell whether the caller's rights reach beyond one namespace: only then does it hold `tenant:manage`."""
    return Permission.TENANT_MANAGE in identity.permissions


def check_tenant(identity: Identity, tenant: str) -> None:
    """Let the caller look at or into a tenant: its own, or any for a platform administrator.

    Raises:
        ScopeDenied: it is somebody else's, whether it exists or not.
    """
    if not identity.is_platform_admin and identity.tenant != tenant:
        raise ScopeDenied(identity.subject, tenant=tenant, namespace=ANY)


def check_platform(identity: Identity, doing: str) -> None:
    """Let only a platform administrator through; raise `Forbidden` for others."""
    if not identity.is_platform_admin:
        raise Forbidden(
            identity.subject,
            permission=Permission.TENANT_MANAGE.value,
            reason=f"only a platform administrator may {doing}",
        )


def check_key_namespace(identity: Identity, namespace: str) -> None:
    """Let the caller make or change a key of a namespace ("*": all of the tenant's).

    Raises:
        ScopeDenied: the key would reach further than the caller itself.
    """
    if namespace != identity.namespace and not acts_tenant_wide(identity):
        raise ScopeDenied(identity.subject, tenant=identity.tenant, namespace=namespace)


def check_key_visible(identity: Identity, key: ApiKey) -> None:
    """Let the caller see a key of its tenant.

    Raises:
        NotFound: it reaches further than the caller; whether it exists is not told.
    """
    if (key.is_platform and not identity.is_platform_admin) or (
        key.namespace != identity.namespace and not acts_tenant_wide(identity)
    ):
        raise NotFound("api key", key.name)


def check_user_visible(identity: Identity, user: User) -> None:
    """Let the caller see a user of its tenant.

    Raises:
        NotFound: it acts in every tenant, and the caller does not; whether it exists is not told.
    """
    if user.is_platform and not identity.is_platform_admin:
        raise NotFound("user", user.name)


def check_confers(identity: Identity, permissions: frozenset[Permission], *, namespace: str) -> None:
    """Let the caller give or take permissions in the namespaces that fit a pattern.

    Raises:
        Forbidden: it does not have all of them there, for every function, itself.
    """
    held, wanted = identity.tenant_wide, permissions
    if namespace == identity.namespace:
        held |= identity.permissions
    if namespace != ANY:
        wanted -= TENANT_WIDE  # nobody gets these in some namespaces
    for lacking in sorted(wanted - held):
        where = "every namespace" if namespace == ANY else f"namespace {namespace}"
        raise Forbidden(
            identity.subject,
            permission=lacking.value,
            reason=f"{identity.subject} can not give or take {lacking.value} in {where}: it does not have it there itself",
        )


def check_outranks(identity: Identity, subject: str, grants: Iterable[Grant]) -> None:
    """Let the caller act on somebody whose credential it could then set: itself, or who may nothing that it may not.

    Raises:
        Forbidden: that one may more.
    """
    if subject == identity.subject:
        return
    for grant in grants:
        if grant.effect is Effect.ALLOW:
            permissions = grant.permissions - TENANT_WIDE if grant.functions else grant.permissions
            check_confers(identity, permissions, namespace=grant.namespace)
