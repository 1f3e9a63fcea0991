"""Every language on one whole platform, the way its users come: through zenith, from ready-made sandboxes."""

from __future__ import annotations

import base64
import concurrent.futures
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from constellation.nova.domain.runtimes import RUNTIMES
from constellation.orbit.languages import LANGUAGES
from constellation.testing.orbit import OrbitRig
from constellation.testing.registries import configured_sources
from tests.acceptance.conftest import Platform
from tests.runtimes import clients
from tests.runtimes.conftest import ASKED, ELSEWHERE, NAMED, PROGRAMS, SEEDS, there
from tests.runtimes.table import SNOWMAN

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
BUILT_WITHIN_S = 600  # Go builds its standard library once a host, Kotlin fetches its compiler
EXAMPLES = {
    path.parent: yaml.safe_load(path.read_text()) for path in Path(__file__).parents[2].glob("examples/*/function.yaml")
}
# Others answer with pieces, or with what differs from call to call
ANSWERED = {path: facts for path, facts in EXAMPLES.items() if (path / "answer.json").exists()}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    sources, data_dir = configured_sources(), tmp_path_factory.mktemp("platform")
    SEEDS.mkdir(parents=True, exist_ok=True)
    (data_dir / "toolchains").symlink_to(SEEDS)
    with pytest.MonkeyPatch.context() as environment:  # Kotlin's compiler, say, is a package
        for name in ("pip", "npm", "go", "cargo", "maven"):
            environment.setenv(f"NOVA_BUILDS_SOURCES_{name.upper()}", getattr(sources, name).url)
        made = Platform.start(data_dir)
    try:
        yield made
    finally:
        made.stop()


@contextmanager
def deployed(platform: Platform, name: str, code: str, **settings: object) -> Iterator[str]:
    platform.deploy(name, code, **settings)
    try:
        platform.eventually(lambda: _is_built(platform, name), within_s=BUILT_WITHIN_S)
        yield name
    finally:
        platform.http.delete(f"/functions/{name}")


def _is_built(platform: Platform, name: str) -> bool:
    build = platform.http.get(f"/functions/{name}").json()["build"]
    if build is not None and build["state"] == "failed":
        pytest.fail(f"{name} was not built: {build['error']}")
    return build is None or build["state"] == "success"


def test_the_starter_of_orbit_greets(platform, any_runtime):
    code = LANGUAGES[any_runtime].source("hello")
    with deployed(platform, f"hello-{any_runtime}", code, runtime=any_runtime, memory_mb=256) as name:
        for event, who in (({"name": "Ada"}, "Ada"), ({}, "world")):
            assert platform.output(name, event) == {"message": f"Hello, {who}!"}


def test_every_language_has_an_example():
    no_languages = {"custom", "provided", "wasm"}
    assert {facts["runtime"] for facts in ANSWERED.values()} >= RUNTIMES.keys() - no_languages


@pytest.mark.parametrize(
    "path", [p for p, facts in ANSWERED.items() if facts["runtime"] in NAMED], ids=lambda p: p.name
)
def test_an_example_answers_its_event(platform, registry, tmp_path, path):
    there(ANSWERED[path]["runtime"], registry.missing)
    orbit = OrbitRig(home=tmp_path, platform=None, env={"ZENITH_URL": platform.url})
    deployed = orbit.run("deploy", path, "-o", "json")
    assert deployed.code == 0, deployed.err
    try:
        answer = orbit.run("invoke", path.name, "-d", f"@{path / 'event.json'}")
        assert answer.json == json.loads((path / "answer.json").read_text()), answer.err
    finally:
        platform.http.delete(f"/functions/{path.name}")


def test_it_is_told_to_be_there(platform, any_runtime):
    (item,) = [item for item in platform.http.get("/runtimes").json()["items"] if item["id"] == any_runtime]
    assert (item["status"], item["reason"]) == ("available", "")


@pytest.mark.parametrize("runtime", ELSEWHERE)
def test_one_that_is_not_there_is_refused_with_the_reason(platform, registry, runtime):
    if runtime not in registry.missing:
        pytest.skip("it is there")
    language, info = LANGUAGES[runtime], RUNTIMES[runtime]
    name = f"absent-{runtime}"
    platform.deploy(name, language.source("hello"), runtime=runtime, handler=info.default_handler)
    try:
        if info.is_compiled:  # refused by its build
            platform.eventually(lambda: platform.http.get(f"/functions/{name}").json()["build"]["state"] == "failed")
        refusal = platform.invoke(name).json()
    finally:
        platform.http.delete(f"/functions/{name}")
    assert refusal["code"] == ("compile_failed" if info.is_compiled else "runtime_unavailable")
    assert registry.missing[runtime] in refusal["detail"]


def test_twenty_callers_at_once_are_all_answered(platform, runtime, sources):
    with (
        deployed(platform, f"many-{runtime}", sources.echo, runtime=runtime, memory_mb=256, max_replicas=4) as name,
        concurrent.futures.ThreadPoolExecutor(20) as callers,
    ):
        answers = list(callers.map(lambda number: platform.output(name, number), range(20)))
    assert answers == [{"got": number} for number in range(20)]


def test_new_code_answers_after_an_update(platform, runtime, sources):
    with deployed(platform, f"new-{runtime}", sources.stream, runtime=runtime, memory_mb=256) as name:
        assert platform.output(name) == ["a", SNOWMAN, {"n": 1}]
        platform.deploy(name, sources.echo, runtime=runtime)
        assert platform.eventually(lambda: platform.output(name, 1) == {"got": 1})


def test_an_error_and_a_log_reach_the_caller(platform, runtime, sources):
    with deployed(platform, f"fails-{runtime}", sources.fails, runtime=runtime, memory_mb=256) as name:
        error = platform.invoke(name).json()["error"]
        assert "no such thing" in json.dumps(error)


@pytest.mark.skipif(not ASKED or "provided" not in PROGRAMS, reason="RUNTIMES names no provided")
def test_a_compiled_program_is_deployed_as_it_is(platform):
    program = base64.b64encode((clients.made(clients.GO) / "bootstrap").read_bytes()).decode()
    body = {"name": "compiled", "runtime": "provided", "handler": "main", "files": {"bootstrap": program}}
    assert platform.http.post("/functions", json=body, timeout=60).status_code == 201
    try:
        assert platform.output("compiled", {"do": "echo", "text": SNOWMAN}) == {"do": "echo", "text": SNOWMAN}
        assert platform.output("compiled", {"do": "print"}) is None
        answer = platform.invoke("compiled", {"do": "fail"})
        assert answer.headers["x-nova-function-error"]
        assert answer.json()["error"]["type"] == "Mishap"
        platform.eventually(lambda: "out gr\u00f6\u00dfe" in platform.http.get("/functions/compiled/logs").text)
        changed = platform.http.patch("/functions/compiled", json={"handler": "streams"})
        assert changed.status_code == 200, changed.text

        def is_streamed():
            return platform.http.post("/functions/compiled/invoke-stream", json={}).text == "onedrei \u00fc"

        assert platform.eventually(is_streamed)
    finally:
        platform.http.delete("/functions/compiled")
