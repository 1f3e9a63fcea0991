"""Functions that are container images, as a user deploys and calls them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from constellation.testing.orbit import OrbitRig
from tests.acceptance.conftest import Platform
from tests.integration.docker import images

pytestmark = [pytest.mark.sandbox, pytest.mark.slow, pytest.mark.timeout(240)]

EXAMPLE = Path(__file__).parents[2] / "examples" / "greeting-image"


@pytest.fixture
def daemon(dockerd) -> Iterator[httpx.Client]:
    with httpx.Client(
        transport=httpx.HTTPTransport(uds=str(dockerd)), base_url="http://docker/v1.41", timeout=30
    ) as client:
        yield client


@pytest.fixture
def platform(dockerd, tmp_path) -> Iterator[Platform]:
    file = tmp_path / "nova.json"
    file.write_text(json.dumps({"docker": {"socket": str(dockerd), "functions": {"allowed": "greeting"}}}))
    platform = Platform.start(tmp_path / "data", "--config", str(file))
    try:
        yield platform
    finally:
        platform.stop()
        shutil.rmtree(tmp_path / "data", ignore_errors=True)


def test_an_image_is_deployed_pinned_called_and_moved(platform, daemon, tmp_path):
    first = images.make(daemon, "greeting:1", source=(EXAMPLE / "server.py").read_text())
    orbit = OrbitRig(home=tmp_path, platform=None, env={"ZENITH_URL": platform.url})
    deployed = orbit.run("deploy", EXAMPLE, "-o", "json")
    assert deployed.code == 0, deployed.err
    shown = platform.http.get("/functions/greeting-image").json()
    assert (shown["image"], shown["runtime"], shown["backend"]) == (f"greeting:1@{first}", "image", "docker")
    assert (shown["code_version"], shown["build"]["state"]) == (1, "success")
    assert f"greeting:1@{first}" in platform.http.get(f"/builds/{shown['build']['id']}/logs").text

    assert platform.output("greeting-image", {"name": "Ada", "language": "fi"}) == {"greeting": "Hei, Ada!"}
    failed = platform.invoke("greeting-image", {"language": "la"})
    assert failed.status_code == 200
    assert failed.json()["error"]["type"] == "UnknownLanguage"
    with platform.http.stream("POST", "/functions/greeting-image/invoke-stream", json={"language": "de"}) as stream:
        assert json.loads(b"".join(stream.iter_bytes())) == {"greeting": "Guten Tag, world!"}
    platform.eventually(lambda: "greets in fi" in platform.http.get("/functions/greeting-image/logs").text)

    # what is behind the tag now counts with the next deployment, and not before
    second = images.make(daemon, "greeting:1", source=(EXAMPLE / "server.py").read_text().replace("Hei", "Moi"))
    assert platform.output("greeting-image", {"language": "fi"}) == {"greeting": "Hei, world!"}
    changed = platform.http.patch("/functions/greeting-image", json={"image": "greeting:1"})
    assert changed.status_code == 200, changed.text
    platform.eventually(lambda: platform.output("greeting-image", {"language": "fi"}) == {"greeting": "Moi, world!"})
    shown = platform.http.get("/functions/greeting-image").json()
    assert (shown["image"], shown["code_version"]) == (f"greeting:1@{second}", 2)

    for body, field in (
        ({"image": "greeting:1", "code": "x"}, "code"),
        ({"image": "greeting:1", "handler": "a.b"}, "handler"),
        ({"image": "greeting:1", "runtime": "python"}, "runtime"),
        ({"image": "greeting:1", "backend": "namespace"}, "backend"),
        ({"image": "Not An Image"}, "image"),
        ({"runtime": "image"}, "image"),
        ({}, "runtime"),
    ):
        refused = platform.http.post("/functions", json={"name": "other", **body})
        assert (refused.status_code, refused.json()["field"]) == (400, field), refused.text
    assert platform.http.patch("/functions/hello-python", json={"image": "greeting:1"}).json()["field"] == "image"
    # what the operator does not allow ends its build, which says so
    refused = orbit.run("deploy", "--image", "constellation-test:1", "--name", "forbidden", tmp_path)
    assert refused.code != 0
    assert "may not be used here" in refused.err
    assert platform.http.get("/functions/forbidden").json()["build"]["state"] == "failed"
