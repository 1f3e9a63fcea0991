"""What names a container image."""

from __future__ import annotations

import pytest

from constellation.base.errors import InvalidRequest
from constellation.nova.domain.image import is_allowed, read_image

DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    ("text", "name", "registry", "full"),
    [
        ("redis", "redis:latest", "docker.io", "docker.io/library/redis"),
        ("acme/x:1", "acme/x:1", "docker.io", "docker.io/acme/x"),
        ("docker.io/library/redis:7", "docker.io/library/redis:7", "docker.io", "docker.io/library/redis"),
        ("localhost/x", "localhost/x:latest", "localhost", "localhost/x"),
        ("10.0.0.1:5000/a/b__c:v1.2-3", "10.0.0.1:5000/a/b__c:v1.2-3", "10.0.0.1:5000", "10.0.0.1:5000/a/b__c"),
        (f"ghcr.io/a/b@{DIGEST}", "ghcr.io/a/b", "ghcr.io", "ghcr.io/a/b"),
        ("abcdef012345", "abcdef012345:latest", "docker.io", "docker.io/library/abcdef012345"),  # not an id
    ],
)
def test_a_reference_is_taken_apart(text, name, registry, full):
    image = read_image(text)
    assert (image.name, image.registry, image.full_repository) == (name, registry, full)
    assert read_image(image.text) == image
    assert image.pinned(DIGEST).text == f"{name}@{DIGEST}"
    assert image.pinned(DIGEST).by_digest == f"{image.repository}@{DIGEST}"


@pytest.mark.parametrize(
    "text",
    ["", "A", "a b", "a:", "a@sha256:12", "-a", "a//b", "/a", "a/", "../a", "a:b:c", "a\n", DIGEST, "x" * 401, "a?x=1", "http://a/b"],
)  # fmt: skip
def test_what_names_no_image_is_refused(text):
    with pytest.raises(InvalidRequest, match="is no image") as refused:
        read_image(text)
    assert refused.value.field == "image"


def test_patterns_say_who_may_use_what():
    for text, is_so in (("base/python:3", True), ("acme/x:1", True), ("umbrella/x:1", False), ("acme:1", False)):
        assert is_allowed(read_image(text), ("base/*", "{tenant}/*"), tenant="acme") is is_so
    assert is_allowed(read_image("a:1"), ("a",), tenant="t")
    assert is_allowed(read_image("a:1"), ("a:1",), tenant="t")
    assert not is_allowed(read_image("a:2"), ("a:1",), tenant="t")
    assert not is_allowed(read_image("a"), (), tenant="t")
