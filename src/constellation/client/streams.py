"""How the streams of the API are read: a function's answer piece by piece, and logs as they grow; no I/O."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeVar

import msgspec

from constellation.client.failures import ApiProblem
from constellation.client.replies import problem_of
from constellation.client.sse import Event, EventReader, MalformedEvent
from constellation.routes.models.ai import AiEnd, AiPiece
from constellation.routes.models.builds import BuildBody, BuildLogPart
from constellation.routes.models.invocations import FunctionError, LogBody
from constellation.routes.models.notifications import NotificationBody

T_co = TypeVar("T_co", covariant=True)


class StreamEnd(msgspec.Struct, kw_only=True, frozen=True):
    """How a streamed call ended. `error` is set when the handler raised, after whatever it had produced."""

    request_id: str = ""
    error: FunctionError | None = None
    duration_ms: float = 0.0
    cold_start: bool = False
    version: str = ""


Piece = bytes | StreamEnd
FUNCTION_ERROR_HEADER = "x-nova-function-error"


class Reading(Protocol[T_co]):
    """The state of one stream."""

    def feed(self, chunk: bytes) -> Iterable[T_co]: ...
    def end(self) -> Iterable[T_co]: ...


Reader = Callable[[Mapping[str, str]], Reading[T_co]]  # from the answer's headers


class PieceReading:
    """A function's answer.

    As events: text in pieces, then `done`, or `error` with what the handler raised or the platform's problem. As
    plain bytes: the pieces as they are; a failure on the way only breaks the connection. A handler that raised before
    it made anything is answered as a plain call is, with a header that says so.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._events = EventReader() if _is_events(headers) else None
        self._failure = bytearray() if FUNCTION_ERROR_HEADER in headers else None
        self._is_ended = False

    def feed(self, chunk: bytes) -> Iterable[Piece]:
        if self._events is not None:
            return [piece for event in self._events.feed(chunk) for piece in self._of(event)]
        if self._failure is None:
            return (chunk,)
        self._failure += chunk
        return ()

    def end(self) -> Iterable[Piece]:
        """Raises:
        MalformedEvent: the stream broke off before it said how the call ended.
        """
        if self._failure is not None:
            return (_decoded(bytes(self._failure), StreamEnd, what="the failure"),)
        if self._events is not None and not self._is_ended:
            raise MalformedEvent("the stream broke off before it said how the call ended")
        return ()

    def _of(self, event: Event) -> Iterable[Piece]:
        data = event.data.encode()
        match event.name:
            case "message":
                return (data,)
            case "done":
                self._is_ended = True
                return (_decoded(data, StreamEnd, what=event.name),)
            case "error":
                self._is_ended = True
                return (_end_of(data),)
        return ()


class LogReading:
    """The log of a function: each event `log` is one call, `error` the platform's problem."""

    def __init__(self, _headers: Mapping[str, str]) -> None:
        self._events = EventReader()

    def feed(self, chunk: bytes) -> Iterable[LogBody]:
        for event in self._events.feed(chunk):
            if event.name == "error":
                raise _problem_of(event.data.encode())
            if event.name == "log":
                yield _decoded(event.data.encode(), LogBody, what=event.name)

    def end(self) -> Iterable[LogBody]:
        return ()


class AiReading:
    """What a model writes: text in pieces, and how it ended; `error` is the platform's problem."""

    def __init__(self, _headers: Mapping[str, str]) -> None:
        self._events = EventReader()
        self._is_ended = False

    def feed(self, chunk: bytes) -> Iterable[str | AiEnd]:
        for event in self._events.feed(chunk):
            data = event.data.encode()
            match event.name:
                case "piece":
                    yield _decoded(data, AiPiece, what=event.name).text
                case "done":
                    self._is_ended = True
                    yield _decoded(data, AiEnd, what=event.name)
                case "error":
                    raise _problem_of(data)

    def end(self) -> Iterable[str | AiEnd]:
        """Raises:
        MalformedEvent: the stream broke off before its end.
        """
        if not self._is_ended:
            raise MalformedEvent("the stream broke off before the answer's end")
        return ()


class NotificationReading:
    """Notifications as they come: each event `notification` is one, `error` the platform's problem."""

    def __init__(self, _headers: Mapping[str, str]) -> None:
        self._events = EventReader()

    def feed(self, chunk: bytes) -> Iterable[NotificationBody]:
        for event in self._events.feed(chunk):
            if event.name == "error":
                raise _problem_of(event.data.encode())
            if event.name == "notification":
                yield _decoded(event.data.encode(), NotificationBody, what=event.name)

    def end(self) -> Iterable[NotificationBody]:
        return ()


BuildPiece = str | BuildBody


class BuildReading:
    """The log of a build: text, and when it is followed to its end, what became of the build."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._events = EventReader() if _is_events(headers) else None
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def feed(self, chunk: bytes) -> Iterable[BuildPiece]:
        if self._events is None:
            yield self._decode(chunk)
            return
        for event in self._events.feed(chunk):
            data = event.data.encode()
            match event.name:
                case "log":
                    yield _decoded(data, BuildLogPart, what=event.name).text
                case "done":
                    yield _decoded(data, BuildBody, what=event.name)
                case "error":
                    raise _problem_of(data)

    def end(self) -> Iterable[BuildPiece]:
        return ()


piece_reader: Reader[Piece] = PieceReading
build_reader: Reader[BuildPiece] = BuildReading
log_reader: Reader[LogBody] = LogReading
ai_reader: Reader[str | AiEnd] = AiReading
notification_reader: Reader[NotificationBody] = NotificationReading
T = TypeVar("T")


def _decoded(data: bytes, kind: type[T], *, what: str) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise MalformedEvent(f"{what}: {error}") from error


class _Facts(msgspec.Struct):
    """What tells a problem from an exception of the handler."""

    status: int | None = None
    code: str | None = None


def _end_of(data: bytes) -> StreamEnd:
    """Return how the call ended when the handler raised.

    Raises:
        ApiProblem: it was the platform that ended the call.
    """
    facts = _decoded(data, _Facts, what="error")
    if facts.status is not None and facts.code is not None:
        raise problem_of(facts.status, data, {})
    return StreamEnd(error=_decoded(data, FunctionError, what="error"))


def _problem_of(data: bytes) -> ApiProblem:
    facts = _decoded(data, _Facts, what="error")
    return problem_of(502 if facts.status is None else facts.status, data, {})


def _is_events(headers: Mapping[str, str]) -> bool:
    return headers.get("content-type", "").partition(";")[0].strip().lower() == "text/event-stream"
