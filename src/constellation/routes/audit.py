"""The route of the audit."""

from __future__ import annotations

from constellation.nova.domain.access import Permission
from constellation.routes.models.audit import AuditBody
from constellation.routes.models.paging import Page
from constellation.routes.route import PAGING, Query, Route, nova

AUDIT: tuple[Route, ...] = (
    nova("list_audit", "GET", "/audit", Permission.AUDIT_READ,
         "Who changed what in the tenant, and who was refused, newest first; bound to a namespace, in that alone",
         response=Page[AuditBody],
         query=(*PAGING, Query(name="since", about="RFC 3339 instant"), Query(name="until", about="RFC 3339 instant"),
                Query(name="actor", about="a subject, such as apikey:ci"),
                Query(name="action", about="an operation, such as update_function"),
                Query(name="outcome", about="succeeded, refused, failed or unknown"),
                Query(name="resource", about="what the resource begins with, such as /functions/hello"),
                Query(name="request_id", about="one request"), Query(name="namespace", about="only in this one"),
                Query(name="all_tenants", type="boolean",
                      about="1: of every tenant, and of callers that nobody knows; for platform administrators"))),
)  # fmt: skip
