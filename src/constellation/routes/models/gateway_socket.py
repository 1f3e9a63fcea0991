"""What of a route's policy a WebSocket can not keep: it has a handshake and messages, and neither bodies nor an answer."""

from __future__ import annotations

from constellation.nova.domain.mapping import WHOLE, ResponseRules, source_of
from constellation.routes.models.gateway_policy import RoutePolicy

# What the events of a connection say themselves.
OWN = frozenset({"type", "event", "connection_id", "request_id", "body", "isBase64Encoded", "subprotocols", "code"})


def socket_conflict(policy: RoutePolicy) -> tuple[str, str] | None:
    """Return the first field that no WebSocket could keep, and why; None when all of it holds."""
    if policy.stream:
        return "policy.stream", "a WebSocket has messages, and no answer that could be sent as it is made"
    if policy.mock is not None:
        return "policy.mock", "it answers HTTP requests, and no messages"
    if policy.max_body_bytes:
        return "policy.max_body_bytes", "messages of WebSockets have a bound of the gateway's"
    if policy.schema.body is not None:
        return "policy.schema.body", "the messages of a WebSocket are judged by no schema"
    if policy.response != ResponseRules():
        return "policy.response", "what a function says to a WebSocket is sent as it is"
    for target, rule in policy.request.items():
        if target == WHOLE:
            return "policy.request", f"{target!r} would be the whole event, which has the message of a WebSocket"
        if target.partition(".")[0] in OWN:
            return "policy.request", f"{target[:80]!r} is what the event of a WebSocket says itself"
        if source_of(rule).partition(".")[0] == "body":
            return "policy.request", f"{source_of(rule)[:80]!r} is of a body, and a WebSocket has messages"
    return None
