"""What people read when something is wrong, and how scripts can tell."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from constellation.base.errors import Forbidden, Overloaded, PayloadTooLarge, Unavailable
from constellation.client import ApiProblem
from constellation.comet.backend.contract import CallTimeout, InstanceDied
from constellation.orbit.app import app, hoisted
from constellation.orbit.failures import Exit, explain
from constellation.testing.orbit import OrbitRig


def test_unreachable_server_says_what_to_start(tmp_path):
    rig = OrbitRig(home=tmp_path, platform=None, env={"ZENITH_URL": "http://127.0.0.1:1"})
    failed = rig.run("list")
    assert failed.code == Exit.SERVER
    assert "http://127.0.0.1:1 can not be reached" in failed.err
    assert "make up" in failed.err
    assert failed.out == ""


def test_missing_key_says_how_to_give_one(fake, platform):
    platform.api_key = "sk_right"
    failed = fake.run("list")
    assert failed.code == Exit.REFUSED
    assert "NOVA_API_KEY" in failed.err
    assert fake.run("list", env={"NOVA_API_KEY": "sk_right"}).code == 0
    assert fake.run("list", "--api-key", "sk_right").code == 0


def test_unknown_function_names_the_nearest(fake, work):
    (work / "word-count.py").write_text("def handler(event, context):\n    return 1\n")
    fake.run("deploy", work / "word-count.py")
    failed = fake.run("invoke", "wordcount")
    assert failed.code == Exit.NOT_FOUND
    assert "Did you mean word-count?" in failed.err
    assert "`orbit list`" in fake.run("get", "zzz").err


def test_refusal_tells_when_to_come_back(fake, platform):
    platform.refuse_next.append(Overloaded("gateway", limit=1))
    failed = fake.run("whoami")
    assert failed.code == Exit.SERVER
    assert "Try again in 1 s." in failed.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CallTimeout("f", after_s=1), Exit.FUNCTION_FAILED),
        (InstanceDied("f", cause="exit status 3"), Exit.FUNCTION_FAILED),
        (Forbidden("me", permission="function:read"), Exit.REFUSED),
        (PayloadTooLarge(limit_bytes=1), Exit.REFUSED),
        (Unavailable("nova", reason="gone"), Exit.SERVER),
    ],
)
def test_exit_codes_follow_the_problem(fake, platform, error, code):
    platform.refuse_next.append(error)
    failed = fake.run("whoami")
    assert failed.code == code
    assert str(error) in failed.err


def test_handler_that_can_not_be_loaded_shows_its_stack():
    problem = ApiProblem("f: ImportError", status=502, code="handler_load_failed", body={"stack": "line 1\nline 2\n"})
    assert explain(problem).hint == "line 1\nline 2"


@pytest.mark.parametrize(
    "args",
    [
        ("invoke", "x", "-d", "{bad"),
        ("invoke", "x", "-d", "@/nonexistent"),
        ("invoke", "x", "--wait"),
        ("invoke", "x", "--async", "--stream"),
        ("deploy", "/nonexistent"),
        ("deploy", "x.py", "--env", "NOEQUALS"),
        ("list", "-o", "xml"),
        ("list", "--profile", "nobody"),
        ("async", "get", "not-an-id"),
        ("logs", "x", "--since", "yesterday"),
        ("schedules", "update", "x"),
        ("keys", "create", "x", "--expires", "soon"),
        ("init", "--runtime", "cobol"),
        ("config", "set", "sever", "x"),
        ("nonsense",),
        ("list", "--server", "localhost"),
    ],
)
def test_wrong_command_line_ends_with_2_and_a_sentence(fake, platform, args):
    failed = fake.run(*args)
    assert failed.code == Exit.USAGE
    assert failed.err
    assert "Traceback" not in failed.err
    assert platform.requests == []


def test_nothing_is_destroyed_without_a_yes(fake, platform, work):
    (work / "f.py").write_text("def handler(event, context):\n    return 1\n")
    fake.run("deploy", work / "f.py")
    assert fake.run("delete", "f", stdin="n\n").code == Exit.USAGE
    refused = fake.run("delete", "f", stdin="")
    assert (refused.code, "--yes" in refused.err) == (Exit.USAGE, True)
    assert len(platform.functions) == 1
    assert fake.run("delete", "f", stdin="y\n").code == 0
    assert not platform.functions


def test_health_that_is_bad_is_shown_and_ends_with_5(fake, platform):
    platform.refuse_next.append(Unavailable("comet", reason="no answer"))
    shown = fake.run("health")
    assert shown.code == Exit.SERVER
    assert "comet" in shown.out


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["list", "-o", "json"], ["-o", "json", "list"]),
        (["list", "--output=json", "x"], ["--output=json", "list", "x"]),
        (["list", "-ojson"], ["-ojson", "list"]),
        (["invoke", "x", "--", "-o", "json"], ["invoke", "x", "--", "-o", "json"]),
        (["--server", "http://a", "list"], ["--server", "http://a", "list"]),
        (["list", "-o"], ["-o", "list"]),
    ],
)
def test_shared_options_may_stand_anywhere(args, expected):
    assert hoisted(args) == expected


def test_no_command_has_an_option_that_is_taken_as_a_shared_one():
    import typer

    def walk(command, depth=0):
        for parameter in command.params if depth else ():
            assert not set(parameter.opts) & set(hoisted.__globals__["_SHARED"]), (command.name, parameter.opts)
        for child in getattr(command, "commands", {}).values():
            walk(child, depth + 1)

    walk(typer.main.get_command(app))


def orbit(args: list[str], **more) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm"}
    argv = [sys.executable, "-m", "constellation.orbit.main", *args]
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False, **more)


def test_pipe_gets_no_color_and_a_bug_is_no_traceback():
    done = orbit(["config", "show"])
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stdout.splitlines()[0].split() == ["KEY", "VALUE", "FROM"]


def test_reader_that_goes_away_ends_orbit_quietly():
    argv = f"{sys.executable} -m constellation.orbit.main --help | true"
    done = subprocess.run(
        ["sh", "-c", argv],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
