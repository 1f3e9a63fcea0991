"""The operations on notifications, as `calls`: functions from their arguments to their `Call`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from constellation.client.call import Call, call, page_call
from constellation.routes.models import notifications as m
from constellation.routes.models.paging import DEFAULT_LIMIT, Page

SILENCE_S = 60.0  # chosen: a stream that does not even ping for so long is asked again by whoever follows it


def list_notifications(
    *,
    is_unread: bool = False,
    kind: str | None = None,
    severity: str | None = None,
    subject: str | None = None,
    since: datetime | None = None,
    page_size: int = DEFAULT_LIMIT,
) -> Call[Page[m.NotificationBody]]:
    """What happened that people want to know, the last first."""
    query = {
        "unread": "1" if is_unread else None,
        "kind": kind,
        "severity": severity,
        "subject": subject,
        "since": None if since is None else since.isoformat(),
    }
    return page_call("list_notifications", m.NotificationBody, page_size=page_size, query=query)


def unread_notifications() -> Call[m.UnreadBody]:
    """How many the caller has not read."""
    return call("unread_notifications", m.UnreadBody)


def follow_notifications(*, after: int | None = None) -> Call[Any]:
    """Notifications as they come, for up to an hour; `after` is the `seq` of the last that was seen."""
    return call("follow_notifications", None, query={"after": after}, timeout_s=SILENCE_S)


def read_notification(notification_id: str) -> Call[m.MarkedBody]:
    """Mark one as read by the caller, until it happens again."""
    return call("read_notification", m.MarkedBody, params={"id": notification_id})


def read_all_notifications() -> Call[m.MarkedBody]:
    """Mark all as read by the caller."""
    return call("read_all_notifications", m.MarkedBody)
