"""Topics, subscriptions and messages by `orbit`; runs against a real platform too."""

from __future__ import annotations

import pytest

MANIFEST = """
name: bill
handler: main.handler
subscriptions:
  - topic: orders
    filter: {{region: {filter}}}
{more}
"""


@pytest.fixture
def bill(rig, work):
    """Deploys a function with the subscriptions of its manifest."""

    def deploy(filter="us", more=""):
        (work / "main.py").write_text("def handler(event, context):\n    return 1\n")
        (work / "function.yaml").write_text(MANIFEST.format(filter=filter, more=more))
        return rig.run("deploy", work, "-o", "json")

    return deploy


def test_a_topic_is_made_changed_and_deleted(rig):
    made = rig.run("topics", "create", "orders", "--description", "what is bought")
    assert (made.code, made.out) == (0, "created orders; messages are kept for 168 hours\n")
    assert rig.run("topics", "create", "orders").code == 4
    assert rig.run("topics", "update", "orders").code == 2
    assert rig.run("topics", "update", "orders", "--retention-hours", "24").code == 0
    assert rig.run("topics", "get", "orders", "-o", "json").json["retention_hours"] == 24
    assert "24h" in rig.run("topics", "list").out
    assert rig.run("topics", "delete", "orders", "--yes").code == 0
    assert rig.run("topics", "get", "orders").code == 3
    assert rig.run("publish", "orders", "-d", "1").code == 3


def test_a_message_is_published_and_listed(rig):
    rig.run("topics", "create", "orders")
    sent = rig.run("publish", "orders", "--key", "A-1", "-a", "region=eu", "-a", "kind=new", "-d", '{"n": 1}')
    assert (sent.code, sent.out.split(maxsplit=1)[1]) == (0, "goes to 0 subscriptions\n")
    rig.run("publish", "orders")
    (own,) = rig.run("topics", "messages", "orders", "--key", "A-1", "-o", "json").json
    assert (own["payload"], own["attributes"]) == ({"n": 1}, {"region": "eu", "kind": "new"})
    assert len(rig.run("topics", "messages", "orders", "--limit", "1", "-o", "json").json) == 1
    assert rig.run("publish", "orders", "-a", "region").code == 2


def test_a_subscription_is_made_changed_and_deleted(rig, bill):
    bill()
    made = rig.run(
        "subscriptions", "create", "eu", "--topic", "orders", "--function", "bill", "--filter", "region=eu-*",
        "--filter", "region=uk", "--filter", "kind=new", "-o", "json",
    )  # fmt: skip
    assert (made.code, made.json["filter"]["kind"]) == (0, "new")
    assert sorted(map(str, made.json["filter"]["region"])) == ["uk", "{'prefix': 'eu-'}"]
    assert rig.run("subscriptions", "update", "eu").code == 2
    changed = rig.run("subscriptions", "update", "eu", "--disable", "--max-attempts", "9", "-o", "json").json
    assert (changed["enabled"], changed["max_attempts"]) == (False, 9)
    assert [line.split()[:4] for line in rig.run("subscriptions", "list", "orders").out.splitlines()[1:]] == [
        ["bill-orders", "orders", "bill", "enabled"],
        ["eu", "orders", "bill", "disabled"],
    ]
    assert rig.run("subscriptions", "pause", "bill-orders").out == "paused bill-orders\n"
    assert rig.run("subscriptions", "get", "bill-orders", "-o", "json").json["paused"]
    assert rig.run("subscriptions", "resume", "bill-orders").code == 0
    assert rig.run("subscriptions", "delete", "eu", "--yes").code == 0
    assert len(rig.run("subscriptions", "list", "--function", "bill", "-o", "json").json) == 1


def test_a_manifest_has_its_subscriptions_made_and_changed(rig, bill):
    first = bill().json
    assert (first["action"], [change["after"] for change in first["changes"]]) == ("created", ["created"])
    assert rig.run("subscriptions", "get", "bill-orders", "-o", "json").json["filter"] == {"region": "us"}
    assert bill().json["action"] == "unchanged"
    changed = bill(filter="[us, {prefix: eu-}]", more="    max_attempts: 7").json
    assert changed["changes"] == [
        {"field": "subscription bill-orders", "before": "-", "after": "changed filter, max_attempts"}
    ]
    assert bill(filter="[us, {prefix: eu-}]", more="    max_attempts: 7").json["action"] == "unchanged"


def test_a_manifest_that_says_nonsense_is_refused(rig, bill):
    bill()
    refused = bill(more="  - topic: other\n    name: bill-orders")
    assert refused.code == 2
    assert "bill-orders is subscribed to orders" in refused.err
    for more in ("  - name: x", "    colour: red"):
        refused = bill(more=more)
        assert refused.code == 2
        assert "subscriptions" in refused.err
