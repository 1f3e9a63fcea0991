"""One page of a list, and how much there is in all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

COUNT_LIMIT = 10_000  # histories are counted so far and no further (architecture section 9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """Some items of a list, newest or first in order, with the total behind them."""

    items: tuple[T, ...]
    total: int
    total_is_exact: bool = True  # False: there are `total` at least
    has_more: bool = False  # more follow these items
