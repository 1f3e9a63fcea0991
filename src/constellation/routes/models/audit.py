"""Bodies of the audit."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from msgspec import Struct


class AuditBody(Struct, kw_only=True, frozen=True):
    id: UUID
    at: datetime
    tenant: str  # empty: of nobody who is known
    namespace: str
    actor: str  # empty: unknown
    action: str  # an operation of the API
    method: str
    resource: str
    fields: list[str]  # of the request's body: which, never what
    outcome: str  # succeeded, refused, failed or unknown
    status: int
    code: str
    request_id: str
    peer: str
    user_agent: str
    count: int  # of refusals alike that came at once
