"""Refusals that the edge passed on without Python, as events of the audit."""

from __future__ import annotations

from constellation.base.errors import Unauthenticated
from constellation.base.ids import uuid7
from constellation.native.edge import Edge, EdgeNote
from constellation.nova.domain.access import Identity
from constellation.nova.domain.audit import AuditEvent, outcome_of
from constellation.nova.domain.identity import verify

_AT_ANY_TIME_S = 0  # the token was good when its call was made


class EdgeAudit:
    """Takes the edge's notes; called, it says what they come to, and how many calls were not noted."""

    def __init__(self, edge: Edge, *, identity_key: bytes) -> None:
        self._edge, self._key = edge, identity_key

    def __call__(self) -> tuple[list[AuditEvent], int]:
        notes, lost = self._edge.take_notes()
        return [self._event(note) for note in notes], lost

    def _event(self, note: EdgeNote) -> AuditEvent:
        identity = self._identity(note.token)
        action, path = ("invoke_stream", "invoke-stream") if note.is_stream else ("invoke", "invoke")
        return AuditEvent(
            tenant="" if identity is None else identity.tenant,
            namespace="" if identity is None else identity.namespace,
            id=uuid7(),
            actor="" if identity is None else identity.subject,
            action=action,
            method="POST",
            resource=f"/functions/{note.function}/{path}",
            fields=(),
            outcome=outcome_of(note.status),
            status=note.status,
            code=note.code,
            request_id=note.request_id,
            peer=note.peer,
            user_agent="",
            count=note.count,
        )

    def _identity(self, token: str) -> Identity | None:
        try:
            return verify(self._key, token, now_s=_AT_ANY_TIME_S) if token else None
        except Unauthenticated:
            return None
