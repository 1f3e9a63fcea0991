"""A page of the store as the API shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from constellation.nova.api.request import Window
from constellation.nova.store import page as store
from constellation.routes.models.paging import Page, page_facts

Row = TypeVar("Row")
Shown = TypeVar("Shown")


def page_of(found: store.Page[Row], window: Window, show: Callable[[Row], Shown]) -> Page[Shown]:
    """Return the rows as bodies, with the facts of the page."""
    items = [show(row) for row in found.items]
    return Page(
        items=items,
        pagination=page_facts(
            limit=window.limit,
            offset=window.offset,
            returned=len(items),
            total=found.total,
            is_exact=found.total_is_exact,
        ),
    )
