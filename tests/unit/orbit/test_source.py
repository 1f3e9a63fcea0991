"""What orbit makes of directories and files."""

from __future__ import annotations

import pytest

from constellation.orbit import bundle, manifest
from constellation.orbit.bundle import Matcher, collect
from constellation.orbit.commands.arguments import destinations_of, network_of
from constellation.orbit.deployment import read_source
from constellation.orbit.failures import OrbitError
from constellation.orbit.languages import handler_of


def source(path, **given):
    return read_source(path, given, runtimes=lambda: {".jl": "julia"})


def fill(root, *names, text="x = 1\n"):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("pattern", "hits", "misses"),
    [
        ("*.py", ["a.py"], ["a/b.py", "a.pyc"]),
        ("**/*.py", ["a.py", "a/b.py", "a/b/c.py"], ["a.js"]),
        ("**", ["a", "a/b"], []),
        ("lib/", ["lib/a", "lib/b/c"], ["lib", "mylib/a"]),
        ("a/**/z", ["a/z", "a/b/z", "a/b/c/z"], ["az", "b/a/z"]),
        ("?.txt", ["a.txt"], ["ab.txt", "/.txt"]),
        ("a+b.py", ["a+b.py"], ["aab.py"]),
    ],
)
def test_patterns(pattern, hits, misses):
    matches = Matcher((pattern,))
    assert [name for name in hits if not matches(name)] == []
    assert [name for name in misses if matches(name)] == []


def test_directory_is_taken_without_what_no_function_reads(work):
    fill(work, "main.py", "lib/a.py", ".git/config", ".env", "lib/__pycache__/a.pyc", "function.yaml", "event.json")
    fill(work, "README.md", "tests/test_a.py", "node_modules/x/index.js")
    assert set(collect(work, exclude=("tests/",))) == {"main.py", "lib/a.py", "node_modules/x/index.js"}
    assert set(collect(work, include=("*.py",))) == {"main.py"}


def test_link_out_of_the_directory_is_refused(work, tmp_path):
    (tmp_path / "secret").write_text("s")
    fill(work, "main.py")
    (work / "inner.py").symlink_to(work / "main.py")
    assert set(collect(work)) == {"main.py", "inner.py"}
    (work / "outer.py").symlink_to(tmp_path / "secret")
    with pytest.raises(OrbitError, match="link"):
        collect(work)


def test_too_much_code_is_refused_before_it_is_read(work, monkeypatch):
    monkeypatch.setattr(bundle, "MAX_BYTES", 10)
    fill(work, "a.py", text="x" * 11)
    with pytest.raises(OrbitError, match="more than"):
        collect(work)


def test_empty_directory_is_refused(work):
    with pytest.raises(OrbitError, match="no files"):
        collect(work)


@pytest.mark.parametrize(
    ("path", "text", "handler"),
    [
        ("main.py", "def handler(e, c): ...", "main.handler"),
        ("job.py", "def run(e, c): ...\ndef _private(): ...", "job.run"),
        ("job.py", "def one(e, c): ...\ndef two(e, c): ...", "job.handler"),
        ("job.py", "from lib import handler\ndef other(): ...", "job.handler"),
        ("job.py", "async def work(e, c): ...", "job.work"),
        ("job.py", "def broken(:", "job.handler"),
        ("a/b.py", "def handler(e, c): ...", "a.b.handler"),
        ("x.mjs", "export async function greet(event) {}", "x.greet"),
        ("x.mjs", "export const handler = () => 1; export const other = 1;", "x.handler"),
        ("x.js", "exports.run = async () => 1;", "x.run"),
        ("x.cjs", "module.exports.handler = 1", "x.handler"),
        ("x.js", "export function* ticks() {}", "x.ticks"),
        ("x.ts", "export async function greet(event: unknown) {}", "x.greet"),
        ("x.rb", "def greet(event, context)\n  def inner = 1\nend", "x.greet"),
        ("x.php", "<?php\nfunction greet($event, $context) {}", "x.greet"),
        ("x.lua", "local M = {}\nfunction M.greet(event) end\nreturn M", "x.greet"),
        ("x.pl", "sub greet { 1 }\nsub handler { 2 }", "x.handler"),
        ("x.R", "greet <- function(event, context) 1\nhelp = 2", "x.greet"),
        ("x.exs", "defmodule X do\n  def greet(event, _), do: event\n  defp other, do: 1\nend", "x.greet"),
        ("x.zz", "def greet", "x.handler"),
    ],
)
def test_handler_is_found_in_the_source(path, text, handler):
    assert handler_of(path, text) == handler


def test_file_alone_is_named_after_itself_or_its_directory(work):
    fill(work, "word count.py", "main.py", text="def handler(e, c): ...\n")
    found = source(work / "word count.py")
    assert (found.name, found.stated.facts["runtime"], list(found.files)) == ("word-count", "python", ["word count.py"])
    assert source(work / "main.py").name == "work"


def test_directory_without_a_manifest_is_inferred(work):
    fill(work, "index.mjs", "lib/x.mjs", text="export function handler() {}\n")
    found = source(work)
    assert (found.name, found.stated.facts["handler"]) == ("work", "index.handler")
    assert set(found.files) == {"index.mjs", "lib/x.mjs"}


def test_manifest_wins_over_inference_and_flags_over_both(work):
    fill(work, "main.py", "other.py", text="def handler(e, c): ...\n")
    (work / "function.yaml").write_text("name: named\nhandler: other.handler\nmemory_mb: 64\nenv: {A: '1'}\n")
    found = source(work, memory_mb=256, env={"B": "2"})
    assert found.name == "named"
    assert dict(found.stated.facts) == {
        "name": "named",
        "handler": "other.handler",
        "runtime": "python",
        "memory_mb": 256,
        "env": {"A": "1", "B": "2"},
    }


def test_language_that_orbit_does_not_know_is_asked_of_the_platform(work):
    fill(work, "main.jl")
    assert source(work / "main.jl").stated.facts["runtime"] == "julia"
    fill(work, "main.zz")
    with pytest.raises(OrbitError, match="runtime"):
        source(work / "main.zz")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("memroy_mb: 64", "memroy_mb"),
        ("- a", "mapping"),
        ("name: [", "function.yaml"),
        ("env: [1]", "env"),
        ("files: {include: 1}", "files"),
        ("code: x", "code"),
    ],
)
def test_manifest_that_is_wrong_is_told_with_its_path(work, text, told):
    (work / "function.yaml").write_text(text)
    with pytest.raises(OrbitError, match=told):
        manifest.read(work)


@pytest.mark.parametrize(
    "text", ["memory_mb: 1", "timeout_s: fast", "name: 'a b'", "env: {A: 1}", "runtime: 5", "capacity: {max: 1}"]
)
def test_value_out_of_range_is_refused_before_sending(fake, platform, work, text):
    fill(work, "main.py")
    (work / "function.yaml").write_text("runtime: python\n" * ("runtime" not in text) + text)
    failed = fake.run("deploy", work)
    assert failed.code == 2
    assert "function.yaml" in failed.err
    assert platform.requests == []


def test_runtime_of_a_function_can_not_change(fake, work):
    fill(work, "f.py", text="def handler(e, c): ...\n")
    fill(work, "f.js", text="exports.handler = () => 1;\n")
    assert fake.run("deploy", work / "f.py").code == 0
    failed = fake.run("deploy", work / "f.js")
    assert failed.code == 2
    assert "keeps its runtime" in failed.err


@pytest.mark.parametrize("runtime", ["python", "node"])
def test_init_writes_a_function_and_overwrites_nothing(fake, work, runtime):
    made = fake.run("init", work / "My First", "--runtime", runtime, "-o", "json").json
    assert made["name"] == "My-First"
    found = source(work / "My First")
    assert (found.name, found.stated.facts["handler"]) == ("My-First", "main.handler")
    assert len(found.files) == 1
    again = fake.run("init", work / "My First", "--runtime", runtime)
    assert (again.code, "exists already" in again.err) == (2, True)


def test_an_executable_of_the_known_name_is_a_runtime_of_its_own(work):
    fill(work, "app.py", "bootstrap", "main.go")
    made = source(work)
    assert (made.stated.facts["runtime"], made.stated.facts["handler"]) == ("provided", "bootstrap.handler")
    (work / "function.yaml").write_text("name: f\nruntime: python\n")
    made = source(work)
    assert made.stated.facts["handler"] == "app.handler"
    made = source(work / "bootstrap")
    assert (made.stated.facts["runtime"], sorted(made.files)) == ("provided", ["bootstrap"])


def test_a_shell_script_is_a_command(work):
    fill(work, "serve.sh")
    for path in (work, work / "serve.sh"):
        made = source(path)
        assert (made.stated.facts["runtime"], made.stated.facts["handler"]) == ("custom", "sh serve.sh")


def test_a_command_is_taken_as_it_is_stated(work):
    fill(
        work,
        "main.py",
        "function.yaml",
        text="name: f\nruntime: custom\nhandler: python3 -m awslambdaric main.handler\n",
    )
    assert source(work).stated.facts["handler"] == "python3 -m awslambdaric main.handler"


def test_network_rules_are_read_as_they_are_written(work):
    assert network_of(None, None) is None
    assert network_of("internet", None) == {"egress": "internet"}
    assert network_of(None, ["api.example.org:443,8443", "*.test", "10.1.0.0/16:5432", "udp:time.test:123"]) == {
        "egress": "allow-list",
        "allow": [
            {"host": "api.example.org", "ports": [443, 8443], "protocol": "tcp"},
            {"host": "*.test", "ports": [], "protocol": "tcp"},
            {"cidr": "10.1.0.0/16", "ports": [5432], "protocol": "tcp"},
            {"host": "time.test", "ports": [123], "protocol": "udp"},
        ],
    }
    for text in ("", "a.test:", "a.test:x", "icmp:a.test", "a.test:1:2"):
        with pytest.raises(OrbitError, match="no rule"):
            network_of(None, [text])


def test_destinations_are_read_as_they_are_written(work):
    assert destinations_of(on_success=None, on_failure=None) is None
    assert destinations_of(on_success="topic:results", on_failure="none") == {
        "on_success": {"type": "topic", "target": "results"},
        "on_failure": None,
    }
    for text in ("", "results", "queue:x", "topic:"):
        with pytest.raises(OrbitError, match="is no destination"):
            destinations_of(on_success=None, on_failure=text)
    fill(work, "main.py", text="def handler(event, context): ...\n")
    (work / "function.yaml").write_text("async_destinations:\n  on_failure: {type: function, target: audit}\n")
    given = destinations_of(on_success="topic:results", on_failure=None)
    created = source(work, async_destinations=given).stated.creation(files={})
    assert created.async_destinations.on_failure.target == "audit"
    assert created.async_destinations.on_success.type == "topic"


def test_a_manifest_states_the_network(work):
    fill(work, "main.py", text="def handler(event, context): ...\n")
    (work / "function.yaml").write_text(
        "network:\n  egress: allow-list\n  allow:\n    - {host: api.example.org, ports: [443]}\n    - cidr: 10.1.0.0/16\n"
    )
    created = source(work).stated.creation(files={})
    assert created.network.egress == "allow-list"
    assert [(rule.host, rule.cidr, rule.ports) for rule in created.network.allow] == [
        ("api.example.org", "", (443,)),
        ("", "10.1.0.0/16", ()),
    ]
    (work / "function.yaml").write_text("network: {egress: everything}\n")
    with pytest.raises(OrbitError, match=r"network\.egress"):
        source(work).stated.creation(files={})
