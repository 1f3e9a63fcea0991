"""Where a function sends what became of its durable calls, as its row says it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class TargetKind(StrEnum):
    FUNCTION = "function"
    TOPIC = "topic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A function or a topic of the namespace."""

    type: TargetKind
    target: str  # its name

    def __str__(self) -> str:
        return f"{self.type}:{self.target}"

    @classmethod
    def parse(cls, text: str) -> Destination | None:
        """Return what a column says; None: there is none."""
        kind, _, target = text.partition(":")
        return cls(type=TargetKind(kind), target=target) if target else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Destinations:
    """Of results and of failures; None: nobody is told."""

    on_success: Destination | None = None
    on_failure: Destination | None = None


NO_DESTINATIONS = Destinations()
