"""Network policies over the API: kept as they are written, refused when nobody could enforce them."""

from __future__ import annotations

import pytest

from constellation.nova.store.executors import BackendAbility, Executors

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

POLICY = {
    "egress": "allow-list",
    "allow": [
        {"host": "*.example.org", "cidr": "", "ports": [443], "protocol": "tcp"},
        {"host": "", "cidr": "10.1.0.0/16", "ports": [], "protocol": "udp"},
    ],
    "deny": ["10.1.2.0/24"],
}


async def test_a_policy_is_kept_changed_and_taken_back(nova):
    created = await nova.deploy("reaching", network=POLICY)
    assert created["network"] == POLICY
    assert (await nova.deploy("alone"))["network"] == {"egress": "none", "allow": [], "deny": []}
    short = {"egress": "internet", "allow": [{"cidr": "10.0.0.0/8", "ports": [22]}]}
    changed = await nova.http.patch("/functions/reaching", json={"network": short}, headers=nova.admin())
    assert changed.status_code == 200
    assert changed.json()["network"]["allow"] == [{"host": "", "cidr": "10.0.0.0/8", "ports": [22], "protocol": "tcp"}]
    assert changed.json()["version"] == 2
    back = await nova.http.patch("/functions/reaching", json={"network": {}}, headers=nova.admin())
    assert back.json()["network"] == {"egress": "none", "allow": [], "deny": []}


@pytest.mark.parametrize(
    ("network", "field"),
    [
        ({"egress": "allow-list"}, "network.allow"),
        ({"egress": "none", "deny": ["10.0.0.0/8"]}, "network.allow"),
        ({"egress": "allow-list", "allow": [{"cidr": "169.254.169.254/32"}]}, "network.allow"),
        ({"egress": "allow-list", "allow": [{"host": "A.test"}]}, "network.allow"),
        ({"egress": "internet", "deny": ["10.0.0.1/8"]}, "network.deny"),
        ({"egress": "everything"}, None),
        ({"egress": "internet", "allow": [{"host": "a.test", "ports": [0]}]}, None),
        ({"ingress": "all"}, None),
    ],
)
async def test_what_means_nothing_is_refused(nova, network, field):
    body = {"name": "f", "runtime": "python", "code": "def handler(event, context): ...", "network": network}
    refused = await nova.http.post("/functions", json=body, headers=nova.admin())
    assert refused.status_code == 400
    if field is not None:
        assert refused.json()["field"] == field


async def test_a_network_that_no_comet_can_give_is_refused_with_the_reason(nova, db):
    why = BackendAbility(name="namespace", is_available=True, egress_reason="it needs root")
    await Executors(db).tell("here", [why])
    await nova.deploy("alone")
    changed = await nova.http.patch("/functions/alone", json={"network": POLICY}, headers=nova.admin())
    assert (changed.status_code, changed.json()["field"]) == (400, "network.egress")
    assert "it needs root" in changed.json()["detail"]
    body = {"name": "f", "runtime": "python", "code": "def handler(event, context): ...", "network": POLICY}
    assert (await nova.http.post("/functions", json=body, headers=nova.admin())).status_code == 400
    await Executors(db).tell("there", [BackendAbility(name="namespace", is_available=True, egress_reason="")])
    assert (await nova.http.post("/functions", json=body, headers=nova.admin())).status_code == 201
    docker = await nova.http.patch("/functions/f", json={"backend": "docker"}, headers=nova.admin())
    assert docker.status_code == 200  # no comet has said anything of it
