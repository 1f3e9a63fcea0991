"""One request as an operation sees it, and what it may answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from constellation.base.ids import RequestId
from constellation.nova.domain.access import Identity
from constellation.routes.reading import Window

Body_co = TypeVar("Body_co", covariant=True)


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
