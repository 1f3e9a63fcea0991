"""The README's session works as it is printed. Runs against a real platform too, Node included."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def session() -> list[list[str]]:
    """Return orbit's commands in the first block of shell, in order."""
    block = (ROOT / "README.md").read_text().partition("```sh\n")[2].partition("```")[0]
    assert len(block.splitlines()) == 10
    lines = [line for line in block.splitlines() if line.startswith("orbit ")]
    return [shlex.split(part, comments=True)[1:] for line in lines for part in line.split("&&")]


def test_every_command_of_the_session_succeeds(rig, monkeypatch):
    monkeypatch.chdir(ROOT)
    commands = session()
    assert len(commands) >= 8
    for command in commands:
        if rig.platform is not None and command[:2] == ["invoke", "hello-node"]:
            continue  # the fake runs Python alone
        done = rig.run(*command)
        assert done.code == 0, (command, done.err)


def test_what_the_readme_names_is_there():
    text = (ROOT / "README.md").read_text()
    named = {
        word for word in text.replace("`", " ").split() if word.startswith(("bench/", "examples/", "tests/", "src/"))
    }
    missing = {name for name in named if not (ROOT / name.rstrip(".,:;/")).exists()}
    if missing:
        pytest.fail(f"not there: {missing}")
