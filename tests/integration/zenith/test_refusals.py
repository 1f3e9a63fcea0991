"""Calls that comet refuses are in the audit, whoever answered them: the edge in C, or Python."""

from __future__ import annotations

import pytest

from constellation.nova.domain.audit import Outcome
from constellation.zenith.errors import SocketLimit

from .conftest import ADMIN, problem

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("route", ["invoke", "invoke-stream"])
async def test_every_call_that_is_refused_is_counted_with_its_caller(rig, http, route):
    async def busy(_payload: bytes) -> bytes:
        raise SocketLimit("apikey:admin", limit=1)

    async def busily(_payload: bytes):
        raise SocketLimit("apikey:admin", limit=1)
        yield b""

    rig.comet.functions["busy"], rig.comet.streams["busy"] = busy, busily
    headers = ADMIN | {"X-Nova-Tenant": "acme", "X-Nova-Namespace": "prod"}
    for _ in range(5):
        problem(await http.post(f"/functions/busy/{route}", json={}, headers=headers), 429, "socket_limit")
    assert (await http.post("/functions/echo/invoke", json={}, headers=headers)).status_code == 200
    rig.parts.audit.hear_edge_nowait()
    noted = [(each.event, each.count) for each in rig.parts.audit._waiting]
    assert sum(count for _, count in noted) == 5
    assert len(noted) <= 2  # Python's first, and the edge's
    for event, _ in noted:
        assert (event.tenant, event.namespace, event.actor) == ("acme", "prod", "apikey:admin")
        assert (event.action, event.resource) == (route.replace("-", "_"), f"/functions/busy/{route}")
        assert (event.status, event.code, event.outcome) == (429, "socket_limit", Outcome.REFUSED)
        assert (event.peer, len(event.request_id)) == ("127.0.0.1", 36)
    rig.parts.audit.hear_edge_nowait()
    assert len(rig.parts.audit._waiting) == len(noted)


async def test_other_failures_and_answers_are_not_noted(rig, http):
    for name in ("absent", "echo", "absent", "echo"):
        await http.post(f"/functions/{name}/invoke", json={}, headers=ADMIN)
    rig.parts.audit.hear_edge_nowait()
    assert rig.parts.audit._waiting == []


@pytest.mark.parametrize("native_lane", [True])
async def test_what_the_edge_has_no_room_for_is_counted(rig, http):
    for index in range(70):
        name = f"busy-{index}"

        async def busy(_payload: bytes) -> bytes:
            raise SocketLimit("apikey:admin", limit=1)

        rig.comet.functions[name] = busy
        assert (await http.post(f"/functions/{name}/invoke", json={}, headers=ADMIN)).status_code == 429
    rig.parts.audit.hear_edge_nowait()
    dropped = rig.context.registry.get_sample_value("constellation_gateway_audit_events_total", {"result": "dropped"})
    assert len(rig.parts.audit._waiting) + int(dropped or 0) == 70
    assert dropped == 5  # the first call was Python's, the edge keeps 64
