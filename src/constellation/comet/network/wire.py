"""What comet and its network helper say to each other: one JSON text a datagram, a process's descriptor with an attach."""

from __future__ import annotations

import msgspec

from constellation.nova.domain.network import NetworkPolicy

MAX_BYTES = 1 << 17  # a policy of the most rules with the longest names has a quarter of it


class Attach(msgspec.Struct, frozen=True, kw_only=True, tag="attach"):
    """Give the process whose descriptor comes along a wire. Nothing passes by it yet."""

    ticket: int


class Permit(msgspec.Struct, frozen=True, kw_only=True, tag="permit"):
    """Let through what a policy lets through, from now on; once for each wire."""

    ticket: int
    number: int
    policy: NetworkPolicy


class Detach(msgspec.Struct, frozen=True, kw_only=True, tag="detach"):
    """Take a wire back with all that belongs to it; one that is not there counts as taken back."""

    ticket: int
    number: int


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """To the request with the ticket; ticket 0, unasked: it takes requests now, or why it can not."""

    ticket: int
    number: int = 0  # of the wire, after an attach
    error: str = ""


Request = Attach | Permit | Detach
encode = msgspec.json.Encoder().encode
decode_request = msgspec.json.Decoder(Request).decode
decode_answer = msgspec.json.Decoder(Answer).decode
