"""Topics and who subscribes to them: names, filters, and which message goes where. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from constellation.base.errors import InvalidRequest
from constellation.nova.domain.alias import target

MAX_SUBSCRIPTIONS = 50  # of a topic; chosen: a publish writes a job for each in one transaction
MAX_RETENTION_HOURS = 720  # partitions of messages are kept a day longer
MAX_CONDITIONS, MAX_ALTERNATIVES = 16, 64  # chosen: all are looked at for each message
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """What messages are published to."""

    tenant: str
    namespace: str
    id: UUID
    name: str
    description: str = ""
    retention_hours: int = 168  # of its messages
    version: int = 1
    created_at: datetime | None = None  # both are None until the row is written
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What an attribute must be: one of some texts, or begin with one of some prefixes."""

    attribute: str
    equals: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()

    def holds(self, value: str | None) -> bool:
        return value is not None and (value in self.equals or value.startswith(self.prefixes))


Filter = tuple[Condition, ...]


def holds(wanted: Filter, attributes: Mapping[str, str]) -> bool:
    """Does a filter take a message with these attributes? Every condition must hold."""
    return all(condition.holds(attributes.get(condition.attribute)) for condition in wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A function that is called with the messages of a topic."""

    tenant: str
    namespace: str
    id: UUID
    name: str
    topic_name: str
    function_name: str
    filter: Filter = field(default=())
    enabled: bool = True  # False: messages pass it by
    is_paused: bool = False  # True: its deliveries wait
    max_attempts: int = 3
    backoff_base_s: float = 1.0
    backoff_max_s: float = 60.0
    version: int = 1
    created_at: datetime | None = None
    updated_at: datetime | None = None
    qualifier: str = (
        ""  # the version or alias of the function that deliveries run, looked at by each; "": the live version
    )

    @property
    def target(self) -> str:
        return target(self.function_name, self.qualifier)

    def takes(self, attributes: Mapping[str, str]) -> bool:
        """Does a message with these attributes go here?"""
        return holds(self.filter, attributes)


def check_name(kind: str, name: str) -> str:
    """Return the name of a topic or subscription, or raise `InvalidRequest`."""
    if _NAME.fullmatch(name) is None:
        raise InvalidRequest(
            f"the name of a {kind} {name[:80]!r} must be 1 to 128 of letters, digits, '.', '_' and '-', "
            "beginning with a letter or digit",
            field="name",
        )
    return name


def check_filter(wanted: Filter) -> Filter:
    """Return a filter that is small enough, or raise `InvalidRequest`."""
    if len(wanted) > MAX_CONDITIONS:
        raise InvalidRequest(f"a filter has at most {MAX_CONDITIONS} attributes", field="filter")
    for condition in wanted:
        count = len(condition.equals) + len(condition.prefixes)
        if not 1 <= count <= MAX_ALTERNATIVES:
            raise InvalidRequest(
                f"a condition has 1 to {MAX_ALTERNATIVES} alternatives, not {count}",
                field=f"filter.{condition.attribute}",
            )
    return wanted
