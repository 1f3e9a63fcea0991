"""What a function is to keep to, from the command line."""

from __future__ import annotations


def test_a_policy_is_set_in_parts_shown_and_taken_back(rig, work):
    (work / "web.py").write_text("def handler(event, context):\n    return 1\n")
    assert rig.run("deploy", work / "web.py").code == 0
    none = rig.run("slo", "get", "web", "-o", "json").json
    assert (none["enabled"], none["window_s"], none["min_samples"]) == (False, 900, 20)
    rig.run("slo", "set", "web", "--success", "99.5", "--p95", "250", "--window", "5m")
    changed = rig.run("slo", "set", "web", "--p95", "none", "--cold", "10", "--min-samples", "5", "-o", "json").json
    assert changed == {
        "enabled": True, "window_s": 300, "min_samples": 5,
        "objectives": {"success_rate_pct": 99.5, "p95_duration_ms": None, "cold_start_rate_pct": 10.0},
    }  # fmt: skip
    assert rig.run("slo", "set", "web", "--disable", "-o", "json").json == changed | {"enabled": False}
    assert rig.run("slo", "rm", "web").code == 0
    assert rig.run("slo", "get", "web", "-o", "json").json == none
    for wrong in (("--success", "101"), ("--success", "most"), ("--window", "5"), ("--window", "1s"), ("--p95", "0")):
        assert rig.run("slo", "set", "web", *wrong).code == 2, wrong
    assert rig.run("slo", "get", "none").code == 3
