"""What people write about a function, and the links under which others read it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from constellation.base.errors import ConstellationError, InvalidRequest

MAX_DOCS_BYTES = 256 << 10  # chosen: a long manual; it is indexed and read whole
MAX_SHARES = 100  # of one function; chosen


class ShareExpired(ConstellationError):
    """A link was good once and is good no more."""

    code, http_status = "share_expired", 410

    def __init__(self) -> None:
        super().__init__("this link has expired; ask whoever gave it to you for another")


class TooManyShares(ConstellationError):
    """A function has as many links as it may have."""

    code, http_status = "too_many_shares", 409

    def __init__(self, function: str) -> None:
        super().__init__(f"{function} has {MAX_SHARES} links to its docs, which is the most; delete one first")


@dataclass(frozen=True, slots=True, kw_only=True)
class Docs:
    """What is written about a function."""

    content: str  # Markdown, by custom; nobody reads it but people
    version: int  # moves with each change
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A link to the docs of a function, without its token."""

    tenant: str
    namespace: str
    function_name: str
    id: UUID
    title: str
    created_by: str
    expires_at: datetime
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedDocs:
    """What a link shows."""

    function_name: str
    title: str
    content: str
    updated_at: datetime
    expires_at: datetime


def check_docs(content: str) -> None:
    """Let docs through, or raise `InvalidRequest`."""
    size_bytes = len(content.encode())
    if not content.strip():
        raise InvalidRequest("content is blank; DELETE forgets docs", field="content")
    if size_bytes > MAX_DOCS_BYTES:
        raise InvalidRequest(f"content has {size_bytes} bytes; {MAX_DOCS_BYTES} is the most", field="content")
