"""Which sources must be built, and when two builds are one."""

from __future__ import annotations

import pytest

from constellation.nova.domain.build import cache_key, needs_build, stated
from constellation.nova.domain.runtimes import RuntimeInfo

PYTHON = RuntimeInfo(
    id="p", name="P", extension=".py", default_handler="main.handler", lock_files=("requirements.txt", "package.json")
)
GO = RuntimeInfo(id="g", name="G", extension=".go", default_handler="main.handler", is_compiled=True)


@pytest.mark.parametrize(
    ("files", "needs"),
    [
        ({"main.py": b"x"}, False),
        ({"main.py": b"x", "requirements.txt": b"six==1\n"}, True),
        ({"requirements.txt": b" \n"}, False),
        ({"lib/requirements.txt": b"six==1\n"}, False),
        ({"package.json": b'{"name": "f", "type": "module"}'}, False),
        ({"package.json": b'{"dependencies": {}}'}, False),
        ({"package.json": b'{"dependencies": {"left-pad": "1"}}'}, True),
        ({"package.json": b'{"devDependencies": {"left-pad": "1"}}'}, False),
        ({"package.json": b"{"}, True),
        ({"package-lock.json": b"{}"}, False),
    ],
)
def test_dependencies_ask_for_a_build(files, needs):
    assert needs_build(PYTHON, files) is needs


def test_a_compiled_language_always_does():
    assert needs_build(GO, {"main.go": b"x"})


def test_a_key_moves_with_each_of_its_parts():
    parts = {"toolchain": "go 1", "runtime": "go", "handler": "a.b", "code_hash": "0"}
    keys = {cache_key(**parts)} | {cache_key(**{**parts, name: value + "x"}) for name, value in parts.items()}
    assert len(keys) == 5
    assert cache_key(**{**parts, "toolchain": "go 1go", "runtime": ""}) not in keys


def test_callers_are_told_the_beginning_of_an_error():
    assert stated("\na\nb\nc\nd\ne\nf\n") == "a\nb\nc\nd\ne"
    assert len(stated("x" * 10_000)) == 500
