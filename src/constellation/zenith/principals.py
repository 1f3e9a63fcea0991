"""Who callers are and where they may act: asked of nova once, then known until something changes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import sha256
from math import inf
from typing import Any, Protocol, TypeVar

import anyio

from constellation.base.clock import Clock
from constellation.base.errors import (
    ConstellationError,
    InvalidRequest,
    NotFound,
    Overloaded,
    ScopeDenied,
    Unauthenticated,
    Unavailable,
)
from constellation.nova.domain.access import ANY, Identity
from constellation.nova.domain.grants import Principal
from constellation.nova.domain.identity import IDENTITY_TTL_S, identity_of, mint
from constellation.nova.domain.names import DEFAULT_NAMESPACE, DEFAULT_TENANT, check_scope_name
from constellation.zenith.control import ChangeLine
from constellation.zenith.errors import ScopeUnclear
from constellation.zenith.metrics import CacheMetrics

_T = TypeVar("_T")
_CAPACITY = 10_000  # chosen: credentials in use on one gateway; an entry is about 1 KiB
_UNKNOWN_CAPACITY = 10_000
_UNKNOWN_TTL_S = 5.0  # chosen: spares nova a misconfigured client's retries; a new key never waits (change stream)
_SCOPES_A_PRINCIPAL = 1024
_QUESTIONS_AT_ONCE = 16  # a flood of made-up keys must not become a flood at nova
_QUESTION_WAIT_S = 5.0
_RENEWAL_S = 2.0  # chosen: what others keep of an access serves on while it is renewed here


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What a caller presents. `kind` "presented", or "loopback" for a trusted local caller, which has no text."""

    kind: str
    text: str = ""

    @property
    def digest(self) -> bytes:
        return sha256(f"{self.kind}:{self.text}".encode()).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """A principal at work in one scope, and the token that says so to the planes behind."""

    identity: Identity
    token: str
    is_suspended: bool
    renew_at_s: float  # monotonic


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAccess:
    """What a faster cache in front of this one may keep."""

    access: Access
    renew_at_s: float  # monotonic; from then on it asks here, once in a while
    until_s: float  # and from then on always


@dataclass(slots=True)
class _Entry:
    principal: Principal
    fresh_until_s: float  # monotonic
    accesses: dict[tuple[bytes, bytes], Access] = field(default_factory=dict)  # by the two scope headers as sent


@dataclass(slots=True, eq=False)
class _Flight:
    """One caller's way into one scope, while nova is asked about it; neither result: who asked went away."""

    landed: anyio.Event = field(default_factory=anyio.Event)
    access: Access | None = None
    error: ConstellationError | None = None


class Directory(Protocol):
    """Where principals and scopes are looked up: nova."""

    async def authenticate(self, kind: str, credential: str) -> Principal: ...

    async def scope_status(self, tenant: str, namespace: str) -> str | None: ...


class Principals:
    """The cache of callers. `fresh_s`: how long an entry is used before nova is asked again, at most; never past a key's end."""

    def __init__(
        self,
        *,
        directory: Directory,
        identity_key: bytes,
        clock: Clock,
        fresh_s: float,
        metrics: CacheMetrics,
        on_forget: Callable[[], None] | None = None,
    ) -> None:
        self._on_forget = on_forget or _nothing  # told when what others keep of it is no longer true
        self._directory, self._key, self._clock, self._fresh_s = directory, identity_key, clock, fresh_s
        self._metrics = metrics
        self._entries: dict[bytes, _Entry] = {}
        self._unknown: dict[bytes, float] = {}
        self._flights: dict[bytes, anyio.Event] = {}
        # By the generation too: who comes after a change must not be answered by what was asked before it.
        self._entering: dict[tuple[bytes, bytes, bytes, int], _Flight] = {}
        self._questions = anyio.CapacityLimiter(_QUESTIONS_AT_ONCE)
        self._generation = 0  # answers that were asked for in an older one are not kept

    async def access(self, credential: Credential, tenant: bytes, namespace: bytes) -> Access:
        """Return the caller's access to the scope that its headers ask for (empty: not sent).

        Raises:
            Unauthenticated: the credential is nobody's.
            ScopeUnclear: the scope is malformed.
            ScopeDenied: the caller may not act there.
            NotFound: the scope does not exist.
            Unavailable: nova is needed for this and can not be reached.
        """
        digest = credential.digest
        entry = self._entries.get(digest)
        now_s = self._clock.monotonic_s()
        if entry is None or now_s >= entry.fresh_until_s:
            entry = await self._authenticate(credential, digest, entry)
        known = entry.accesses.get((tenant, namespace))
        if known is not None and now_s < known.renew_at_s:
            self._metrics.hit()
            return known
        key = (digest, tenant, namespace, self._generation)
        while (flight := self._entering.get(key)) is not None:
            with anyio.move_on_after(2 * _QUESTION_WAIT_S) as late:
                await flight.landed.wait()
            if late.cancelled_caught:
                raise Overloaded("questions to nova", limit=_QUESTIONS_AT_ONCE)
            if flight.error is not None:
                raise flight.error.with_traceback(None)  # else each of many who wait would add theirs to it
            if flight.access is not None:
                return flight.access
        flight = self._entering[key] = _Flight()
        try:
            flight.access = await self._enter(entry, tenant, namespace, known)
        except ConstellationError as error:
            flight.error = error
            raise
        finally:
            del self._entering[key]
            flight.landed.set()
        return flight.access

    async def _enter(self, entry: _Entry, tenant: bytes, namespace: bytes, known: Access | None) -> Access:
        """Ask nova about the scope, and keep the access to it."""
        generation = self._generation
        wanted_tenant, wanted_namespace = wanted_scope(entry.principal, tenant, namespace)
        is_suspended = await self._is_suspended(wanted_tenant, wanted_namespace, known)
        identity = identity_of(
            entry.principal, tenant=wanted_tenant, namespace=wanted_namespace, now_s=self._clock.now().timestamp()
        )
        access = Access(
            identity=identity,
            token=mint(self._key, identity),
            is_suspended=is_suspended,
            renew_at_s=self._clock.monotonic_s() + IDENTITY_TTL_S / 2,
        )
        if generation == self._generation:
            if len(entry.accesses) >= _SCOPES_A_PRINCIPAL:
                entry.accesses.clear()
            entry.accesses[tenant, namespace] = access
        return access

    def kept(self, credential: Credential, tenant: bytes, namespace: bytes) -> KeptAccess | None:
        """Return what is known now of this caller's access, and for how long; None when nothing may be kept of it."""
        entry = self._entries.get(credential.digest)
        access = None if entry is None else entry.accesses.get((tenant, namespace))
        if entry is None or access is None:
            return None
        now_s = self._clock.monotonic_s()
        renew_at_s = min(entry.fresh_until_s, access.renew_at_s)
        return KeptAccess(
            access=access,
            renew_at_s=renew_at_s,
            until_s=min(renew_at_s + min(_RENEWAL_S, self._fresh_s), now_s + self._left_s(entry.principal)),
        )

    def forget(self, change: ChangeLine) -> None:
        """Drop what a change may have made untrue."""
        if change.kind in ("function", "secret", "database", "domain", "setting"):
            return
        self._on_forget()
        self._generation += 1
        self._unknown.clear()
        if change.kind in ("api_key", "principal", "tenant"):  # a tenant's limits are in what its keys may do
            stale = [key for key, entry in self._entries.items() if _concerns(change, entry.principal)]
            for key in stale:
                del self._entries[key]
        if change.kind in ("api_key", "principal"):
            return
        for entry in self._entries.values():
            entry.accesses = {
                key: access for key, access in entry.accesses.items() if access.identity.tenant != change.tenant
            }

    def forget_everything(self) -> None:
        self._on_forget()
        self._generation += 1
        self._unknown.clear()
        self._entries.clear()

    async def _authenticate(self, credential: Credential, digest: bytes, stale: _Entry | None) -> _Entry:
        """Ask nova once, however many callers wait for the same credential."""
        while (flight := self._flights.get(digest)) is not None:
            with anyio.move_on_after(2 * _QUESTION_WAIT_S) as late:
                await flight.wait()
            if late.cancelled_caught:
                raise Overloaded("questions to nova", limit=_QUESTIONS_AT_ONCE)
            entry = self._entries.get(digest)
            if entry is not None:
                return entry
            # The one who asked was refused, or hung up before the answer: look again, or ask ourselves.
        now_s = self._clock.monotonic_s()
        if self._unknown.get(digest, 0.0) > now_s:
            self._metrics.hit()
            raise Unauthenticated("the credential is unknown, disabled or expired")
        self._metrics.miss()
        generation = self._generation
        flight = self._flights[digest] = anyio.Event()
        try:
            principal = await self._ask(lambda: self._directory.authenticate(credential.kind, credential.text))
        except Unauthenticated:
            if self._entries.pop(digest, None) is not None:  # a flood of wrong keys makes nobody forget the right ones
                self._on_forget()
            if generation == self._generation:
                _bound(self._unknown, _UNKNOWN_CAPACITY)
                self._unknown[digest] = now_s + _UNKNOWN_TTL_S
            raise
        except Unavailable:
            is_kept = stale is not None and self._entries.get(digest) is stale
            if stale is not None and is_kept and self._left_s(stale.principal) > 0:
                return stale  # nothing said that it changed; the follower bounds how long that may go on
            raise
        finally:
            del self._flights[digest]
            flight.set()
        entry = _Entry(principal, now_s + min(self._fresh_s, self._left_s(principal)))
        if generation == self._generation:
            self._entries.pop(digest, None)
            _bound(self._entries, _CAPACITY)
            self._entries[digest] = entry
        return entry

    def _left_s(self, principal: Principal) -> float:
        """Return how long the credential will be valid."""
        if principal.expires_at_s is None:
            return inf
        return principal.expires_at_s - self._clock.now().timestamp()

    async def _is_suspended(self, tenant: str, namespace: str, known: Access | None) -> bool:
        try:
            status = await self._ask(lambda: self._directory.scope_status(tenant, namespace))
        except Unavailable:
            if known is None:
                raise
            return known.is_suspended  # as with a stale entry
        if status is None:
            raise NotFound("scope", f"{tenant}/{namespace}")
        return status != "active"

    async def _ask(self, question: Callable[[], Awaitable[_T]]) -> _T:
        with anyio.move_on_after(_QUESTION_WAIT_S):
            await self._questions.acquire()
            try:
                return await question()
            finally:
                self._questions.release()
        raise Overloaded("questions to nova", limit=_QUESTIONS_AT_ONCE)


def _concerns(change: ChangeLine, principal: Principal) -> bool:
    """Tell whether a change of who may do what is about this caller; when in doubt it is."""
    if principal.tenant not in (ANY, change.tenant):
        return False
    if change.kind in ("api_key", "tenant") or not change.name:
        return True
    return change.name in (principal.subject, f"session:{principal.session}")


def wanted_scope(principal: Principal, tenant_header: bytes, namespace_header: bytes) -> tuple[str, str]:
    """Return the tenant and namespace that a request is about.

    What has no header is the principal's own, or "default" for one that may act in any.

    Raises:
        ScopeUnclear: a name is malformed.
        ScopeDenied: the principal may not act there.
    """
    tenant = _name("X-Nova-Tenant", tenant_header)
    namespace = _name("X-Nova-Namespace", namespace_header)
    tenant = tenant or (DEFAULT_TENANT if principal.tenant == ANY else principal.tenant)
    namespace = namespace or (DEFAULT_NAMESPACE if principal.namespace == ANY else principal.namespace)
    if not principal.may_act_in(tenant, namespace):
        raise ScopeDenied(
            principal.subject,
            tenant=tenant,
            namespace=namespace,
            own_tenant="" if principal.tenant == ANY else principal.tenant,
        )
    return tenant, namespace


def _name(header: str, value: bytes) -> str:
    text = value.decode("latin-1").strip()
    try:
        return check_scope_name(header, text) if text else ""
    except InvalidRequest as error:
        raise ScopeUnclear(str(error)) from error


def _nothing() -> None:
    """Nobody else keeps anything."""


def _bound(table: dict[bytes, Any], capacity: int) -> None:
    """Make room for one more; the oldest goes first."""
    while len(table) >= capacity:
        del table[next(iter(table))]
