"""The operation on the audit, as `calls`: a function from its arguments to its `Call`."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from constellation.client.call import Call, page_call
from constellation.routes.models.audit import AuditBody
from constellation.routes.models.paging import DEFAULT_LIMIT, Page


def list_audit(
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    actor: str | None = None,
    action: str | None = None,
    outcome: str | None = None,
    resource: str | None = None,
    request_id: str | UUID | None = None,
    namespace: str | None = None,
    all_tenants: bool = False,
    page_size: int = DEFAULT_LIMIT,
) -> Call[Page[AuditBody]]:
    """Who changed what, and who was refused, newest first; `resource` is what the resource begins with."""
    return page_call(
        "list_audit",
        AuditBody,
        page_size=page_size,
        query={
            "since": None if since is None else since.isoformat(),
            "until": None if until is None else until.isoformat(),
            "actor": actor,
            "action": action,
            "outcome": outcome,
            "resource": resource,
            "request_id": None if request_id is None else str(request_id),
            "namespace": namespace,
            "all_tenants": "1" if all_tenants else None,
        },
    )
