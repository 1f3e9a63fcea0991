"""What a caller was granted and denied, and what of that holds in one namespace. Deny wins, whatever its source."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from constellation.nova.domain.access import ANY, ROLE_PERMISSIONS, TENANT_WIDE, Limit, Permission, Role
from constellation.nova.domain.globs import fits


class Effect(StrEnum):
    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Permissions given or taken away in the namespaces that fit a pattern."""

    permissions: frozenset[Permission]
    effect: Effect = Effect.ALLOW
    namespace: str = ANY  # a pattern
    functions: tuple[str, ...] = ()  # patterns; (): every function, and whatever is no function's


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """A caller that proved who it is. `tenant` or `namespace` "*" means any."""

    subject: str  # "user:ann", "apikey:ci", "platform-key:ops", "local:admin"
    tenant: str
    namespace: str  # the only one that it may enter
    grants: tuple[Grant, ...]
    session: str = ""  # the id of the session that it came with
    expires_at_s: float | None = None  # Unix time at which its credential ends
    rate_per_s: float = 0.0  # calls of functions that its credential may make; 0: any number
    burst: int = 0  # calls at once, after a quiet time; at least 1 with a rate

    @classmethod
    def with_role(cls, role: Role, *, subject: str, tenant: str, namespace: str) -> Self:
        """Return a caller that has a built-in role wherever it may act."""
        grant = Grant(permissions=ROLE_PERMISSIONS[role])
        return cls(subject=subject, tenant=tenant, namespace=namespace, grants=(grant,))

    def may_act_in(self, tenant: str, namespace: str) -> bool:
        return self.tenant in (ANY, tenant) and self.namespace in (ANY, namespace)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """What grants come to in one namespace."""

    permissions: frozenset[Permission]  # held for everything in it
    limits: tuple[Limit, ...]  # held for some functions only
    tenant_wide: frozenset[Permission]  # held for everything in every namespace


def rights_in(namespace: str, grants: Sequence[Grant], *, is_bound: bool) -> Rights:
    """Return what grants come to. `is_bound`: the caller may enter this namespace only.

    What concerns the tenant as a whole is held by those alone whose grant reaches all of its namespaces.
    """
    here = [grant for grant in grants if fits(grant.namespace, namespace)]
    wholly, partly = _settled(here)
    everywhere: frozenset[Permission] = frozenset()
    if not is_bound:
        denied = _union(grant.permissions for grant in grants if grant.effect is Effect.DENY)
        unbounded = [g for g in grants if g.effect is Effect.ALLOW and g.namespace == ANY and not g.functions]
        everywhere = _union(grant.permissions for grant in unbounded) - denied
    return Rights(
        permissions=wholly - (TENANT_WIDE - everywhere),
        limits=partly,
        tenant_wide=everywhere,
    )


def _settled(grants: Sequence[Grant]) -> tuple[frozenset[Permission], tuple[Limit, ...]]:
    """Return what is held for everything, and what for some functions."""
    allowed_wholly: set[Permission] = set()
    denied_wholly: set[Permission] = set()
    only: dict[Permission, set[str]] = defaultdict(set)
    never: dict[Permission, set[str]] = defaultdict(set)
    for grant in grants:
        is_allow = grant.effect is Effect.ALLOW
        if not grant.functions:
            (allowed_wholly if is_allow else denied_wholly).update(grant.permissions)
            continue
        for permission in grant.permissions:
            (only if is_allow else never)[permission].update(grant.functions)
    wholly = frozenset(allowed_wholly - denied_wholly - never.keys())
    partly: dict[tuple[tuple[str, ...], tuple[str, ...]], set[Permission]] = defaultdict(set)
    for permission in (allowed_wholly | only.keys()) - wholly - denied_wholly - TENANT_WIDE:
        patterns = (ANY,) if permission in allowed_wholly else tuple(sorted(only[permission]))
        partly[patterns, tuple(sorted(never.get(permission, ())))].add(permission)
    limits = [
        Limit(permissions=frozenset(permissions), only=which, never=but)
        for (which, but), permissions in sorted(partly.items())
    ]
    return wholly, tuple(limits)


def _union(sets: Iterable[frozenset[Permission]]) -> frozenset[Permission]:
    return frozenset().union(*sets)
