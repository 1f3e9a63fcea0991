"""`subscriptions:` of a manifest: which topics a function gets messages of. What is missing is made, what differs changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

import msgspec

from constellation.client import (
    ApiProblem,
    Client,
    Prefix,
    SubscriptionBody,
    SubscriptionCreate,
    SubscriptionUpdate,
    TopicCreate,
)
from constellation.orbit.failures import OrbitError


class Wanted(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One entry; what it leaves out has the platform's default."""

    topic: Annotated[str, msgspec.Meta(min_length=1)]
    name: str = ""  # "<function>-<topic>" when absent
    qualifier: str = ""  # the version or alias that is called
    filter: dict[str, str | Prefix | list[str | Prefix]] = {}
    enabled: bool = True
    max_attempts: int = 3
    backoff_base_ms: int = 1000
    backoff_max_ms: int = 60_000


def subscribe(client: Client, function: str, wanted: Sequence[Wanted]) -> Iterator[tuple[str, str]]:
    """Make topics and subscriptions as they are wanted; yield the name of each subscription and what was done with it.

    Raises:
        OrbitError: a name is taken by a subscription to another topic.
    """
    for each in wanted:
        creation = SubscriptionCreate(
            name=each.name or f"{function}-{each.topic}",
            function=f"{function}:{each.qualifier}" if each.qualifier else function,
            filter=each.filter,
            enabled=each.enabled,
            max_attempts=each.max_attempts,
            backoff_base_ms=each.backoff_base_ms,
            backoff_max_ms=each.backoff_max_ms,
        )
        present = _present(client, creation.name)
        if present is None:
            _make_topic(client, each.topic)
            client.create_subscription(each.topic, creation)
            yield creation.name, "created"
        elif present.topic != each.topic:
            raise OrbitError(
                f"{creation.name} is subscribed to {present.topic}, and a subscription keeps its topic",
                hint=f"Delete it first (`orbit subscriptions delete {creation.name}`), or give this one another name.",
            )
        elif changes := _changes(present, creation):
            client.update_subscription(creation.name, msgspec.convert(changes, SubscriptionUpdate))
            yield creation.name, f"changed {', '.join(changes)}"


def _present(client: Client, name: str) -> SubscriptionBody | None:
    try:
        return client.get_subscription(name)
    except ApiProblem as problem:
        if problem.status != 404:
            raise
        return None


def _make_topic(client: Client, name: str) -> None:
    try:
        client.create_topic(TopicCreate(name=name))
    except ApiProblem as problem:
        if problem.status != 409:  # it is there
            raise


def _changes(present: SubscriptionBody, wanted: SubscriptionCreate) -> dict[str, object]:
    before, after = msgspec.to_builtins(present), msgspec.to_builtins(wanted)
    return {name: value for name, value in after.items() if name != "name" and before[name] != value}
