"""Reading the audit."""

from __future__ import annotations

from constellation.base.errors import InvalidRequest
from constellation.nova.api.request import ApiRequest
from constellation.nova.domain.audit import AuditEvent, Outcome
from constellation.nova.domain.scope import acts_tenant_wide, check_platform
from constellation.nova.store.audit import Audit, AuditFilter
from constellation.routes.models.audit import AuditBody
from constellation.routes.models.paging import Page
from constellation.routes.reading import instant_of, page_of


class AuditRoutes:
    """The audit of the caller's tenant; whoever is bound to a namespace sees that of the namespace."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    async def list_audit(self, call: ApiRequest[None]) -> Page[AuditBody]:
        query, window = call.query, call.window
        outcome = query.get("outcome") or None
        if outcome is not None and outcome not in set(Outcome):
            raise InvalidRequest(f"outcome must be one of {', '.join(Outcome)}, not {outcome[:40]!r}", field="outcome")
        tenant: str | None = call.identity.tenant
        namespace = query.get("namespace") or None
        if query.get("all_tenants") in ("1", "true"):
            check_platform(call.identity, "read the audit of every tenant")
            tenant = None
        elif not acts_tenant_wide(call.identity):
            namespace = call.identity.namespace
        found = await self._audit.list(
            AuditFilter(
                tenant=tenant,
                namespace=namespace,
                actor=query.get("actor") or None,
                action=query.get("action") or None,
                outcome=outcome,
                resource=query.get("resource") or None,
                request_id=query.get("request_id") or None,
                since=instant_of(query, "since"),
                until=instant_of(query, "until"),
            ),
            limit=window.limit,
            offset=window.offset,
        )
        return page_of(found, window, _body)


def _body(event: AuditEvent) -> AuditBody:
    return AuditBody(
        id=event.id,
        at=event.at,
        tenant=event.tenant,
        namespace=event.namespace,
        actor=event.actor,
        action=event.action,
        method=event.method,
        resource=event.resource,
        fields=list(event.fields),
        outcome=event.outcome.value,
        status=event.status,
        code=event.code,
        request_id=event.request_id,
        peer=event.peer,
        user_agent=event.user_agent,
        count=event.count,
    )
