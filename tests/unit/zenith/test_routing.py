from __future__ import annotations

import pytest

from constellation.base.errors import MethodNotAllowed, RouteNotFound
from constellation.routes.registry import RouteTable, strip_version
from constellation.zenith.routing import Router


@pytest.fixture
def router():
    return Router(RouteTable())


@pytest.mark.parametrize(
    ("method", "path", "operation"),
    [
        ("POST", "/functions/hello/invoke", "invoke"),
        ("POST", "/v1/functions/hello/invoke", "invoke"),
        ("GET", "/functions/hello", "get_function"),
        ("HEAD", "/functions/hello", "get_function"),
        ("PATCH", "/fn/hello", "function_url"),
        ("PROPFIND", "/fn/hello/a/b%2Fc/../d", "function_url_path"),
        ("GET", "/fn/hello/", "function_url_path"),
        ("POST", "/async-invocations/dlq/retry-all", "redrive_async"),
        ("GET", "/health/ready", "health_ready"),
    ],
)
def test_a_path_finds_its_route(router, method, path, operation):
    for _ in range(2):  # the second time from memory
        assert router.find(method, strip_version(path)).route.operation == operation


@pytest.mark.parametrize(
    "path",
    [
        "/internal/changes",
        "/v1/internal/changes",
        "/",
        "/v1",
        "//functions",
        "/functions/",
        "/functions//invoke",
        "/functions/../internal",
        "/functions/..",
        "/functions/%2e%2e",
        "/functions/%2E./code",
        "/functions/a%2Fcode",
        "/functions/a%5cb",
        "/functions/a%00",
        "/Functions",
    ],
)
def test_what_is_no_route_or_hides_one_is_refused(router, path):
    for _ in range(2):
        with pytest.raises(RouteNotFound):
            router.find("GET", strip_version(path))


def test_a_wrong_method_names_the_right_ones(router):
    with pytest.raises(MethodNotAllowed) as refused:
        router.find("PUT", "/functions")
    assert refused.value.allow == ["GET", "POST", "HEAD"]
    with pytest.raises(MethodNotAllowed) as refused:
        router.find("GET", "/functions/hello/invoke")
    assert refused.value.allow == ["POST"]


def test_the_memory_is_bounded(router):
    for n in range(10_000):
        router.find("GET", f"/functions/f{n}")
    assert len(router._known) <= 4096
