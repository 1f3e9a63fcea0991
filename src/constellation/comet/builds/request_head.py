"""The head of a request to the proxy, read strictly: one reading of it, or a refusal."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

HEAD_BYTES = 16 << 10  # chosen: package tools send a few hundred bytes

_CONNECT = re.compile(rb"CONNECT ([A-Za-z0-9.-]{1,253}):([0-9]{1,5}) HTTP/1\.[01]")
_ABSOLUTE = re.compile(rb"(GET|HEAD) (http://[\x21-\x7e]{1,8000}) HTTP/1\.[01]")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e\t\x80-\xff]*)")
# A body would have to be measured, and what is between us and the client is not the server's to know.
_BODY = {b"content-length", b"transfer-encoding"}
_OURS = {
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"proxy-authorization",
    b"te",
    b"trailer",
    b"upgrade",
    b"host",
}


class HeadRefused(Exception):
    """It can not be served; `status` and the text say why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Where a client wants to go, and what is to be said there first: nothing for a tunnel."""

    host: str
    port: int
    opening: bytes

    @property
    def is_tunnel(self) -> bool:
        return not self.opening


def read_head(head: bytes) -> Wanted:
    """Read a head up to its empty line, which is not part of it.

    Raises:
        HeadRefused: another method or form, or a field that no correct client sends.
    """
    first, *rest = head.split(b"\r\n")
    fields = []
    for line in rest:
        found = _FIELD.fullmatch(line)
        if found is None:
            raise HeadRefused(400, "a malformed field")
        fields.append((found[1].lower(), line))
    connect = _CONNECT.fullmatch(first)
    if connect is not None:
        return Wanted(host=connect[1].decode().lower(), port=_port(int(connect[2])), opening=b"")
    absolute = _ABSOLUTE.fullmatch(first)
    if absolute is None:
        raise HeadRefused(405, "only CONNECT, and GET and HEAD of a whole http URL, are served")
    if any(name in _BODY for name, _ in fields):
        raise HeadRefused(400, "a request with a body")
    try:
        url = urlsplit(absolute[2].decode())
        port = _port(url.port or 80)
    except ValueError:
        raise HeadRefused(400, "a malformed URL") from None
    if not url.hostname or "@" in url.netloc:
        raise HeadRefused(400, "a malformed URL")
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    kept = [line for name, line in fields if name not in _OURS]
    lines = [absolute[1] + b" " + target.encode() + b" HTTP/1.1", b"Host: " + url.netloc.encode(), *kept]
    return Wanted(host=url.hostname, port=port, opening=b"\r\n".join([*lines, b"Connection: close", b"", b""]))


def _port(number: int) -> int:
    if not 1 <= number <= 65535:
        raise HeadRefused(400, "a port out of range")
    return number
