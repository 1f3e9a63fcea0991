"""`POST /functions/{name}/invoke-stream`: the answer is passed on as the function makes it, no faster than the client takes it.

It is `text/plain; charset=utf-8`, piece by piece; with `Accept: text/event-stream` each piece is an event, the last one
`done`, or `error` when something failed on the way. What fails before the first byte has its own status. What fails after it
can only cut the plain text off: the body never ends properly, so no client takes a part for the whole.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, Protocol
from urllib.parse import unquote

import msgspec

from constellation.base.errors import ConstellationError, Unavailable
from constellation.routes.registry import Match
from constellation.wire.gen import nova_pb2
from constellation.zenith.calls import context_of, idempotency_key_of, qualifier_of, sticky_key_of, timeout_of
from constellation.zenith.errors import HandlerFailed
from constellation.zenith.event import EventReader
from constellation.zenith.execution import Execution
from constellation.zenith.invoke import answer_whole
from constellation.zenith.principals import Access
from constellation.zenith.request import Request

STREAM_S = 3600.0  # chosen: the longest that an answer may take to be made and taken
TEXT_HEADERS = [(b"content-type", b"text/plain; charset=utf-8"), (b"x-content-type-options", b"nosniff")]
EVENT_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
_LINE_END = re.compile(r"\r\n|\r|\n")


class InvokeStream:
    """Calls a function with a JSON event, and passes its answer on piece by piece."""

    def __init__(self, *, execution: Execution, events: EventReader, max_timeout_s: float) -> None:
        self._execution, self._events, self._max_timeout_s = execution, events, max_timeout_s

    async def __call__(self, request: Request, match: Match, access: Access | None, /) -> None:
        assert access is not None
        name = unquote(match.params["name"])
        timeout_s = timeout_of(request, max_s=self._max_timeout_s)
        context, key = context_of(request), idempotency_key_of(request)
        payload = await self._events.read(request, match.route)
        answer = EventAnswer(request) if accepts_events(request) else TextAnswer(request, name)
        call = nova_pb2.InvokeRequest(
            function=name,
            payload=payload,
            timeout_ms=0 if timeout_s is None else max(1, round(timeout_s * 1000)),
            qualifier=qualifier_of(request),
            sticky_key=sticky_key_of(request),
            peer=request.peer,
        )
        context = replace(context, idempotency_key=key) if key else context
        stream = self._execution.stream(call, token=access.token, context=context, timeout_s=STREAM_S)
        await pass_on(stream, request, answer)


class Answer(Protocol):
    """Where an answer in pieces goes."""

    @property
    def has_enough(self) -> bool:
        """No more is wanted: the function is stopped."""
        ...

    async def piece(self, piece: bytes) -> None: ...

    async def end(self, end: nova_pb2.StreamEnd) -> None: ...

    async def told(self, error: ConstellationError) -> bool:
        """Tell a client that holds a part of the answer what failed; False when that can not be said."""
        ...


async def pass_on(call: AbstractAsyncContextManager[Any], request: Request, answer: Answer) -> None:
    """Make a call, and pass on what comes of it, no faster than the client takes it.

    Raises:
        ConstellationError: it failed, and the client does not know yet.
    """
    try:
        async with call as stream:
            end = None
            async for message in stream:
                if end is not None:
                    raise Unavailable("comet", reason="its answer goes on behind its end")
                if message.data:
                    await answer.piece(message.data)
                    if answer.has_enough:
                        await stream.cancel()
                        return
                if message.HasField("end"):
                    end = message.end
            await stream.recv_trailing_metadata()
            if end is None:
                raise Unavailable("comet", reason="its answer has no end")
    except ConstellationError as error:
        if not request.is_started or not await answer.told(error):
            raise
    else:
        await answer.end(end)


class TextAnswer:
    """An answer as it is."""

    has_enough = False

    def __init__(self, request: Request, function: str) -> None:
        self._request, self._function = request, function

    async def piece(self, piece: bytes) -> None:
        await self._start()
        await self._request.chunk(piece)

    async def end(self, end: nova_pb2.StreamEnd) -> None:
        if end.error and self._request.is_started:
            raise HandlerFailed(self._function, end.error)
        if end.error:
            await answer_whole(self._request, end)
            return
        await self._start()
        await self._request.end()

    async def told(self, _error: ConstellationError) -> bool:
        return False

    async def _start(self) -> None:
        if not self._request.is_started:
            await self._request.start(200, TEXT_HEADERS)


class EventAnswer:
    """An answer as server-sent events; a character cut in two by a piece's end comes with the next piece."""

    has_enough = False

    def __init__(self, request: Request) -> None:
        self._request = request
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    async def piece(self, piece: bytes) -> None:
        await self._start()
        text = self._decode(piece)
        if text:
            await self._request.chunk(event(text))

    async def end(self, end: nova_pb2.StreamEnd) -> None:
        if end.error:
            await self._last(end.error.decode("utf-8", "replace"), kind="error")
        else:
            await self._last(end_text(end, self._request), kind="done")

    async def told(self, error: ConstellationError) -> bool:
        problem: dict[str, Any] = error.problem()
        problem["request_id"] = str(self._request.request_id)
        await self._last(json.dumps(problem, separators=(",", ":")), kind="error")
        return True

    async def _last(self, data: str, *, kind: str) -> None:
        await self._start()
        left = self._decode(b"", True)
        if left:
            await self._request.chunk(event(left))
        await self._request.chunk(event(data, kind=kind))
        await self._request.end()

    async def _start(self) -> None:
        if not self._request.is_started:
            await self._request.start(200, EVENT_HEADERS)


def event(data: str, *, kind: str | None = None) -> bytes:
    """Return one event; line ends in `data` become lines of data."""
    lines: Sequence[str] = [f"data: {line}" for line in _LINE_END.split(data)]
    return ("\n".join(lines if kind is None else [f"event: {kind}", *lines]) + "\n\n").encode()


def end_text(end: nova_pb2.StreamEnd, request: Request) -> str:
    """Return what the last event says of a call that ended well."""
    request_id, is_cold = end.request_id or str(request.request_id), "true" if end.cold_start else "false"
    version = msgspec.json.encode(end.version).decode()
    return f'{{"request_id":"{request_id}","duration_ms":{end.duration_ms:.3f},"cold_start":{is_cold},"version":{version}}}'


def accepts_events(request: Request) -> bool:
    return any(
        part.partition(b";")[0].strip().lower() == b"text/event-stream"
        for name, value in request.headers
        if name == b"accept"
        for part in value.split(b",")
    )
