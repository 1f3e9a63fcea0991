"""Where the result of a durable call goes when its job has ended: a function or a topic of its namespace. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import msgspec

from constellation.base.errors import ConstellationError, InvalidRequest
from constellation.nova.domain.function import MAX_ASYNC_PAYLOAD_BYTES, MAX_CALL_DEPTH
from constellation.nova.domain.job import Job
from constellation.nova.domain.message import MAX_PAYLOAD_BYTES
from constellation.nova.domain.result_target import Destination, Destinations, TargetKind

SOURCE = "destination"  # how the source of a job begins that takes a result to a function


class DestinationUnknown(ConstellationError):
    """A function sends its results to what is not there."""

    code, http_status = "destination_not_found", 422

    def __init__(self, field: str, destination: Destination) -> None:
        super().__init__(
            f"{field}: the namespace has no {destination.type} {destination.target!r}; create it first",
            extras={"field": f"async_destinations.{field}", "type": destination.type, "target": destination.target},
        )


class Outcome(StrEnum):
    SUCCESS = "success"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A job that has ended, and where its result goes."""

    job: Job
    outcome: Outcome
    result: bytes  # JSON: the output, or the error
    request_id: str | None  # of the last attempt; None: its worker went silent
    version: int | None  # that ran; None: unknown
    destination: Destination
    ended_at: datetime

    @property
    def depth(self) -> int:
        """How deep in a chain of calls and messages lies what the result leads to."""
        return self.job.call_depth + 1

    @property
    def chain(self) -> tuple[str, ...]:
        return (*self.job.call_chain, self.job.function_name)

    @property
    def is_too_deep(self) -> bool:
        return self.depth >= MAX_CALL_DEPTH


def check_destinations(name: str, destinations: Destinations) -> None:
    """Let destinations of a function through that could ever get a result, or raise `InvalidRequest`."""
    for field, each in named(destinations):
        if each.type is TargetKind.FUNCTION and each.target == name:
            raise InvalidRequest(
                f"function {name!r} can not be where its own results go: that would be a circle",
                field=f"async_destinations.{field}",
            )


def named(destinations: Destinations) -> Iterator[tuple[str, Destination]]:
    """Return those that are set, by the names of their fields."""
    for field in ("on_success", "on_failure"):
        destination: Destination | None = getattr(destinations, field)
        if destination is not None:
            yield field, destination


def envelope(ended: Ended) -> bytes:
    """Return what a destination gets. What does not fit is left out and named in `omitted`: the request goes first."""
    limit = MAX_ASYNC_PAYLOAD_BYTES if ended.destination.type is TargetKind.FUNCTION else MAX_PAYLOAD_BYTES
    job, is_success = ended.job, ended.outcome is Outcome.SUCCESS
    facts = {
        "id": job.id,
        "request_id": ended.request_id,
        "function": job.function_name,
        "namespace": job.namespace,
        "version": ended.version,
        "qualifier": job.qualifier or None,
        "outcome": ended.outcome,
        "attempts": job.attempt,
        "source": job.source,
        "durable": job.is_durable,
        "accepted_at": job.created_at,
        "ended_at": ended.ended_at,
    }
    parts: dict[str, object] = {
        "request": msgspec.Raw(job.payload),
        "response": msgspec.Raw(ended.result) if is_success else None,
        "error": None if is_success else msgspec.Raw(ended.result),
    }
    omitted: list[str] = []
    for name in ("request", "response" if is_success else "error"):
        text = msgspec.json.encode({**facts, **parts, "omitted": omitted})
        if len(text) <= limit:
            return text
        parts[name] = None
        omitted.append(name)
    return msgspec.json.encode({**facts, **parts, "omitted": omitted})
