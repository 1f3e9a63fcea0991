"""The probe makes a whole sandbox, so its yes can be relied on."""

from __future__ import annotations

import pytest

from constellation.native import probe


def test_probe_agrees_with_itself_or_says_what_to_change():
    found = probe.probe()
    if found.is_able:
        assert (found.reason, found.advice) == ("", "")
    else:
        assert found.reason
        assert found.advice


@pytest.mark.sandbox
def test_a_refusal_is_named(monkeypatch, tmp_path):
    broken = tmp_path / "ct-zygote"
    broken.write_text("#!/bin/sh\necho 'root -1 tmpfs'\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(probe, "libexec_path", lambda _name: broken)
    found = probe.probe()
    assert not found.is_able
    assert found.reason == "root: Operation not permitted (tmpfs)"
    assert found.advice
