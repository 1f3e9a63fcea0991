"""What a fake platform holds, and what its rules are told of a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import msgspec

from constellation.base.errors import ConstellationError, NotFound
from constellation.routes.models import access as a
from constellation.routes.models import builds as b
from constellation.routes.models import functions as f
from constellation.routes.models import ingress as g
from constellation.routes.models import invocations as i
from constellation.routes.models import schedules as s
from constellation.routes.models import slos as slo
from constellation.routes.models import topics as t
from constellation.routes.models import urls as u
from constellation.routes.route import Route

EXTENSIONS = {"provided": "", "python": ".py", "node": ".js", "wasm": ".wasm"}
Scope = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request, understood."""

    route: Route
    scope: Scope
    params: Mapping[str, str]
    query: Mapping[str, str]
    body: Any
    timeout_s: float | None

    @property
    def name(self) -> str:
        return self.params["name"]


@dataclass(frozen=True, slots=True)
class Events:
    """An answer of server-sent events."""

    items: Sequence[tuple[str, bytes]]


@dataclass(slots=True, kw_only=True)
class Entry:
    """A function with its code."""

    body: f.FunctionBody
    files: dict[str, str]


@dataclass(slots=True, kw_only=True)
class State:
    """Everything that is kept."""

    api_key: str | None = None  # None: every caller is trusted
    functions: dict[tuple[str, str, str], Entry] = field(default_factory=dict)
    ingress: dict[tuple[str, str, str], g.IngressPolicyBody] = field(default_factory=dict)
    slos: dict[tuple[str, str, str], slo.SloPolicyBody] = field(default_factory=dict)
    urls: dict[tuple[str, str, str], u.FunctionUrlBody] = field(default_factory=dict)
    schedules: dict[UUID, s.ScheduleBody] = field(default_factory=dict)
    keys: dict[str, a.ApiKeyBody] = field(default_factory=dict)
    tenants: dict[str, list[str]] = field(default_factory=lambda: {"default": ["default"]})
    suspended: set[str] = field(default_factory=set)
    tiers: dict[str, str] = field(default_factory=dict)  # of tenants
    jobs: dict[UUID, i.AsyncInvocationBody] = field(default_factory=dict)
    calls: list[tuple[Scope, i.InvocationBody, str]] = field(default_factory=list)
    builds: dict[UUID, b.BuildBody] = field(default_factory=dict)
    build_errors: list[str] = field(default_factory=list)  # what the next builds fail with, in order
    topics: dict[tuple[str, str, str], t.TopicBody] = field(default_factory=dict)
    subscriptions: dict[tuple[str, str, str], t.SubscriptionBody] = field(default_factory=dict)
    messages: list[tuple[Scope, t.MessageBody]] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)  # (method, path), for tests that count
    refuse_next: list[ConstellationError] = field(default_factory=list)  # faults to answer with, in order

    def entry(self, asked: Asked) -> Entry:
        """Return the function that the path names, in the scope of the request."""
        try:
            return self.functions[(*asked.scope, asked.name)]
        except KeyError:
            raise NotFound("function", asked.name) from None


def decoded(value: Any) -> Any:
    if value is msgspec.UNSET:
        return None
    return msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value
