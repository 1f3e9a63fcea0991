"""Notifications: read, mark, follow."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

from constellation.base.errors import InvalidRequest, NotFound
from constellation.nova.api.notification_feed import NotificationFeed, body_of
from constellation.nova.api.request import ApiRequest
from constellation.nova.domain.access import Identity
from constellation.nova.domain.notification import NotificationKind, Severity, kinds_of
from constellation.nova.domain.scope import acts_tenant_wide
from constellation.nova.store.notifications import NotificationFilter, Notifications, Sight
from constellation.routes.models.notifications import MarkedBody, NotificationBody, UnreadBody
from constellation.routes.models.paging import Page
from constellation.routes.reading import instant_of, number_of, page_of


class NotificationRoutes:
    """Operations on what the caller may see; what is read is so for the caller alone."""

    def __init__(self, notifications: Notifications, feed: NotificationFeed) -> None:
        self._notifications, self._feed = notifications, feed

    async def list_notifications(self, call: ApiRequest[None]) -> Page[NotificationBody]:
        query, window = call.query, call.window
        wanted = NotificationFilter(
            kinds=_kinds(query.get("kind") or None, query.get("severity") or None),
            subject=query.get("subject") or None,
            since=instant_of(query, "since"),
            is_unread=query.get("unread") in ("1", "true"),
        )
        found = await self._notifications.list(
            sight_of(call.identity), wanted, limit=window.limit, offset=window.offset
        )
        return page_of(found, window, body_of)

    async def unread_notifications(self, call: ApiRequest[None]) -> UnreadBody:
        return UnreadBody(unread=await self._notifications.unread(sight_of(call.identity)))

    async def follow_notifications(self, call: ApiRequest[None]) -> AsyncIterator[bytes]:
        after = number_of(call.query, "after", default=None, low=0, high=2**62)
        return self._feed.follow(sight_of(call.identity), after)

    async def read_notification(self, call: ApiRequest[None]) -> MarkedBody:
        text = call.params["id"]
        try:
            wanted = UUID(text)
        except ValueError:
            raise NotFound("notification", text[:80]) from None
        await self._notifications.read(sight_of(call.identity), wanted)
        return MarkedBody(updated=1)

    async def read_all_notifications(self, call: ApiRequest[None]) -> MarkedBody:
        return MarkedBody(updated=await self._notifications.read_all(sight_of(call.identity)))


def sight_of(identity: Identity) -> Sight:
    """Return what a caller may see: the platform's for its administrators, all namespaces for whoever manages the tenant."""
    return Sight(
        tenants=(identity.tenant, "") if identity.is_platform_admin else (identity.tenant,),
        namespace=None if acts_tenant_wide(identity) else identity.namespace,
        reader=identity.subject,
    )


def _kinds(kind: str | None, severity: str | None) -> frozenset[NotificationKind] | None:
    if kind is not None and kind not in set(NotificationKind):
        raise InvalidRequest(f"kind must be one of {', '.join(NotificationKind)}, not {kind[:40]!r}", field="kind")
    if severity is not None and severity not in set(Severity):
        raise InvalidRequest(f"severity must be one of {', '.join(Severity)}, not {severity[:40]!r}", field="severity")
    if kind is None and severity is None:
        return None
    found = frozenset(NotificationKind) if severity is None else kinds_of(Severity(severity))
    return found if kind is None else found & {NotificationKind(kind)}
