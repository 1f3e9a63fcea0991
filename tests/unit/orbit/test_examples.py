"""The examples are deployable as they are, and do what they say. Runs against a real platform too."""

from __future__ import annotations

from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[3] / "examples"
NAMES = sorted(path.name for path in EXAMPLES.iterdir() if (path / "function.yaml").is_file())
OUTPUTS = {
    "hello-python": {"message": "Hello, Ada!"},
    "word-count": {"words": 13, "distinct": 10, "top": [{"word": "the", "count": 3}, {"word": "dog", "count": 2}]},
    "csv-to-json": {
        "columns": ["name", "born", "code", "alive"],
        "rows": [
            {"name": "Ada Lovelace", "born": 1815, "code": "007", "alive": False},
            {"name": "Grace Hopper", "born": 1906, "code": None, "alive": False},
        ],
    },
}


def test_there_are_five():
    assert len(NAMES) == 5


@pytest.mark.parametrize("name", NAMES)
def test_example_has_what_a_newcomer_needs(name):
    assert {"function.yaml", "event.json", "README.md"} <= {path.name for path in (EXAMPLES / name).iterdir()}
    assert f"examples/{name}" in (EXAMPLES / name / "README.md").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_example_is_deployed_under_its_own_name(rig, name):
    deployed = rig.run("deploy", EXAMPLES / name, "-o", "json").json
    assert deployed["function"]["name"] == name


@pytest.mark.parametrize("name", sorted(OUTPUTS))
def test_example_answers_its_event(rig, name):
    rig.run("deploy", EXAMPLES / name)
    answer = rig.run("invoke", name, "-d", f"@{EXAMPLES / name / 'event.json'}")
    assert (answer.code, answer.json) == (0, OUTPUTS[name])


def test_clock_streams_as_many_pieces_as_asked_for(rig):
    rig.run("deploy", EXAMPLES / "stream-clock")
    streamed = rig.run("invoke", "stream-clock", "--stream", "-d", '{"ticks": 3, "interval_s": 0.01}')
    assert [line[:3] for line in streamed.out.splitlines()] == ["1/3", "2/3", "3/3"]
