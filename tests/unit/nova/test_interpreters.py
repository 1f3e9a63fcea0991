"""Where interpreters are looked for, and what is said when there is none."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from constellation.nova.config.interpreters import InterpreterMissing, configured_in, locate
from constellation.nova.config.load import load
from constellation.nova.config.sections import RuntimesSettings
from constellation.nova.domain.runtimes import RUBY, RUNTIMES, RuntimeInfo

ODD = RuntimeInfo(id="odd", name="Odd", extension=".odd", programs=("oddly-named",), source="the Debian package odd")


def test_each_language_with_an_interpreter_can_be_configured():
    assert {field.name for field in fields(RuntimesSettings)} == {i.id for i in RUNTIMES.values() if i.programs}


def test_what_is_configured_reaches_those_who_look():
    named = {f"NOVA_RUNTIMES_{field.name.upper()}": f"/opt/{field.name}" for field in fields(RuntimesSettings)}
    settings = load(file=None, env=named).settings
    assert configured_in(settings.runtimes) == {
        field.name: Path(f"/opt/{field.name}") for field in fields(RuntimesSettings)
    }
    assert configured_in(load(file=None, env={}).settings.runtimes) == {}


def test_a_configured_interpreter_is_the_only_one_looked_at(tmp_path):
    link = tmp_path / "ruby"
    with pytest.raises(InterpreterMissing, match=r"runtimes\.ruby"):
        locate(RUBY, link)
    (tmp_path / "real").touch()
    link.symlink_to(tmp_path / "real")
    assert locate(RUBY, link) == (tmp_path / "real").resolve()


def test_whoever_lacks_one_is_told_what_to_install_or_to_set():
    with pytest.raises(InterpreterMissing, match=r"install the Debian package odd, or set runtimes\.odd"):
        locate(ODD, None)
