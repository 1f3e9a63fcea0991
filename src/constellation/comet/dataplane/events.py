"""Server-sent events: the framing, and text that arrives in arbitrary pieces."""

from __future__ import annotations

import codecs
import re

CONTENT_TYPE = "text/event-stream; charset=utf-8"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
PING = b": ping\n\n"  # a comment; keeps idle proxies from closing the connection
_LINE_END = re.compile(r"\r\n|\r|\n")


def event(data: str, *, kind: str | None = None, id: str | None = None) -> bytes:
    """Return one event; line ends in `data` become lines of data."""
    lines = [f"id: {id}"] if id else []
    if kind:
        lines.append(f"event: {kind}")
    lines.extend(f"data: {line}" for line in _LINE_END.split(data))
    return ("\n".join(lines) + "\n\n").encode()


class TextPieces:
    """Turns pieces of bytes into text; a character cut in two by a piece's end comes with the next piece."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, piece: bytes, *, is_last: bool = False) -> str:
        return self._decoder.decode(piece, is_last)
