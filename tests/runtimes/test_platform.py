"""Every language on one whole platform, the way its users come: through zenith, from ready-made sandboxes."""

from __future__ import annotations

import base64
import concurrent.futures
import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from constellation.orbit.languages import LANGUAGES
from constellation.testing.registries import configured_sources
from tests.acceptance.conftest import Platform
from tests.runtimes import clients
from tests.runtimes.conftest import ASKED, PROGRAMS
from tests.runtimes.table import SNOWMAN

pytestmark = [pytest.mark.slow]
BUILT_WITHIN_S = 600  # Go builds its standard library once a host, Kotlin fetches its compiler


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    sources = configured_sources()
    with pytest.MonkeyPatch.context() as environment:  # Kotlin's compiler, say, is a package
        for name in ("pip", "npm", "go", "cargo", "maven"):
            environment.setenv(f"NOVA_BUILDS_SOURCES_{name.upper()}", getattr(sources, name).url)
        made = Platform.start(tmp_path_factory.mktemp("platform"))
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


def test_it_is_told_to_be_there(platform, any_runtime):
    (item,) = [item for item in platform.http.get("/runtimes").json()["items"] if item["id"] == any_runtime]
    assert (item["status"], item["reason"]) == ("available", "")


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
