"""Server-sent events, parsed as they arrive; no I/O."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

MAX_EVENT_CHARS = 16 << 20  # chosen: above the largest log of a call and the largest chunk of a stream


class MalformedEvent(ValueError):
    """The stream can not be read on: an event is too large, is not what it should be, or the end is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    name: str  # "message" when the server gave none
    data: str
    id: str = ""


class EventReader:
    """Feed it bytes; it returns the events that they complete. Comments (the server's pings) are dropped."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._rest = ""
        self._name, self._id = "", ""
        self._data: list[str] = []
        self._chars = 0

    def feed(self, chunk: bytes) -> list[Event]:
        """Raises:
        MalformedEvent: more than `MAX_EVENT_CHARS` came without the empty line that ends an event.
        """
        text = self._rest + self._decode(chunk)
        # A carriage return at the end may be the first half of a line break: it waits for its other half.
        held = text.endswith("\r")
        lines = (text[:-1] if held else text).replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._rest = lines.pop() + ("\r" if held else "")
        events = [event for event in map(self._line, lines) if event is not None]
        if self._chars + len(self._rest) > MAX_EVENT_CHARS:
            raise MalformedEvent(f"an event of over {MAX_EVENT_CHARS} characters")
        return events

    def _line(self, line: str) -> Event | None:
        if not line:
            return self._complete()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._data.append(value)
                self._chars += len(value) + 1
            case "event":
                self._name = value
            case "id":
                self._id = value
        return None

    def _complete(self) -> Event | None:
        event = None
        if self._data:
            event = Event(name=self._name or "message", data="\n".join(self._data), id=self._id)
        self._name, self._data, self._chars = "", [], 0
        return event
