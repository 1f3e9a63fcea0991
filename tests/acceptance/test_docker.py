"""What a user has of Docker: functions that are container images, and sandboxes in containers."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from constellation.testing.orbit import OrbitRig
from tests.acceptance.conftest import Platform
from tests.acceptance.test_sandboxes import Box
from tests.integration.docker import images

pytestmark = [pytest.mark.sandbox, pytest.mark.slow, pytest.mark.timeout(240)]

EXAMPLE = Path(__file__).parents[2] / "examples" / "greeting-image"


@pytest.fixture(scope="module")
def daemon(dockerd) -> Iterator[httpx.Client]:
    with httpx.Client(
        transport=httpx.HTTPTransport(uds=str(dockerd)), base_url="http://docker/v1.41", timeout=30
    ) as client:
        yield client


@pytest.fixture(scope="module")
def platform(dockerd, daemon, tmp_path_factory) -> Iterator[Platform]:
    tmp_path = tmp_path_factory.mktemp("docker-platform")
    file = tmp_path / "nova.json"
    file.write_text(json.dumps({"docker": {"socket": str(dockerd), "functions": {"allowed": "greeting"}}}))
    platform = Platform.start(tmp_path / "data", "--config", str(file))
    try:
        yield platform
    finally:
        platform.stop()
        assert "constellation-sandbox" not in daemon.get("/containers/json?all=true").text  # they end with it
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


def test_a_sandbox_lives_in_a_container(platform, daemon):
    image = images.make(daemon, "greeting:1")
    images.make(daemon, "greeting:2", "ENV PATH=/nowhere")
    small = {"memory_mb": 128, "disk_mb": 32, "processes": 48, "backend": "docker"}
    for body, code in (
        ({"image": "greeting:0"}, "image_unavailable"),
        ({"image": "constellation-test:1"}, "image_unavailable"),  # the operator allows others
        ({"template": "ruby"}, "template_unavailable"),
        ({"image": "greeting:1", "backend": "namespace"}, "invalid_request"),
        ({"image": "greeting:2"}, "sandbox_start_failed"),
    ):
        refused = platform.http.post("/sandboxes", json={**small, **body})
        assert refused.json()["code"] == code, refused.text
    assert "needs python3" in refused.json()["detail"]
    [docker] = [each for each in platform.http.get("/backends").json()["backends"] if each["name"] == "docker"]
    assert "terminal" in docker["sandboxes"]
    assert "fork" not in docker["sandboxes"]

    files = [{"path": "a/b.txt", "text": "of the beginning"}]
    wanted = {**small, "image": "greeting:1", "env": {"SECRET": "s3cret"}, "files": files}
    answer = platform.http.post("/sandboxes", json=wanted)
    assert answer.status_code == 201, answer.text
    box = Box(platform, answer.json())
    try:
        assert (box.body["backend"], box.body["image"]) == ("docker", f"greeting:1@{image}")
        look = "import os; fs = os.statvfs('.'); print(os.getcwd(), fs.f_blocks * fs.f_frsize >> 20, os.access('/', os.W_OK))"
        assert box.output(f'cat a/b.txt; echo " $SECRET"; python3 -c "{look}"') == (
            "of the beginning s3cret\n/home/sandbox 32 False\n"
        )
        assert box.output("cat", stdin="said") == "said"
        assert any("agent.py" in command for command in box.commands())
        with box.terminal(rows="30", columns="90") as terminal:
            terminal.send(b"python3 -c 'import os; print(os.get_terminal_size())'; exit\n")
            shown = b""
            while (piece := terminal.receive()) is not None:
                shown += piece if isinstance(piece, bytes) else piece.encode()
        assert b"columns=90, lines=30" in shown
        box.run("exec python3 -m http.server 8000 --bind 127.0.0.1", background=True)
        assert box.ask("POST", "/ports", json={"port": 8000}).status_code == 201
        platform.eventually(lambda: box.ask("GET", "/ports/8000/a/b.txt").text == "of the beginning")
        forked = box.ask("POST", "/fork", json={})
        assert (forked.status_code, forked.json()["code"]) == (409, "fork_failed")

        os.kill(platform.planes()["comet"]["pid"], signal.SIGKILL)
        platform.eventually(lambda: box.output("cat a/b.txt") == "of the beginning")  # and its server runs on
        assert box.ask("GET", "/ports/8000/a/b.txt").text == "of the beginning"

        assert box.ask("POST", "/pause").json()["state"] == "paused"
        assert box.ask("POST", "/exec", json={"command": "true"}).status_code == 409
        assert box.ask("POST", "/resume").json()["state"] == "running"
        assert box.ask("PATCH", "/keepalive", json={"idle_timeout_s": 0.5}).status_code == 200
        platform.eventually(lambda: box.state() == "paused")
        assert box.output("echo again") == "again\n"
        daemon.post(f"/containers/constellation-sandbox-{box.id}/kill")
        ended = platform.eventually(lambda: box.ask("GET").json()["state"] == "ended" and box.ask("GET").json())
        assert "its container" in ended["reason"]
    finally:
        box.ask("DELETE")
    platform.eventually(lambda: box.id not in daemon.get("/containers/json?all=true").text)
    assert platform.http.post("/sandboxes", json=wanted).status_code == 201  # and is left behind
