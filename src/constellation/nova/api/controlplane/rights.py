"""What operations ask about rights before they give, take or use them."""

from __future__ import annotations

from constellation.base.errors import InvalidRequest, NotFound
from constellation.nova.domain.access import Identity, Permission, Role
from constellation.nova.domain.scope import check_confers, check_outranks
from constellation.nova.store.bindings import Bindings


async def refuse_unheld(bindings: Bindings, identity: Identity, role: str, *, namespace: str) -> None:
    """Let the caller give or take a role in the namespaces that fit a pattern.

    Raises:
        InvalidRequest: there is no such role.
        Forbidden: the role permits what the caller may not.
    """
    check_confers(identity, await _permissions_of(bindings, identity.tenant, role), namespace=namespace)


async def refuse_outranked(bindings: Bindings, identity: Identity, subject: str) -> None:
    """Raise `Forbidden` when somebody of the caller's tenant has rights that the caller lacks."""
    check_outranks(identity, subject, await bindings.grants(identity.tenant, subject))


async def _permissions_of(bindings: Bindings, tenant: str, role: str) -> frozenset[Permission]:
    try:
        return await bindings.permissions_of(tenant, role)
    except NotFound as error:
        raise InvalidRequest(
            f"role {role!r} is neither one of {', '.join(Role)} nor of the tenant's own", field="role"
        ) from error
