"""One base for every failure raised on purpose; each class states code, status and retryability once.

A problem (RFC 9457) is the same JSON over HTTP (the body) and gRPC (the trailer `nova-problem-bin`).
Classes build their message from facts; the facts stay as attributes and, where a client can act on
them, are repeated in `extras`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

Extra = str | int | float | bool | None | list[str] | list[dict[str, str]]


class ConstellationError(Exception):
    """Base of every failure this platform raises on purpose."""

    code: str = "internal"  # stable; clients match on it
    http_status: int = 500
    retryable: bool = False  # True: the same call may succeed later, unchanged
    _by_code: ClassVar[dict[str, type[ConstellationError]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "code" not in cls.__dict__:
            raise TypeError(f"{cls.__name__} must state its own code")
        owner = cls._by_code.setdefault(cls.code, cls)
        if owner is not cls and owner.__qualname__ != cls.__qualname__:
            raise TypeError(f"{cls.__name__} reuses code {cls.code!r} of {owner.__name__}")

    def __init__(
        self, message: str, *, extras: Mapping[str, Extra] | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.extras: Mapping[str, Extra] = extras or {}
        self.retry_after_s = retry_after_s  # whole seconds, as the header Retry-After wants them

    def problem(self) -> dict[str, object]:
        """Return the RFC 9457 body: type, title, status, detail, code, then the extras."""
        body: dict[str, object] = {
            "type": f"urn:constellation:problem:{self.code}",
            "title": self.code.replace("_", " "),
            "status": self.http_status,
            "detail": str(self),
            "code": self.code,
            "retryable": self.retryable,
        }
        if self.retry_after_s is not None:
            body["retry_after_s"] = self.retry_after_s
        for name, value in self.extras.items():
            body.setdefault(name, value)
        return body


class InvalidRequest(ConstellationError):
    """The caller sent something that can not be understood or is out of range."""

    code, http_status = "invalid_request", 400

    def __init__(self, detail: str, *, field: str | None = None) -> None:
        super().__init__(detail, extras={"field": field} if field else None)
        self.field = field


class Unauthenticated(ConstellationError):
    """No credential, or one that is unknown, disabled or expired."""

    code, http_status = "unauthenticated", 401

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


class Forbidden(ConstellationError):
    """The caller is known and may not do this."""

    code, http_status = "forbidden", 403

    def __init__(self, subject: str, *, permission: str, reason: str | None = None) -> None:
        super().__init__(reason or f"{subject} lacks the permission {permission}", extras={"permission": permission})
        self.subject, self.permission = subject, permission


class ScopeDenied(ConstellationError):
    """The caller asked for a tenant or namespace outside its scope."""

    code, http_status = "scope_denied", 403

    def __init__(self, subject: str, *, tenant: str, namespace: str, own_tenant: str = "") -> None:
        super().__init__(
            f"{subject} may not act in {tenant}/{namespace}", extras={"tenant": tenant, "namespace": namespace}
        )
        self.subject, self.own_tenant = subject, own_tenant  # where the audit of it belongs


class TenantSuspended(ConstellationError):
    """The tenant is suspended: it can neither write nor invoke."""

    code, http_status = "tenant_suspended", 403

    def __init__(self, tenant: str) -> None:
        super().__init__(f"tenant {tenant} is suspended", extras={"tenant": tenant})


class NotFound(ConstellationError):
    """The named thing does not exist in the caller's scope."""

    code, http_status = "not_found", 404

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"{kind} {name!r} does not exist", extras={"kind": kind, "name": name})
        self.kind, self.name = kind, name


class RouteNotFound(ConstellationError):
    """No route has this path."""

    code, http_status = "route_not_found", 404

    def __init__(self, path: str) -> None:
        super().__init__(f"no route {path!r}; see /openapi.json")


class MethodNotAllowed(ConstellationError):
    """The path exists, this method on it does not."""

    code, http_status = "method_not_allowed", 405

    def __init__(self, method: str, path: str, *, allow: list[str]) -> None:
        super().__init__(f"{path} takes {', '.join(allow)}, not {method}", extras={"allow": allow})
        self.allow = allow


class AlreadyExists(ConstellationError):
    """The name is taken in this scope."""

    code, http_status = "already_exists", 409

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"{kind} {name!r} exists already", extras={"kind": kind, "name": name})


class VersionConflict(ConstellationError):
    """Somebody changed the row between the caller's read and its write."""

    code, http_status, retryable = "version_conflict", 409, True

    def __init__(self, kind: str, name: str, *, found: int | None = None) -> None:
        extras: dict[str, Extra] = {"kind": kind} if found is None else {"kind": kind, "version": found}
        super().__init__(f"{kind} {name!r} was changed by somebody else; read it again", extras=extras)


class PreconditionFailed(ConstellationError):
    """The thing is not any more what the caller read: its entity tag is another."""

    code, http_status = "precondition_failed", 412

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(
            f"{kind} {name!r} was changed since it was read: its ETag is not that of If-Match; read it again",
            extras={"kind": kind, "name": name},
        )


class StateConflict(ConstellationError):
    """The thing is in a state in which this can not be done."""

    code, http_status = "state_conflict", 409

    def __init__(self, kind: str, name: str, *, state: str, wanted: str) -> None:
        super().__init__(f"{kind} {name!r} is {state}; it must be {wanted}", extras={"state": state})


class PayloadTooLarge(ConstellationError):
    """A body over its limit; nothing of it was used."""

    code, http_status = "payload_too_large", 413

    def __init__(self, *, limit_bytes: int) -> None:
        super().__init__(f"the body is over the limit of {limit_bytes} bytes", extras={"limit_bytes": limit_bytes})


class UnsupportedMediaType(ConstellationError):
    """A body that says it is something else than JSON."""

    code, http_status = "unsupported_media_type", 415

    def __init__(self, given: str) -> None:
        super().__init__(f"the body must be application/json, not {given[:100]!r}")


class BodyTimeout(ConstellationError):
    """The rest of a body did not come in time."""

    code, http_status = "request_timeout", 408

    def __init__(self, *, after_s: float) -> None:
        super().__init__(f"the body was not complete after {after_s:g} s", extras={"after_s": after_s})


class Overloaded(ConstellationError):
    """As much work is in hand already as may be taken."""

    code, http_status, retryable = "overloaded", 503, True

    def __init__(self, what: str, *, limit: int) -> None:
        super().__init__(f"{what}: {limit} in hand already", extras={"limit": limit}, retry_after_s=1)


class DeadlineExceeded(ConstellationError):
    """The caller's time ran out before an answer was there."""

    code, http_status, retryable = "deadline_exceeded", 504, True

    def __init__(self, what: str, *, after_s: float) -> None:
        super().__init__(f"{what}: no answer within {after_s:g} s", extras={"after_s": after_s})


class Unavailable(ConstellationError):
    """A part that this answer needs can not be reached now."""

    code, http_status, retryable = "unavailable", 503, True

    def __init__(self, what: str, *, reason: str, may_have_begun: bool = True) -> None:
        super().__init__(f"{what} can not be reached: {reason}", retry_after_s=1)
        self.may_have_begun = may_have_begun  # False: the other side provably got nothing to act on


class RemoteProblem(ConstellationError):
    """A problem that another plane stated; passed on as it came, code and status included."""

    code, http_status = "remote_problem", 502

    def __init__(self, body: Mapping[str, object]) -> None:
        super().__init__(str(body.get("detail", "")))
        status, code, after = body.get("status"), body.get("code"), body.get("retry_after_s")
        self.code = code if isinstance(code, str) else "internal"
        self.http_status = status if isinstance(status, int) and 400 <= status <= 599 else 500
        self.retryable = body.get("retryable") is True
        self.retry_after_s = after if isinstance(after, int) else None
        self._body = dict(body)

    def problem(self) -> dict[str, object]:
        return dict(self._body)
