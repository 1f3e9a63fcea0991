"""Callers with rights for some functions do with a real comet exactly what they may, with and without the lane in C."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance.conftest import Platform

CODE = "def handler(event, context):\n    print('run')\n    return context.function_name\n"
PIECES = "def handler(event, context):\n    yield 'a'\n    yield 'b'\n"
MINE, THEIRS = ("pay-in", "pay-old"), ("pay-out", "other")


@pytest.fixture(scope="module", params=["--native-lane", "--no-native-lane"])
def platform(request, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    data_dir: Path = tmp_path_factory.mktemp("limited")
    platform = Platform.start(data_dir, request.param)
    try:
        yield platform
    finally:
        platform.stop()
        shutil.rmtree(data_dir, ignore_errors=True)


@pytest.fixture(scope="module")
def caller(platform: Platform) -> Iterator[httpx.Client]:
    """Somebody who is an invoker of pay-*, but for pay-out."""
    for name in (*MINE, *THEIRS):
        platform.deploy(name, CODE)
        put = platform.http.put(f"/functions/{name}/code", json={"code": CODE + "# 2\n"})
        assert put.status_code == 200, put.text
        platform.eventually(lambda name=name: platform.invoke(name).headers.get("x-nova-version") == "2")
    account = platform.http.post("/service-accounts", json={"name": "payer"})
    assert account.status_code == 201, account.text
    key = platform.http.post("/apikeys", json={"name": "payer", "service_account": "payer"}).json()["key"]
    subject = {"subject": "service-account:payer", "role": "invoker"}
    for binding in ({"functions": ["pay-*"]}, {"functions": ["pay-out"], "effect": "deny"}):
        made = platform.http.post("/rbac/bindings", json=subject | binding)
        assert made.status_code == 201, made.text
    with httpx.Client(base_url=platform.url, trust_env=False, timeout=30, headers={"X-API-Key": key}) as client:
        yield client


def ways(name: str) -> list[tuple[str, str]]:
    """Every way to call a function, and to read of it."""
    return [
        ("POST", f"/functions/{name}/invoke"),
        ("POST", f"/functions/{name}:1/invoke"),
        ("POST", f"/functions/{name}/invoke?qualifier=1"),
        ("POST", f"/v1/functions/{name}/invoke"),
        ("POST", f"/functions/{name}/invoke-stream"),
        ("POST", f"/functions/{name}/invoke-async"),
        ("POST", f"/functions/{name}/invoke-durable"),
        ("POST", f"/fn/{name}"),
        ("GET", f"/fn/{name}/some/path"),
        ("GET", f"/url/default/default/{name}"),
        ("GET", f"/functions/{name}"),
        ("GET", f"/functions/{name}/versions"),
        ("GET", f"/functions/{name}/versions/1"),
        ("GET", f"/functions/{name}/logs"),
        ("GET", f"/functions/{name}/invocations"),
    ]


def asked(client: httpx.Client, method: str, path: str) -> int:
    return client.request(method, path, json={} if method == "POST" else None).status_code


def test_it_calls_and_reads_exactly_what_it_may(caller: httpx.Client):
    for _ in range(3):  # at first zenith asks nova; then the caller is known, in C too where it answers
        for name in MINE:
            for method, path in ways(name):
                assert asked(caller, method, path) in (200, 202), (method, path)
        for name in THEIRS:
            for method, path in ways(name):
                assert asked(caller, method, path) == 403, (method, path)


def test_a_refused_call_runs_nothing(platform: Platform, caller: httpx.Client):
    def runs(name: str) -> int:
        return int(platform.http.get(f"/functions/{name}/invocations").json()["pagination"]["total"])

    before = platform.eventually(lambda: runs("other"))
    for method, path in ways("other"):
        assert asked(caller, method, path) == 403
    assert caller.post("/functions/pay-in/invoke", json={}).status_code == 200
    seen = runs("pay-in")
    platform.eventually(lambda: runs("pay-in") >= seen)  # rows are written by now
    assert runs("other") == before


def test_it_lists_what_it_may_see_and_changes_nothing(caller: httpx.Client):
    listed = caller.get("/functions").json()
    assert [one["name"] for one in listed["items"]] == list(MINE)
    assert listed["pagination"]["total"] == len(MINE)
    for method, path, body in (
        ("PATCH", "/functions/pay-in", {"memory_mb": 256}),
        ("DELETE", "/functions/pay-in", None),
        ("POST", "/functions", {"name": "pay-new", "runtime": "python", "code": CODE}),
        ("GET", "/invocations", None),
        ("GET", "/secrets", None),
    ):
        assert caller.request(method, path, json=body).status_code == 403, (method, path)


def test_a_version_and_an_alias_give_no_way_around(platform: Platform, caller: httpx.Client):
    for name in ("pay-in", "other"):
        made = platform.http.put(f"/functions/{name}/aliases/prod", json={"version": 1})
        assert made.status_code == 200, made.text
    platform.eventually(lambda: caller.post("/functions/pay-in:prod/invoke", json={}).status_code == 200)
    for path in ("/functions/other:prod/invoke", "/functions/%6fther/invoke", "/functions/other%3Aprod/invoke"):
        assert caller.post(path, json={}).status_code == 403, path
    tagged = caller.post("/functions/other/invoke", json={}, headers={"X-Nova-Qualifier": "prod"})
    assert tagged.status_code == 403


def test_a_right_that_is_taken_back_is_gone_while_calls_flow(platform: Platform, caller: httpx.Client):
    for binding in platform.http.get("/rbac/bindings?subject=service-account:payer").json()["items"]:
        if binding["effect"] == "allow":
            assert platform.http.delete(f"/rbac/bindings/{binding['id']}").status_code == 200
    for method, path in ways("pay-in"):
        platform.eventually(lambda method=method, path=path: asked(caller, method, path) == 403, within_s=10)
