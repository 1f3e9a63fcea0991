"""The routes of notifications."""

from __future__ import annotations

from constellation.nova.domain.access import Permission
from constellation.routes.models.notifications import MarkedBody, NotificationBody, UnreadBody
from constellation.routes.models.paging import Page
from constellation.routes.route import PAGING, Query, nova

P = Permission

NOTIFICATIONS = (
    nova("list_notifications", "GET", "/notifications", P.NOTIFICATION_READ,
         "What happened that people want to know, the last first; who is bound to a namespace sees that of it",
         response=Page[NotificationBody],
         query=(*PAGING, Query(name="unread", type="boolean", about="1: only what the caller has not read"),
                Query(name="kind", about="such as build_failed"), Query(name="severity", about="info, warning or error"),
                Query(name="subject", about="such as a function's name"),
                Query(name="since", about="RFC 3339 instant of when it happened last"))),
    nova("unread_notifications", "GET", "/notifications/unread-count", P.NOTIFICATION_READ,
         "How many the caller has not read", response=UnreadBody),
    nova("follow_notifications", "GET", "/notifications/stream", P.NOTIFICATION_READ,
         "Notifications as they come: server-sent events `notification`, whose id is for `after`",
         streams=True, media_types=("text/event-stream",),
         query=(Query(name="after", type="integer", about="a `seq`: what came after it; absent: from now on"),)),
    nova("read_notification", "POST", "/notifications/{id}/read", P.NOTIFICATION_READ,
         "Mark one as read by the caller, until it happens again", response=MarkedBody),
    nova("read_all_notifications", "POST", "/notifications/read-all", P.NOTIFICATION_READ,
         "Mark all as read by the caller", response=MarkedBody),
)  # fmt: skip
