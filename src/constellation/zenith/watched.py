"""An answer in pieces of a route: the breaker learns of it, and a bad beginning is asked for again before any of it is out."""

from __future__ import annotations

from constellation.base.errors import ConstellationError
from constellation.wire.gen import nova_pb2
from constellation.zenith.breakers import Outcome
from constellation.zenith.request import Request
from constellation.zenith.retries import Tries
from constellation.zenith.stream import Answer
from constellation.zenith.url_stream import opening_of


class AskedAgain(Exception):  # no failure: whoever made the call makes it again
    """The answer began with a status for which the route has another try."""

    def __init__(self, *, after_s: float) -> None:
        super().__init__(after_s)
        self.after_s = after_s


class WatchedAnswer:
    """Passes on what comes; raises `AskedAgain` instead of a first piece."""

    def __init__(self, answer: Answer, request: Request, function: str, outcome: Outcome, tries: Tries) -> None:
        self._answer, self._request, self._function = answer, request, function
        self._outcome, self._tries = outcome, tries

    @property
    def has_enough(self) -> bool:
        return self._answer.has_enough

    async def piece(self, piece: bytes) -> None:
        if not self._request.is_started:
            prelude = opening_of(self._function, piece).prelude
            pause_s = None if prelude is None else self._tries.after_answer(prelude.status)
            if pause_s is not None:
                raise AskedAgain(after_s=pause_s)
            self._say_tries()
        await self._answer.piece(piece)
        self._outcome.answered(self._request.status)

    async def end(self, end: nova_pb2.StreamEnd) -> None:
        if not self._request.is_started and not end.error:
            self._say_tries()
        await self._answer.end(end)
        self._outcome.answered(500 if end.error else self._request.status)

    async def told(self, error: ConstellationError) -> bool:
        is_told = await self._answer.told(error)
        self._outcome.failed(error)
        return is_told

    def _say_tries(self) -> None:
        self._request.also.extend(self._tries.said())
