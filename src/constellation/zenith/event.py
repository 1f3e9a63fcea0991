"""The body of a call's request, and the JSON event that it is for most."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from constellation.base.errors import InvalidRequest
from constellation.routes.route import Route
from constellation.zenith.limits import Budget
from constellation.zenith.request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyReader:
    """Reads bodies no larger than the gateway and the route allow."""

    budget: Budget
    max_body_bytes: int
    read_timeout_s: float

    async def read(self, request: Request, route: Route) -> bytes:
        """Return the whole body. Raises `PayloadTooLarge`."""
        return await request.body(
            limit_bytes=min(self.max_body_bytes, route.max_body_bytes or self.max_body_bytes),
            timeout_s=self.read_timeout_s,
            budget=self.budget,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EventReader:
    """Reads bodies that are events."""

    bodies: BodyReader
    is_json: Callable[[bytes], bool]

    async def read(self, request: Request, route: Route) -> bytes:
        """Return the event; no body is an empty object.

        Raises:
            InvalidRequest: it is not JSON.
            PayloadTooLarge
        """
        payload = await self.bodies.read(request, route)
        if payload and not self.is_json(payload):
            raise InvalidRequest("the body is not JSON")
        return payload or b"{}"
