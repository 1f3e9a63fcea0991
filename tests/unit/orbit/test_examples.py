"""The examples are deployable as they are, and do what they say. Runs against a real platform too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

EXAMPLES = Path(__file__).parents[3] / "examples"
NAMES = sorted(path.name for path in EXAMPLES.iterdir() if (path / "function.yaml").is_file())
RUNTIME = {name: yaml.safe_load((EXAMPLES / name / "function.yaml").read_text())["runtime"] for name in NAMES}
DEPLOYED = [name for name in NAMES if RUNTIME[name] in ("python", "node")]  # the others need their interpreters
ANSWERED = [name for name in NAMES if RUNTIME[name] == "python" and (EXAMPLES / name / "answer.json").exists()]


@pytest.mark.parametrize("name", NAMES)
def test_example_has_what_a_newcomer_needs(name):
    assert {"function.yaml", "event.json", "README.md"} <= {path.name for path in (EXAMPLES / name).iterdir()}
    assert f"examples/{name}" in (EXAMPLES / name / "README.md").read_text()


@pytest.mark.parametrize("name", DEPLOYED)
def test_example_is_deployed_under_its_own_name(rig, name):
    deployed = rig.run("deploy", EXAMPLES / name, "-o", "json").json
    assert deployed["function"]["name"] == name


@pytest.mark.parametrize("name", ANSWERED)
def test_example_answers_its_event(rig, name):
    rig.run("deploy", EXAMPLES / name)
    answer = rig.run("invoke", name, "-d", f"@{EXAMPLES / name / 'event.json'}")
    assert (answer.code, answer.json) == (0, json.loads((EXAMPLES / name / "answer.json").read_text()))


def test_clock_streams_as_many_pieces_as_asked_for(rig):
    rig.run("deploy", EXAMPLES / "stream-clock")
    streamed = rig.run("invoke", "stream-clock", "--stream", "-d", '{"ticks": 3, "interval_s": 0.01}')
    assert [line[:3] for line in streamed.out.splitlines()] == ["1/3", "2/3", "3/3"]
