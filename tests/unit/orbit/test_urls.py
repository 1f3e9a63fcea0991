"""Who may call a function, and its URL, from the command line."""

from __future__ import annotations

import pytest


@pytest.fixture
def web(rig, work):
    (work / "web.py").write_text("def handler(event, context):\n    yield 'x'\n")
    assert rig.run("deploy", work / "web.py").code == 0
    return "web"


def test_a_url_is_shown_changed_and_reset(rig, web):
    shown = rig.run("url", "show", web, "-o", "json").json
    assert (shown["auth"], shown["invoke_mode"], shown["enabled"]) == ("key", "buffered", True)
    assert shown["path"].endswith("/web")
    rig.run("url", "set", web, "--auth", "none", "--origin", "https://a.example", "--origin", "null")
    changed = rig.run("url", "set", web, "--mode", "stream", "--disable", "-o", "json").json
    assert (changed["auth"], changed["invoke_mode"], changed["enabled"]) == ("none", "stream", False)
    assert changed["cors"]["allow_origins"] == ["https://a.example", "null"]
    assert rig.run("url", "set", web, "--origin", "", "-o", "json").json["cors"]["allow_origins"] == []
    assert rig.run("url", "reset", web, "-o", "json").json == shown
    assert "key" in rig.run("url", "show", web).out


def test_what_makes_no_sense_is_told(rig, web):
    assert rig.run("url", "set", web).code == 2
    assert rig.run("url", "set", web, "--auth", "maybe").code == 2
    assert rig.run("url", "show", "none").code == 3


def test_who_may_call_is_shown_changed_and_reset(rig, web):
    shown = rig.run("ingress", "show", web, "-o", "json").json
    assert shown == {"callers": [], "functions": [], "allow": [], "deny": []}
    rig.run("ingress", "set", web, "--caller", "api", "--caller", "function", "--function", "order-*")
    changed = rig.run("ingress", "set", web, "--allow", "10.0.0.0/8", "--function", "", "-o", "json").json
    assert changed == {"callers": ["api", "function"], "functions": [], "allow": ["10.0.0.0/8"], "deny": []}
    assert rig.run("ingress", "reset", web, "-o", "json").json == shown
    assert rig.run("ingress", "set", web).code == 2
    assert rig.run("ingress", "set", web, "--caller", "anybody").code == 2
