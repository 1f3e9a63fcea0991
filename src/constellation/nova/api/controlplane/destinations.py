"""Where functions send the results of their durable calls: who may say so, and whether it is there."""

from __future__ import annotations

from msgspec import convert, to_builtins

from constellation.nova.domain.access import Identity, Permission, authorize
from constellation.nova.domain.destination import DestinationUnknown, check_destinations, named
from constellation.nova.domain.function import Function
from constellation.nova.domain.result_target import NO_DESTINATIONS, Destination, Destinations, TargetKind
from constellation.nova.store.functions import Functions
from constellation.nova.store.topics import Topics
from constellation.routes.models.functions import AsyncDestinationsBody


class DestinationUses:
    """What functions ask of functions and topics, as where their results go."""

    def __init__(self, functions: Functions, topics: Topics) -> None:
        self._functions, self._topics = functions, topics

    async def check(
        self, identity: Identity, function: Function, before: Destinations = NO_DESTINATIONS, *, must_exist: bool = True
    ) -> None:
        """Let those destinations of a function through that are new, as far as the caller may send something there.

        Raises:
            Forbidden: it may not call the function, or publish to the topic.
            InvalidRequest: a function would send its results to itself.
            DestinationUnknown: the namespace has no such function, or topic.
        """
        check_destinations(function.name, function.async_destinations)
        known = {each for _, each in named(before)}
        for field, each in named(function.async_destinations):
            if each in known:
                continue
            if each.type is TargetKind.FUNCTION:
                authorize(identity, Permission.FUNCTION_INVOKE, each.target)
            else:
                authorize(identity, Permission.TOPIC_PUBLISH)
            if must_exist and not await self._is_there(function, each):
                raise DestinationUnknown(field, each)

    async def _is_there(self, function: Function, destination: Destination) -> bool:
        scope = (function.tenant, function.namespace, destination.target)
        if destination.type is TargetKind.TOPIC:
            return await self._topics.exists(*scope)
        return await self._functions.try_get(*scope) is not None


def destinations_of(body: AsyncDestinationsBody) -> Destinations:
    return convert(to_builtins(body), Destinations)


def destinations_body(destinations: Destinations) -> AsyncDestinationsBody:
    return convert(to_builtins(destinations), AsyncDestinationsBody)
