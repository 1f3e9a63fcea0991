"""What is noted of requests, what is not, and what becomes of it when nova is slow or away."""

from __future__ import annotations

import anyio
import pytest
from prometheus_client import CollectorRegistry

from constellation.base.errors import Forbidden, ScopeDenied, Unauthenticated, Unavailable
from constellation.nova.config.sections import AuditSettings
from constellation.nova.domain.access import Identity
from constellation.routes.registry import ROUTES
from constellation.zenith.audit import BATCH, AuditTrail, is_change
from constellation.zenith.principals import Access
from constellation.zenith.request import Request

pytestmark = pytest.mark.anyio
BY_NAME = {route.operation: route for route in ROUTES}


class Nova:
    """Keeps what it is sent; refuses as often as it is told to."""

    def __init__(self) -> None:
        self.events, self.refusals, self.batches = [], 0, []

    async def write(self, events) -> None:
        self.batches.append(len(events))
        if self.refusals:
            self.refusals -= 1
            raise Unavailable("nova", reason="away")
        self.events += events


def request(method="PUT", path="/secrets/db", *, subject="apikey:ci", peer="10.0.0.7", agent=b"curl/8") -> Request:
    scope = {
        "http_version": "1.1", "method": method, "query_string": b"token=pl4nted", "client": (peer, 4711), "server": None,
        "headers": [(b"user-agent", agent), (b"x-api-key", b"sk_pl4nted"), (b"x-request-id", b"r1")],
    }  # fmt: skip
    made = Request(scope, None, None, path=path)
    if subject is not None:
        identity = Identity(
            tenant="acme", namespace="prod", subject=subject, permissions=frozenset(), is_platform_admin=False,
            expires_at_s=0,
        )  # fmt: skip
        made.access = Access(identity=identity, token="t", is_suspended=False, renew_at_s=0)
    return made


@pytest.fixture
def nova() -> Nova:
    return Nova()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def trail(nova, registry) -> AuditTrail:
    return AuditTrail(nova.write, AuditSettings(buffer_rows=50, flush_interval_s=0.01), registry)


def counted(registry, result) -> float:
    return registry.get_sample_value("constellation_gateway_audit_events_total", {"result": result}) or 0


async def test_a_change_is_one_event_without_a_query_a_credential_or_a_value(trail, nova):
    asked = request()
    asked.fields, asked.made = ("value",), ""
    trail.note_nowait(asked, BY_NAME["put_secret"], None, 200)
    await trail.flush(within_s=1)
    (event,) = nova.events
    assert (event.tenant, event.namespace, event.actor, event.peer) == ("acme", "prod", "apikey:ci", "10.0.0.7")
    assert (event.action, event.method, event.resource, event.fields) == (
        "put_secret",
        "PUT",
        "/secrets/db",
        ("value",),
    )
    assert (event.outcome, event.status, event.user_agent) == ("succeeded", 200, "curl/8")
    assert "pl4nted" not in repr(event)


async def test_what_was_made_is_named(trail, nova):
    asked = request("POST", "/functions")
    asked.made = "hello"
    trail.note_nowait(asked, BY_NAME["create_function"], None, 201)
    await trail.flush(within_s=1)
    assert nova.events[0].resource == "/functions/hello"


async def test_reads_and_calls_are_not_noted_unless_they_are_refused(trail, nova):
    for operation, method in (
        ("list_secrets", "GET"),
        ("invoke", "POST"),
        ("invoke_async", "POST"),
        ("publish", "POST"),
    ):
        trail.note_nowait(request(method), BY_NAME[operation], None, 200)
        trail.note_nowait(request(method), BY_NAME[operation], None, 404)
    trail.note_nowait(request("GET"), None, None, 404)
    await trail.flush(within_s=1)
    assert nova.events == []
    trail.note_nowait(request("GET"), BY_NAME["list_secrets"], Forbidden("apikey:ci", permission="x"), 403)
    trail.note_nowait(request("POST", subject=None), BY_NAME["invoke"], Unauthenticated("no"), 401)
    await trail.flush(within_s=1)
    assert [(e.action, e.actor, e.outcome, e.code) for e in nova.events] == [
        ("list_secrets", "apikey:ci", "refused", "forbidden"),
        ("invoke", "", "refused", "unauthenticated"),
    ]


def test_every_route_that_changes_something_is_noted():
    silent = {r.operation for r in ROUTES if r.method not in ("GET", "HEAD") and not is_change(r, r.method)}
    assert silent == {
        "invoke", "invoke_stream", "function_url", "function_url_path", "public_url", "public_url_path", "invoke_async", "invoke_durable", "publish",
        "publish_batch", "signal_execution", "sandbox_port",
    }  # fmt: skip


async def test_who_asks_for_another_scope_is_known_at_home(trail, nova):
    error = ScopeDenied("apikey:ci", tenant="other", namespace="prod", own_tenant="acme")
    trail.note_nowait(request(subject=None), BY_NAME["put_secret"], error, 403)
    await trail.flush(within_s=1)
    assert (nova.events[0].tenant, nova.events[0].actor) == ("acme", "apikey:ci")


async def test_refusals_alike_are_one_event_with_their_number_and_changes_never_are(trail, nova, registry):
    for number in range(20):
        trail.note_nowait(
            request(path=f"/secrets/{number}", subject=None), BY_NAME["put_secret"], Unauthenticated("no"), 401
        )
        trail.note_nowait(request(path=f"/secrets/{number}"), BY_NAME["put_secret"], None, 200)
    trail.note_nowait(request(subject=None, peer="10.0.0.8"), BY_NAME["put_secret"], Unauthenticated("no"), 401)
    await trail.flush(within_s=1)
    refused = [(event.peer, event.count) for event in nova.events if event.outcome == "refused"]
    assert refused == [("10.0.0.7", 20), ("10.0.0.8", 1)]
    assert len(nova.events) == 22
    assert counted(registry, "merged") == 19


async def test_a_full_buffer_is_counted_and_nobody_waits(trail, nova, registry):
    for number in range(80):
        trail.note_nowait(request(path=f"/secrets/{number}"), BY_NAME["put_secret"], None, 200)
    await trail.flush(within_s=1)
    assert (len(nova.events), counted(registry, "dropped"), counted(registry, "written")) == (50, 30, 50)


async def test_a_nova_that_is_away_gets_the_same_batch_later(nova, registry):
    trail = AuditTrail(nova.write, AuditSettings(flush_interval_s=0.01), registry)
    nova.refusals = 1
    async with anyio.create_task_group() as tasks:
        await tasks.start(trail.run)
        for number in range(BATCH + 1):
            trail.note_nowait(request(path=f"/secrets/{number}"), BY_NAME["put_secret"], None, 200)
        with anyio.fail_after(10):
            while len(nova.events) < BATCH + 1:
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    assert nova.batches == [BATCH, BATCH, 1]
    assert len({event.id for event in nova.events}) == BATCH + 1


async def test_an_event_that_comes_while_others_are_written_leaves_nothing_spinning(nova, registry):
    looks = 0

    def at_edge():
        nonlocal looks
        looks += 1
        return (), 0

    trail = AuditTrail(nova.write, AuditSettings(flush_interval_s=0.01), registry, at_edge=at_edge)
    async with anyio.create_task_group() as tasks:
        await tasks.start(trail.run)
        trail.note_nowait(request(), BY_NAME["put_secret"], None, 200)
        while not looks:  # it has heard, and gathers what else comes
            await anyio.sleep(0)
        trail.note_nowait(request(), BY_NAME["put_secret"], None, 200)
        while len(nova.events) < 2:
            await anyio.sleep(0.001)
        for _ in range(200):
            await anyio.sleep(0)
        assert looks <= 3
        tasks.cancel_scope.cancel()


async def test_what_can_not_be_written_at_the_end_is_counted(nova, registry):
    nova.refusals = 10**9
    trail = AuditTrail(nova.write, AuditSettings(), registry)
    trail.note_nowait(request(), BY_NAME["put_secret"], None, 200)
    await trail.flush(within_s=0.05)
    assert counted(registry, "dropped") == 1


async def test_what_a_client_sends_can_be_stored(trail, nova):
    asked = request(path="/secrets/" + "x" * 2000, agent=b"evil\x00\x1b[31m" + b"y" * 500)
    trail.note_nowait(asked, BY_NAME["put_secret"], None, 400)
    await trail.flush(within_s=1)
    (event,) = nova.events
    assert len(event.resource) == 512
    assert event.user_agent.startswith("evil??[31my")
    assert len(event.user_agent) == 200
