"""Lists and their pages."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

Item = TypeVar("Item")

DEFAULT_LIMIT = 100
MAX_LIMIT = 500


class Pagination(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    limit: int
    offset: int
    returned: int
    has_more: bool
    total: int | None = None
    total_at_least: int | None = None
    next_offset: int | None = None


class Page(msgspec.Struct, Generic[Item], kw_only=True, frozen=True):
    items: list[Item]
    pagination: Pagination


def page_facts(*, limit: int, offset: int, returned: int, total: int, is_exact: bool = True) -> Pagination:
    """Return the pagination block of one page; `is_exact` is False when counting stopped at its bound."""
    has_more = offset + returned < total or not is_exact
    return Pagination(
        limit=limit,
        offset=offset,
        returned=returned,
        has_more=has_more,
        total=total if is_exact else None,
        total_at_least=None if is_exact else total,
        next_offset=offset + returned if has_more else None,
    )
