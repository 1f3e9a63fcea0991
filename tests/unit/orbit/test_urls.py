"""Who may call a function's URL, from the command line."""

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
