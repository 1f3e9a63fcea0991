"""By which way a call came, and whether its function lets it in."""

from __future__ import annotations

from ipaddress import ip_address

from constellation.comet.refusals import IngressDenied
from constellation.nova.domain.function import Function
from constellation.nova.domain.ingress import FROM_OUTSIDE, Address, CallerKind, plain_address, refusal_of
from constellation.rpc.caller import Caller

_BY_SOURCE = {
    "http": CallerKind.API,
    "url": CallerKind.URL,
    "gateway": CallerKind.URL,
    "websocket": CallerKind.URL,
    "function": CallerKind.FUNCTION,
}
_FUNCTION = "function:"  # what the subject of a function that calls begins with
_PACKED_BYTES = (4, 16)


def kind_of(caller: Caller) -> CallerKind:
    """Return by which way a call came: planes say it, and no client can."""
    source = caller.context.source
    if source.startswith("schedule"):
        return CallerKind.SCHEDULE
    return _BY_SOURCE.get(source, CallerKind.QUEUE)


def refuse_uninvited(function: Function, caller: Caller, *, is_for_later: bool = False) -> None:
    """Let a call in that its function's policy lets in, or raise `IngressDenied`.

    Args:
        is_for_later: it is accepted now, and comes again when it is run.
    """
    policy = function.ingress
    if not policy.is_restricting:
        return
    kind = kind_of(caller)
    address = _address_of(caller) if kind in FROM_OUTSIDE else None
    name = caller.identity.subject.removeprefix(_FUNCTION)
    reason = refusal_of(policy, kind, function=name, address=address)
    if reason is None and is_for_later and kind is not CallerKind.SCHEDULE:
        reason = refusal_of(policy, CallerKind.QUEUE, function="", address=None)
    if reason is not None:
        raise IngressDenied(function.name, reason=reason, caller=kind.value)


def _address_of(caller: Caller) -> Address | None:
    packed = caller.context.peer
    return plain_address(ip_address(packed)) if len(packed) in _PACKED_BYTES else None
