"""The everyday tool from init to delete. Runs against a real platform too: see ORBIT_TEST_URL in conftest."""

from __future__ import annotations

import pytest
import yaml

HELLO = "def handler(event, context):\n    print('seen', event)\n    return {'got': event}\n"
RAISES = "def handler(event, context):\n    raise ValueError('no such luck')\n"


@pytest.fixture
def hello(rig, work):
    """A deployed function that answers with its event."""
    (work / "hello.py").write_text(HELLO)
    assert rig.run("deploy", work / "hello.py").code == 0
    return "hello"


def test_newcomer_goes_from_init_to_an_answer(rig, work):
    assert rig.run("init", work / "greet").code == 0
    deployed = rig.run("deploy", work / "greet")
    assert deployed.code == 0
    assert deployed.out.startswith("created greet (version 1; python, main.handler, 1 file,")
    answer = rig.run("invoke", "greet", "-d", f"@{work / 'greet' / 'event.json'}")
    assert (answer.code, answer.json) == (0, {"message": "Hello, Ada!"})
    assert answer.err == ""
    listed = rig.run("list", "-o", "json")
    assert [function["name"] for function in listed.json] == ["greet"]
    assert rig.run("delete", "greet", "--yes").code == 0
    assert rig.run("get", "greet").code == 3


def test_second_deploy_of_the_same_changes_nothing(rig, work):
    rig.run("init", work / "greet")
    rig.run("deploy", work / "greet")
    again = rig.run("deploy", work / "greet", "-o", "json").json
    assert (again["action"], again["changes"], again["function"]["code_version"]) == ("unchanged", [], 1)


def test_deploy_says_what_changed(rig, work):
    rig.run("init", work / "greet")
    rig.run("deploy", work / "greet")
    (work / "greet" / "main.py").write_text(HELLO)
    (work / "greet" / "words.py").write_text("WORDS = 1\n")
    done = rig.run("deploy", work / "greet", "--memory", "256", "--env", "TOKEN=s3cret")
    assert done.out.startswith("updated greet (version 2;")
    assert "memory_mb  128 -> 256" in done.out
    assert "+TOKEN" in done.out
    assert "~main.py +words.py" in done.out or "+words.py ~main.py" in done.out
    assert "s3cret" not in done.out + done.err


def test_env_of_the_command_line_adds_to_what_is_there(rig, work, hello):
    rig.run("deploy", work / "hello.py", "-e", "A=1")
    rig.run("deploy", work / "hello.py", "-e", "B=2")
    assert rig.run("get", hello, "--show-env", "-o", "json").json["env"] == {"A": "1", "B": "2"}
    assert rig.run("get", hello, "-o", "json").json["env"] == {"A": "***", "B": "***"}


def test_deploy_can_try_the_new_version(rig, work):
    rig.run("init", work / "greet")
    tried = rig.run("deploy", work / "greet", "--try")
    assert tried.code == 0
    assert '"Hello, Ada!"' in tried.out


def test_invoke_takes_its_event_from_text_file_and_standard_input(rig, work, hello):
    (work / "event.json").write_text("[1]")
    assert rig.run("invoke", hello).json == {"got": {}}
    assert rig.run("invoke", hello, "-d", '{"a": 1}').json == {"got": {"a": 1}}
    assert rig.run("invoke", hello, "-d", f"@{work / 'event.json'}").json == {"got": [1]}
    assert rig.run("invoke", hello, "-d", "-", stdin="null").json == {"got": None}


def test_invoke_gives_the_whole_answer_as_json_and_yaml(rig, hello):
    answer = rig.run("invoke", hello, "-d", "1", "-o", "json").json
    assert (answer["output"], answer["error"], answer["version"]) == ({"got": 1}, None, "1")
    assert yaml.safe_load(rig.run("-o", "yaml", "invoke", hello, "-d", "1").out)["output"] == {"got": 1}


def test_function_that_raises_ends_with_1_and_its_stack_on_standard_error(rig, work):
    (work / "bad.py").write_text(RAISES)
    rig.run("deploy", work / "bad.py")
    failed = rig.run("invoke", "bad")
    assert (failed.code, failed.out) == (1, "")
    assert "ValueError: no such luck" in failed.err
    assert "bad.py" in failed.err
    as_json = rig.run("invoke", "bad", "-o", "json")
    assert (as_json.code, as_json.json["error"]["type"]) == (1, "ValueError")


def test_stream_prints_pieces_as_they_are(rig, work):
    (work / "s.py").write_text("def handler(event, context):\n    yield 'one '\n    yield 'two\\n'\n")
    rig.run("deploy", work / "s.py")
    assert rig.run("invoke", "s", "--stream").out == "one two\n"


def test_async_call_gives_an_id_and_a_result(rig, hello):
    accepted = rig.run("invoke", hello, "--async", "-d", "1")
    assert accepted.code == 0
    job = accepted.out.strip()
    assert rig.run("async", "get", job, "--wait").json == {"got": 1}
    assert job in rig.run("async", "list", hello).out
    assert rig.run("invoke", hello, "--async", "--wait", "-d", "2").json == {"got": 2}


def test_dead_async_call_can_be_retried(rig, work):
    (work / "bad.py").write_text(RAISES)
    rig.run("deploy", work / "bad.py")
    assert rig.run("invoke", "bad", "--async", "--wait", "--attempts", "1").code == 1
    dead = rig.run("async", "list", "--status", "dead", "-o", "json").json
    assert [job["function"] for job in dead] == ["bad"]
    retried = rig.run("async", "retry", dead[0]["id"], "--max-attempts", "1")
    assert retried.out.startswith("queued ")


def test_logs_show_what_calls_printed(rig, hello, wait_for):
    rig.run("invoke", hello, "-d", "1")
    rig.run("invoke", hello, "-d", "2")
    entries = wait_for(lambda: rig.run("logs", hello, "-o", "json").json, until=lambda found: len(found) == 2)
    assert [entry["log"].strip() for entry in entries] == ["seen 1", "seen 2"]
    shown = rig.run("logs", hello, "--limit", "1").out
    assert "seen 2" in shown
    assert "seen 1" not in shown
    one = rig.run("logs", hello, "--request-id", entries[0]["id"]).out
    assert "seen 1" in one
    assert rig.run("logs", hello, "--failed", "-o", "json").json == []


def test_schedules_are_made_changed_and_deleted(rig, hello):
    made = rig.run("schedules", "create", hello, "0 6 * * *", "--time-zone", "Europe/Paris", "-d", "1", "-o", "json")
    schedule = made.json["id"]
    assert (made.json["cron"], made.json["time_zone"], made.json["input"]) == ("0 6 * * *", "Europe/Paris", 1)
    assert rig.run("schedules", "disable", schedule, "-o", "json").json["enabled"] is False
    assert rig.run("schedules", "enable", schedule[9:], "-o", "json").json["enabled"] is True
    assert rig.run("schedules", "update", schedule, "--cron", "@hourly", "-o", "json").json["cron"] == "@hourly"
    assert schedule in rig.run("schedules", "list", hello).out
    assert rig.run("schedules", "delete", schedule, "--yes").code == 0
    assert rig.run("schedules", "list", "-o", "json").json == []
    assert rig.run("schedules", "enable", schedule).code == 3


def test_key_is_shown_once_and_alone(rig):
    name = "ci-" + str(id(rig))
    made = rig.run("keys", "create", name, "--role", "invoker", "--expires", "30d")
    key = made.out.strip()
    assert key.startswith("sk_")
    assert "not shown again" in made.err
    listed = rig.run("keys", "list")
    assert name in listed.out
    assert key not in listed.out
    assert rig.run("keys", "disable", name).out == f"disabled {name}\n"
    assert rig.run("keys", "enable", name).code == 0
    assert rig.run("keys", "delete", name, "--yes").code == 0


def test_a_key_is_limited_and_freed(rig):
    name = "rated-" + str(id(rig))
    made = rig.run("keys", "create", name, "--rate", "100", "--burst", "200", "-o", "json").json
    assert (made["rate_per_s"], made["burst"]) == (100.0, 200)

    def rate() -> str:
        return next(line for line in rig.run("keys", "list").out.splitlines() if name in line)

    assert "100/s, 200 at once" in rate()
    assert rig.run("keys", "limit", name, "--rate", "0.5").out == f"limited {name}\n"
    assert "0.5/s" in rate()
    assert rig.run("keys", "limit", name, "--rate", "0").out == f"unlimited {name}\n"
    assert "any" in rate()
    assert rig.run("keys", "delete", name, "--yes").code == 0


def test_capacity_comes_from_the_manifest(rig, work):
    rig.run("init", work / "greet")
    manifest = work / "greet" / "function.yaml"
    stated = yaml.safe_load(manifest.read_text())
    manifest.write_text(yaml.safe_dump(stated | {"capacity": {"breaker_error_percent": 50, "breaker_open_s": 2}}))
    assert rig.run("deploy", work / "greet").code == 0
    capacity = rig.run("get", "greet", "-o", "json").json["capacity"]
    assert (capacity["breaker_error_percent"], capacity["breaker_open_s"], capacity["max_queue_depth"]) == (50, 2, 1000)
    assert rig.run("deploy", work / "greet", "-o", "json").json["action"] == "unchanged"
    manifest.write_text(yaml.safe_dump(stated | {"capacity": {"breaker_error_percent": 101}}))
    refused = rig.run("deploy", work / "greet")
    assert refused.code == 2
    assert "breaker_error_percent" in refused.err
    assert rig.run("delete", "greet", "--yes").code == 0


def test_tenants_and_namespaces_come_and_go(rig):
    tenant = f"t{id(rig)}"
    assert rig.run("tenants", "create", tenant).code == 0
    assert rig.run("tenants", "suspend", tenant).code == 0
    assert rig.run("tenants", "activate", tenant).code == 0
    assert rig.run("namespaces", "create", "blue", "--tenant", tenant).out == f"created {tenant}/blue\n"
    assert "blue" in rig.run("namespaces", "list", "--tenant", tenant).out
    assert rig.run("namespaces", "delete", "blue", "--yes", "--tenant", tenant).code == 0
    assert rig.run("tenants", "delete", tenant, "--yes").code == 0
    assert tenant not in rig.run("tenants", "list").out


@pytest.mark.parametrize("command", ["runtimes", "backends", "stats", "health", "whoami", "invocations"])
@pytest.mark.parametrize("form", ["table", "json", "yaml"])
def test_facts_come_in_every_form(rig, command, form):
    shown = rig.run(command, "-o", form)
    assert shown.code == 0
    if form == "json":
        assert shown.json is not None
    elif form == "yaml":
        yaml.safe_load(shown.out)
