from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.base.errors import InvalidRequest
from constellation.nova.domain.gateway import Found, OtherMethods, PathRoutes, check_methods
from constellation.nova.domain.path_template import PathIndex, PathTemplate, path_template, segments_of


@dataclass(frozen=True)
class Route:
    path: str
    methods: tuple[str, ...] = ()


def found(routes: list[Route], method: str, path: str) -> tuple[str, dict[str, str]] | tuple[str, ...] | None:
    result = PathRoutes(routes).find(method, path)
    if isinstance(result, OtherMethods):
        return result.allow
    return None if result is None else (result.route.path, dict(result.params))


@pytest.mark.parametrize(
    ("path", "shape", "names"),
    [
        ("/", "/", ()),
        ("/users/{id}", "/users/{}", ("id",)),
        ("/files/{path+}", "/files/{+}", ("path",)),
        ("/*", "/{+}", ("*",)),
        ("/a/{b}/c/", "/a/{}/c/", ("b",)),
    ],
)
def test_a_template_is_read(path: str, shape: str, names: tuple[str, ...]) -> None:
    template = path_template(path)
    assert (template.shape, template.names) == (shape, names)


@pytest.mark.parametrize(
    "path",
    ["", "users", "/{id", "/a{id}", "/{id}/{id}", "/{a+}/b", "/*/b", "/a/../b", "/./a", "/a b", "/%41", "/{1}", "/a?b", "/a#b",
     "/" + "a" * 512, "/a" * 33, "/\u00e4"],
)  # fmt: skip
def test_a_bad_template_is_refused(path: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        path_template(path)
    assert caught.value.field == "path"


def test_the_most_specific_route_wins() -> None:
    routes = [Route("/*"), Route("/users/*"), Route("/users/{id}"), Route("/users/me"), Route("/{kind}/me/x")]
    assert found(routes, "GET", "/users/me") == ("/users/me", {})
    assert found(routes, "GET", "/users/7") == ("/users/{id}", {"id": "7"})
    assert found(routes, "GET", "/users/7/x") == ("/users/*", {"*": "7/x"})
    assert found(routes, "GET", "/users/me/x") == ("/users/*", {"*": "me/x"})
    assert found(routes, "GET", "/groups/me/x") == ("/{kind}/me/x", {"kind": "groups"})
    assert found(routes, "GET", "/users/") == ("/users/*", {"*": ""})
    assert found(routes, "GET", "/users") == ("/*", {"*": "users"})
    assert found(routes, "GET", "/") == ("/*", {"*": ""})
    assert found([Route("/users/{id}")], "GET", "/users/") is None


def test_names_are_decoded_once() -> None:
    assert found([Route("/{a}/{b}")], "GET", "/x%2Fy%2525/%C3%A4") == ("/{a}/{b}", {"a": "x/y%25", "b": "\u00e4"})
    assert found([Route("/caf\u00e9".encode().decode("ascii", "ignore"))], "GET", "/%63af") == ("/caf", {})


@pytest.mark.parametrize("path", ["/a/../b", "/a/%2e%2E/b", "/./b", "/%2e", "/%ff", "/%00", "a", "", "/a" * 200])
def test_a_path_that_means_another_has_no_route(path: str) -> None:
    assert found([Route("/*")], "GET", path) is None


def test_methods_choose_among_the_routes_of_a_path() -> None:
    routes = [
        Route("/a", ("GET",)),
        Route("/a", ("POST", "PUT")),
        Route("/{x}", ("DELETE",)),
        Route("/b", ("GET",)),
        Route("/b"),
    ]
    assert found(routes, "HEAD", "/a") == ("/a", {})
    assert found(routes, "PUT", "/a") == ("/a", {})
    assert found(routes, "DELETE", "/a") == ("/{x}", {"x": "a"})
    assert found(routes, "PATCH", "/a") == ("GET", "HEAD", "POST", "PUT", "DELETE")
    result = PathRoutes(routes).find("GET", "/b")
    assert isinstance(result, Found)
    assert result.route.methods == ("GET",)
    assert found(routes, "PATCH", "/b") == ("/b", {})
    assert found(routes, "GET", "/a/b") is None


def test_methods_have_one_form() -> None:
    assert check_methods(["post", "GET", "Post"]) == ("GET", "POST")
    with pytest.raises(InvalidRequest, match="TRACE"):
        check_methods(["trace"])


PARTS = st.sampled_from(["a", "b", "{x}", "{y}", ""])
TEMPLATES = st.tuples(st.lists(PARTS, min_size=1, max_size=4), st.sampled_from(["", "/*", "/{rest+}"])).map(
    lambda made: "/" + "/".join(made[0]) + made[1]
)
PATHS = st.lists(st.sampled_from(["a", "b", "c", ""]), min_size=1, max_size=5).map(lambda parts: "/" + "/".join(parts))


def valid(path: str) -> PathTemplate | None:
    try:
        return path_template(path)
    except InvalidRequest:
        return None


def taken(template: PathTemplate, segments: list[str]) -> tuple[list[int], dict[str, str]] | None:
    """What a template makes of a path, by the book: how specific each of its parts is, and its names."""
    ranks, values = [], []
    for at, part in enumerate(template.parts):
        if part == "{+}":
            if at > len(segments) - 1:
                return None
            return [*ranks, 2], dict(zip(template.names, [*values, "/".join(segments[at:])], strict=True))
        if at >= len(segments):
            return None
        if part == "{}":
            if not segments[at]:
                return None
            ranks.append(1)
            values.append(segments[at])
        elif part == segments[at]:
            ranks.append(0)
        else:
            return None
    return (ranks, dict(zip(template.names, values, strict=True))) if len(segments) == len(template.parts) else None


@given(st.lists(TEMPLATES, max_size=12), PATHS)
def test_the_index_finds_what_each_template_says_in_order(paths: list[str], path: str) -> None:
    templates = {template.shape: template for template in map(valid, paths) if template is not None}
    segments = path[1:].split("/")
    expected = sorted(
        (seen[0], shape, seen[1]) for shape, each in templates.items() if (seen := taken(each, segments)) is not None
    )
    index = PathIndex((template, shape) for shape, template in templates.items())
    assert [(shape, dict(params)) for shape, params in index.find(path)] == [
        (shape, names) for _, shape, names in expected
    ]


@given(
    st.text(max_size=20),
    st.text(min_size=1, max_size=20).filter(lambda text: text not in (".", "..") and "\0" not in text),
)
def test_any_text_survives_the_path(first: str, second: str) -> None:
    assert segments_of(f"/{quote(second, safe='')}") == [second]
    assert segments_of(first) is None or first.startswith("/")
