"""What of a topic's messages is wanted, from how it is written to how it is looked at. Pure."""

from __future__ import annotations

from constellation.nova.domain.topic import Condition, Filter, check_filter
from constellation.routes.models.topics import Conditions, Prefix


def filter_of(wanted: Conditions) -> Filter:
    """Return a filter, or raise `InvalidRequest` for one that is too large."""
    return check_filter(tuple(_condition(name, each) for name, each in wanted.items()))


def _condition(attribute: str, wanted: str | Prefix | list[str | Prefix]) -> Condition:
    alternatives = wanted if isinstance(wanted, list) else [wanted]
    return Condition(
        attribute=attribute,
        equals=tuple(each for each in alternatives if isinstance(each, str)),
        prefixes=tuple(each.prefix for each in alternatives if isinstance(each, Prefix)),
    )
