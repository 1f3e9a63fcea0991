"""The settings that can be set while the planes run: what each does, which planes take it at once.

A setting belongs here when every plane that reads it reads it anew each time; the others are read once, at a start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ALL_PLANES = ("nova", "comet", "corona", "nebula", "aurora", "zenith")
_COMET, _NOVA = ("comet",), ("nova",)


@dataclass(frozen=True, slots=True)
class Live:
    """What an administrator needs to know of a key beside its kind, range and default."""

    about: str
    planes: tuple[str, ...]
    per_tenant: bool = False  # a tenant can have a value of its own


LIVE: Mapping[str, Live] = {
    "platform.log_level": Live("the least important lines that planes write to their logs", ALL_PLANES),
    "auth.session_ttl": Live("how long a login lasts; sessions that have begun keep their end", _NOVA),
    "state.max_keys": Live("keys of one store of functions' state", _COMET, per_tenant=True),
    "state.max_steps": Live("steps of one durable execution", _COMET, per_tenant=True),
    "idempotency.ttl": Live("how long an answer is kept for repetitions of its call", _COMET),
    "idempotency.max_answer": Live("answers over this size are not kept for repetitions", _COMET),
    "sandboxes.max_per_tenant": Live("interactive sandboxes of a tenant; 0: none are made", _COMET, per_tenant=True),
    "sandboxes.memory_per_tenant": Live(
        "memory of a tenant's interactive sandboxes, disks included", _COMET, per_tenant=True
    ),
    "sandboxes.max_ttl": Live("the longest life that an interactive sandbox is given", _COMET, per_tenant=True),
    "builds.queue_depth": Live("builds of a tenant in line", ("nova", "comet"), per_tenant=True),
    "builds.timeout": Live(
        "how long one build may take; one that runs keeps what it began with", _COMET, per_tenant=True
    ),
    "builds.memory": Live("memory of one build", _COMET, per_tenant=True),
    "builds.cpu_millis": Live("processor time of one build, in thousandths of a core", _COMET, per_tenant=True),
    "builds.disk": Live("what one build may write", _COMET, per_tenant=True),
    "invocation_log.retention_days": Live("days that calls and finished jobs are kept", ("aurora",)),
    "audit.retention_days": Live("days that rows of the audit are kept", ("aurora",)),
    "notifications.retention_days": Live("days that notifications are kept of which nothing new is heard", ("aurora",)),
    "aurora.housekeeping_interval": Live("time between two rounds of housekeeping", ("aurora",)),
    "prices.currency": Live("what costs are shown in", _COMET, per_tenant=True),
    "prices.call": Live("price of one call", _COMET, per_tenant=True),
    "prices.gb_second": Live("price of a second of run time with one GiB of memory", _COMET, per_tenant=True),
    "prices.cold_start": Live("price of one cold start", _COMET, per_tenant=True),
    "queue.call_timeout": Live("how long one attempt of a durable call may take", ("nebula",)),
    "ai.base_url": Live("address of an OpenAI-compatible endpoint; empty: AI is off", _NOVA),
    "ai.model": Live("the model that answers; empty: AI is off", _NOVA),
    "ai.key": Live("the endpoint's key; it is sealed, and never shown", _NOVA),
    "ai.timeout": Live("how long one answer may take", _NOVA),
    "ai.max_tokens": Live("tokens of one answer", _NOVA),
    "zenith.sockets.max_open": Live("WebSockets that one gateway has open", ("zenith",)),
    "zenith.sockets.max_open_per_key": Live("WebSockets that one caller has open at one gateway", ("zenith",)),
    "zenith.sockets.max_message": Live("the largest message of a WebSocket", ("zenith",)),
    "zenith.sockets.idle_timeout": Live("how long a WebSocket may be without a message", ("zenith",)),
    "zenith.sockets.max_duration": Live(
        "how long a WebSocket lasts at most; one that is open keeps its end", ("zenith",)
    ),
}


def planes_of(key: str) -> tuple[str, ...]:
    """Return which planes take a key at once; none of one that is not known."""
    found = LIVE.get(key)
    return () if found is None else found.planes
