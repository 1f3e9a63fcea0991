"""What a newcomer does first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ORBIT = Path(sys.executable).with_name("orbit")
# Those that need nothing but what the platform brings; tests/runtimes has the other languages', test_durable the workflow.
BROUGHT = {"python", "node", "provided"}
EXAMPLES = sorted(
    path.parent
    for path in (ROOT / "examples").glob("*/function.yaml")
    if yaml.safe_load(path.read_text())["runtime"] in BROUGHT
    and path.parent.name not in ("order-workflow", "guest-book")
)


def _orbit(platform, *words, namespace="default", **options):
    env = {
        "PATH": os.environ["PATH"], "HOME": str(platform.data_dir), "ZENITH_URL": platform.url,
        "NOVA_NAMESPACE": namespace,
    }  # fmt: skip
    return subprocess.run([ORBIT, *words], env=env, capture_output=True, text=True, timeout=60, **options)


def test_the_seeded_function_answers(platform):
    answer = platform.invoke("hello-python", {"name": "Ada"})
    body = answer.json()
    assert answer.status_code == 200
    assert set(body) == {"request_id", "output", "error", "duration_ms", "cold_start", "version"}
    assert "Ada" in json.dumps(body["output"])
    assert answer.headers["x-request-id"] == body["request_id"]


def test_curl_without_a_content_type_is_understood(platform):
    done = subprocess.run(
        ["curl", "-sS", "-X", "POST", f"{platform.url}/functions/hello-python/invoke", "-d", '{"name":"Ada"}'],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert "Ada" in done.stdout


def test_there_are_five_examples():
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda p: p.name)
def test_an_example_deploys_and_answers(platform, example):
    made = platform.http.post("/tenants/default/namespaces", json={"name": "examples"})
    assert made.status_code in (201, 409), made.text

    def orbit(*words):
        return _orbit(platform, *words, namespace="examples")

    deployed = orbit("deploy", str(example))
    assert deployed.returncode == 0, deployed.stderr
    called = orbit("invoke", example.name, "-d", f"@{example / 'event.json'}", "-o", "json")
    assert called.returncode == 0, called.stderr + called.stdout
    assert json.loads(called.stdout)
    assert example.name in orbit("list", "-o", "json").stdout
    assert orbit("delete", example.name, "--yes").returncode == 0
    assert orbit("get", example.name).returncode == 3


def test_orbit_init_deploy_invoke_logs(platform, tmp_path):
    made = tmp_path / "greeter"
    assert _orbit(platform, "init", str(made), "--runtime", "python").returncode == 0
    assert _orbit(platform, "deploy", str(made)).returncode == 0
    assert _orbit(platform, "invoke", "greeter", "-d", '{"name": "Ada"}').returncode == 0
    platform.eventually(lambda: _orbit(platform, "logs", "greeter", "-o", "json").stdout.count("request") or True)
    platform.eventually(lambda: len(platform.http.get("/functions/greeter/logs").json()["items"]) == 1)


def test_orbit_names_the_nearest_function(platform):
    done = _orbit(platform, "invoke", "helo-python")
    assert done.returncode == 3
    assert "hello-python" in done.stderr


def test_status_lists_every_plane(platform):
    planes = platform.planes()
    assert {"nova", "comet", "corona", "nebula", "aurora", "zenith"} <= set(planes)
    assert all(plane["pid"] > 0 for plane in planes.values())


def test_a_second_up_finds_it_running(platform):
    port = platform.url.rsplit(":", 1)[1]
    again = subprocess.run(
        [Path(sys.executable).with_name("constellation"), "up", "--listen", f"127.0.0.1:{port}",
         "--data-dir", platform.data_dir, "--detach"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr


def test_health_probes(platform):
    for path in ("/health", "/health/live", "/health/ready", "/health/startup"):
        assert platform.http.get(path).status_code == 200, path
    components = platform.http.get("/health").json()["components"]
    assert {"nova", "comet"} <= set(components)


def test_the_openapi_document_lists_every_route(platform):
    from constellation.routes.registry import ROUTES

    document = platform.http.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    for route in ROUTES:
        if route.method != "*":
            path = document["paths"][route.template.replace(":path", "")]
            assert route.method.lower() in path, route.template


def test_node_answers_too(platform):
    code = "export async function handler(event, context) { console.log('hi'); return {sum: event.a + event.b, name: context.function_name}; }"
    platform.deploy("adder", code, runtime="node")
    assert platform.output("adder", {"a": 2, "b": 3}) == {"sum": 5, "name": "adder"}
