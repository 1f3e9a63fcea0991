"""What a function streams, as the HTTP answer of its URL.

The first piece may be a prelude: an object with a number in `statusCode` or `status`, which says status and `headers`, and
maybe a `body` that comes first. It may also end in eight zero bytes with the body behind them, as AWS's runtimes write it.
All else are bytes of the body. Without a prelude the answer is 200 and plain text, or server-sent events, one a piece, to
a client that accepts them. What fails before the first byte is a problem; what fails later cuts the answer off.
"""

from __future__ import annotations

from dataclasses import dataclass

from constellation.base.errors import ConstellationError
from constellation.wire.gen import nova_pb2
from constellation.zenith.http_event import HttpAnswer, try_answer_of
from constellation.zenith.invoke import failure_of
from constellation.zenith.request import Request
from constellation.zenith.stream import EVENT_HEADERS, TEXT_HEADERS, EventAnswer, TextAnswer, accepts_events

_END_OF_PRELUDE = bytes(8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What the first piece means."""

    prelude: HttpAnswer | None
    rest: bytes  # of the body


def opening_of(function: str, piece: bytes) -> Opening:
    """Return what a first piece means.

    Raises:
        FunctionAnswerInvalid: it is a prelude that HTTP can not carry.
    """
    head, _, rest = piece.partition(_END_OF_PRELUDE)
    prelude = try_answer_of(function, head)
    if prelude is not None:
        return Opening(prelude=prelude, rest=prelude.body + rest)
    return Opening(prelude=None, rest=piece)


class UrlAnswer:
    """An answer in pieces, whose head is in the first. A HEAD request needs no more than that."""

    def __init__(self, request: Request, function: str) -> None:
        self._request, self._function = request, function
        self._body: TextAnswer | EventAnswer = TextAnswer(request, function)
        self._skips_mark = False  # that of a prelude's end comes in a piece of its own
        self.has_enough = False

    async def piece(self, piece: bytes) -> None:
        if not self._request.is_started:
            opening = opening_of(self._function, piece)
            self._skips_mark = opening.prelude is not None and not opening.rest
            piece = opening.rest
            await self._start(opening.prelude)
            if self._request.method == "HEAD":
                await self._request.end()
                self.has_enough = True
                return
        elif self._skips_mark:
            self._skips_mark = False
            piece = piece.removeprefix(_END_OF_PRELUDE)
        if piece:
            await self._body.piece(piece)

    async def end(self, end: nova_pb2.StreamEnd) -> None:
        if not self._request.is_started:
            if end.error:
                raise failure_of(self._function, end.error)
            await self._start(None)
        await self._body.end(end)

    async def told(self, error: ConstellationError) -> bool:
        return await self._body.told(error)

    async def _start(self, prelude: HttpAnswer | None) -> None:
        if prelude is not None:
            await self._request.start(prelude.status, [(b"content-type", prelude.content_type), *prelude.headers])
            return
        if accepts_events(self._request):
            self._body = EventAnswer(self._request)
        await self._request.start(200, TEXT_HEADERS if isinstance(self._body, TextAnswer) else EVENT_HEADERS)
