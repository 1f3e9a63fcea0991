"""Hosts of one's own: made with orbit, served by the gateway, changed while it serves."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.acceptance.conftest import Platform

HOST = "shop.example.org"
USERS = """
def handler(event, context):
    return {"statusCode": 201, "headers": {"X-Who": event["path_params"]["id"]}, "body": event["method"]}
"""


def orbit(platform: Platform, *words: str) -> Any:
    done = subprocess.run(
        ["bin/orbit", "--server", platform.url, "-o", "json", *words], capture_output=True, text=True, timeout=30
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def users(platform: Platform) -> Platform:
    platform.deploy("users", USERS)
    assert orbit(platform, "domains", "create", HOST)["host"] == HOST
    return platform


def test_a_domain_is_served_changed_and_given_up(users: Platform):
    route = orbit(users, "gateway", "create", HOST, "/users/{id}", "users", "-X", "get", "--auth", "none")

    def get(path: str = "/users/ada", method: str = "GET") -> Any:
        return users.http.request(method, path, headers={"Host": HOST})

    users.eventually(lambda: get().status_code == 201, within_s=5)
    answer = get()
    assert (answer.headers["x-who"], answer.text) == ("ada", "GET")
    assert get(method="DELETE").status_code == 405
    assert get("/functions").status_code == 404  # the platform's own is not there
    orbit(users, "gateway", "update", route["id"], "--auth", "api_key", "-X", "any", "--path", "/people/{id}")
    users.eventually(lambda: get("/people/bob").status_code == 401, within_s=5)
    assert get().status_code == 404
    assert [each["path"] for each in orbit(users, "gateway", "list", HOST)] == ["/people/{id}"]
    orbit(users, "gateway", "disable", route["id"])
    users.eventually(lambda: get("/people/bob").status_code == 404, within_s=5)
    orbit(users, "gateway", "delete", route["id"][4:], "--yes")
    assert orbit(users, "gateway", "list") == []
    orbit(users, "domains", "delete", HOST, "--yes")
    assert orbit(users, "domains", "list") == []
    # and now its name leads to the platform, as any that is nobody's
    users.eventually(lambda: get("/health/live").status_code == 200, within_s=5)
