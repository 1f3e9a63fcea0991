"""One request as an operation sees it, and how it is read from the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import anyio
import quart
from werkzeug.exceptions import RequestEntityTooLarge

from constellation.base.errors import BodyTimeout, PayloadTooLarge, UnsupportedMediaType
from constellation.base.ids import RequestId
from constellation.nova.domain.access import Identity
from constellation.routes.reading import Window

Body_co = TypeVar("Body_co", covariant=True)

DISCARDED_BYTES = 64 << 20  # chosen: a client that sends more than this over the limit is cut off


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRequest(Generic[Body_co]):
    """What an operation is handed: everything in it is checked for form, nothing for sense."""

    identity: Identity
    params: Mapping[str, str]  # of the path template, percent-decoded
    query: Mapping[str, str]
    window: Window
    body: Body_co
    request_id: RequestId
    if_match: str | None = None  # the header, where the route takes it
    client: str = ""  # the address that the request came from; "": not known

    @property
    def scope(self) -> tuple[str, str]:
        """The tenant and the namespace that the caller acts in."""
        return self.identity.tenant, self.identity.namespace


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagged(Generic[Body_co]):
    """An answer with its entity tag."""

    body: Body_co
    tag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """An answer that sends a browser elsewhere."""

    location: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """An answer for a person to read."""

    text: str


async def read_body(request: quart.Request, *, limit_bytes: int, wait_s: float) -> bytes:
    """Return the whole body.

    A body that is somewhat over the limit is read to its end and thrown away: closing a connection with unread bytes
    in it resets it, and the client would lose the answer.

    Raises:
        UnsupportedMediaType: it is not declared to be JSON.
        PayloadTooLarge: it is over `limit_bytes`.
        BodyTimeout: it did not arrive within `wait_s` seconds.
    """
    if request.mimetype != "application/json":
        raise UnsupportedMediaType(request.mimetype)
    if (request.content_length or 0) > limit_bytes + DISCARDED_BYTES:
        raise PayloadTooLarge(limit_bytes=limit_bytes)
    read, size_bytes = bytearray(), 0
    try:
        with anyio.fail_after(wait_s):
            async for piece in request.body:
                size_bytes += len(piece)
                if size_bytes > limit_bytes + DISCARDED_BYTES:
                    break
                if size_bytes <= limit_bytes:
                    read += piece
    except RequestEntityTooLarge as error:
        raise PayloadTooLarge(limit_bytes=limit_bytes) from error
    except TimeoutError as error:
        raise BodyTimeout(after_s=wait_s) from error
    if size_bytes > limit_bytes:
        raise PayloadTooLarge(limit_bytes=limit_bytes)
    return bytes(read)
