"""Builds from the command line: a deploy waits for its build, shows what it prints, and fails with it."""

from __future__ import annotations

import pytest

HELLO = "def handler(event, context):\n    return event\n"


@pytest.fixture
def project(rig, work):
    """A function with dependencies."""
    if rig.platform is None:
        pytest.skip("what builds is for the fake platform to say")
    rig.run("init", work / "f", "--name", "f")
    (work / "f" / "main.py").write_text(HELLO)
    (work / "f" / "requirements.txt").write_text("six==1\n")
    return work / "f"


def test_a_deploy_shows_its_build_and_ends_live(rig, project):
    done = rig.run("deploy", project)
    assert done.code == 0, done.err
    assert done.out.startswith("created f (version 1;")
    (build,) = rig.run("builds", "list", "f", "-o", "json").json
    assert (build["state"], build["code_version"]) == ("success", 1)
    assert rig.run("builds", "logs", build["id"]).out == "building f\n"
    assert rig.run("builds", "logs", build["id"], "-f").out == "building f\n"
    assert rig.run("builds", "show", build["id"], "-o", "json").json == build
    assert rig.run("builds", "cancel", build["id"]).code == 4
    assert rig.run("builds", "retry", "f").code == 4


def test_a_deploy_fails_with_its_build_and_the_next_tries_again(rig, project):
    rig.platform.build_errors = ["no six\nnor seven", "still no six"]
    failed = rig.run("deploy", project)
    assert failed.code == 1
    assert "building f\nno six\nnor seven\n" in failed.err
    assert "f: version 1 was not built (failed): no six\n" in failed.err
    assert "build failed" in rig.run("list").out
    listed = rig.run("builds", "list", "f", "--state", "failed")
    assert "no six" in listed.out
    again = rig.run("deploy", project)
    assert (again.code, "still no six" in again.err) == (1, True)
    third = rig.run("deploy", project)
    assert third.code == 0, third.err
    assert third.out.startswith("unchanged f (version 1;")
    assert [item["state"] for item in rig.run("builds", "list", "f", "-o", "json").json] == [
        "success",
        "failed",
        "failed",
    ]


def test_a_retry_is_followed_to_its_end(rig, project):
    rig.platform.build_errors = ["no six", "still no six"]
    rig.run("deploy", project)
    failed = rig.run("builds", "retry", "f", "--follow")
    assert (failed.code, "still no six" in failed.err) == (1, True)
    assert rig.run("builds", "retry", "f", "-f").code == 0
