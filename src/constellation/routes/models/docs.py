"""Bodies of the docs of functions, and of links to them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

DAY_S = 24 * 3600


class DocsPut(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What to know of a function, for people: Markdown, by custom; 256 KiB at most."""

    content: Annotated[str, Meta(min_length=1, max_length=256 << 10)]


class DocsBody(Struct, kw_only=True, frozen=True):
    """What is written about a function."""

    function: str
    content: str
    version: int  # moves with each change
    created_at: datetime
    updated_at: datetime


class ShareCreate(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A link under which whoever has it reads the docs of a function, as they are then."""

    title: Annotated[str, Meta(max_length=200)] = ""
    expires_in_s: Annotated[
        int, Meta(ge=60, le=366 * DAY_S, description="how long it is good, in seconds; a week when absent")
    ] = 7 * DAY_S


class ShareBody(Struct, kw_only=True, frozen=True):
    """A link, without its token."""

    id: UUID
    function: str
    title: str
    created_by: str
    expires_at: datetime
    created_at: datetime


class ShareCreated(ShareBody, kw_only=True, frozen=True):
    """A link; what is told this once is its path, which is all that its readers need."""

    path: str


class SharedDocsBody(Struct, kw_only=True, frozen=True):
    """What a link shows."""

    function: str
    title: str
    content: str
    updated_at: datetime
    expires_at: datetime
