"""How the two streams of the API are read: a function's answer piece by piece, and its log as it grows; no I/O."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeVar

import msgspec

from constellation.client.failures import ApiProblem
from constellation.client.replies import problem_of
from constellation.client.sse import Event, EventReader, MalformedEvent
from constellation.routes.models.invocations import FunctionError, LogBody

T_co = TypeVar("T_co", covariant=True)


class StreamEnd(msgspec.Struct, kw_only=True, frozen=True):
    """How a streamed call ended. `error` is set when the handler raised, after whatever it had produced."""

    request_id: str = ""
    error: FunctionError | None = None
    duration_ms: float = 0.0
    cold_start: bool = False
    version: str = ""


Piece = bytes | StreamEnd


class Reading(Protocol[T_co]):
    """The state of one stream."""

    def feed(self, chunk: bytes) -> Iterable[T_co]: ...
    def end(self) -> Iterable[T_co]: ...


Reader = Callable[[Mapping[str, str]], Reading[T_co]]  # from the answer's headers


class PieceReading:
    """A function's answer: events `chunk`, then one `end` or `error`; any other content type is the output itself."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._events = EventReader() if _is_events(headers) else None
        self._is_ended = False

    def feed(self, chunk: bytes) -> Iterable[Piece]:
        if self._events is None:
            return (chunk,)
        return [piece for event in self._events.feed(chunk) for piece in self._of(event)]

    def end(self) -> Iterable[Piece]:
        """Raises:
        MalformedEvent: the stream broke off before it said how the call ended.
        """
        if self._events is not None and not self._is_ended:
            raise MalformedEvent("the stream broke off before it said how the call ended")
        return ()

    def _of(self, event: Event) -> Iterable[Piece]:
        match event.name:
            case "end":
                self._is_ended = True
                return (_decoded(event, StreamEnd),)
            case "problem":
                raise problem_in(event)
            case "chunk":
                return (event.data.encode(),)
            case "base64":
                return (b64decode(event.data),)
        return ()


class LogReading:
    """The log of a function: each event `log` is one call; others are passed over."""

    def __init__(self, _headers: Mapping[str, str]) -> None:
        self._events = EventReader()

    def feed(self, chunk: bytes) -> Iterable[LogBody]:
        for event in self._events.feed(chunk):
            if event.name == "problem":
                raise problem_in(event)
            if event.name in ("log", "message"):
                yield _decoded(event, LogBody)

    def end(self) -> Iterable[LogBody]:
        return ()


piece_reader: Reader[Piece] = PieceReading
log_reader: Reader[LogBody] = LogReading
T = TypeVar("T")


def _decoded(event: Event, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(event.data, type=kind)
    except msgspec.MsgspecError as error:
        raise MalformedEvent(f"event {event.name!r}: {error}") from error


def problem_in(event: Event) -> ApiProblem:
    """Return the problem that an event carries; its own status, 502 when it has none."""
    try:
        status = msgspec.json.decode(event.data).get("status", 502)
    except (msgspec.MsgspecError, AttributeError):
        status = 502
    return problem_of(status if isinstance(status, int) else 502, event.data.encode(), {})


def _is_events(headers: Mapping[str, str]) -> bool:
    return headers.get("content-type", "").partition(";")[0].strip().lower() == "text/event-stream"
