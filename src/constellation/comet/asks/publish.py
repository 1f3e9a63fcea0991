"""Messages that functions publish: in their tenant and namespace, at the depth of a call that they would make."""

from __future__ import annotations

import msgspec

from constellation.comet.asks.calls import caller_of
from constellation.comet.asks.question import Question
from constellation.comet.publishing import Publishing
from constellation.routes.models.topics import Publish
from constellation.routes.reading import decode_body


class PublishAnswers:
    """Takes what functions publish."""

    def __init__(self, publishing: Publishing) -> None:
        self._publishing = publishing

    async def publish(self, question: Question) -> bytes:
        wanted: Publish = decode_body(question.json(), Publish)
        (published,) = await self._publishing.publish(
            caller_of(question), question.ask.name, [wanted], budget=question.budget
        )
        return msgspec.json.encode({"id": str(published.id), "duplicate": published.is_duplicate})
