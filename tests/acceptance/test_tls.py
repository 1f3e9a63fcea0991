"""A platform with TLS on both hops, started the way a user starts it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import anyio
import httpx
import pytest
from grpclib.client import Channel
from grpclib.health.v1.health_grpc import HealthStub
from grpclib.health.v1.health_pb2 import HealthCheckRequest

from tests.acceptance.conftest import Platform, eventually, free_port
from tests.certificates import Authority

BIN = Path(sys.executable).parent


class Secured(Platform):
    """Its client speaks HTTPS."""

    authority: Authority

    def trust(self) -> None:
        self.http.close()
        self.url = self.url.replace("http://", "https://")
        context = ssl.create_default_context(cafile=self.authority.cert)
        self.http = httpx.Client(base_url=self.url, timeout=60, trust_env=False, verify=context)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def secured(tmp_path_factory, authority):
    directory = tmp_path_factory.mktemp("secured")
    comet, plane = authority.issue("comet", "DNS:comet.internal"), authority.issue("plane")
    caller = {"ca": str(authority.cert), "server_name": "comet.internal", **plane.settings()}
    config = {
        "comet": {"tls": {**comet.settings(), "client_ca": str(authority.cert)}},
        "zenith": {"tls": authority.issue("zenith", "IP:127.0.0.1").settings(), "comet_tls": caller},
        "queue": {"comet_tls": caller},
        "corona": {"comet_tls": caller},
    }
    (directory / "nova.json").write_text(json.dumps(config))
    platform = Secured.start(directory / "data", "--config", str(directory / "nova.json"))
    platform.authority = authority
    platform.trust()
    try:
        yield platform
    finally:
        platform.stop()
        shutil.rmtree(directory / "data", ignore_errors=True)


def test_functions_are_called_over_both_secured_hops(secured):
    answer = secured.invoke("hello-python", {"name": "Ada"})
    assert answer.status_code == 200, answer.text
    assert "Ada" in json.dumps(answer.json()["output"])


def test_durable_calls_reach_comet_too(secured):
    accepted = secured.http.post("/functions/hello-python/invoke-async", json={"payload": {"name": "Ada"}})
    assert accepted.status_code == 202, accepted.text
    path = f"/async-invocations/{accepted.json()['id']}"
    eventually(lambda: secured.http.get(path).json()["status"] == "succeeded")


def test_health_asks_comet_over_tls(secured):
    answer = secured.http.get("/health/ready")
    assert answer.status_code == 200, answer.text
    record = json.loads((secured.data_dir / "run" / "platform.json").read_text())
    assert record["urls"] == [secured.url]


def test_the_port_answers_nobody_in_plain_text(secured):
    with pytest.raises(httpx.TransportError):
        httpx.get(secured.url.replace("https://", "http://") + "/health/live", timeout=20, trust_env=False)


@pytest.mark.anyio
async def test_comet_serves_nobody_without_a_certificate(secured, authority):
    host, port = secured.planes()["comet"]["address"].rsplit(":", 1)
    trust = ssl.create_default_context(cafile=authority.cert)
    trust.check_hostname = False
    trust.set_alpn_protocols(["h2"])
    with anyio.fail_after(20):
        async with Channel(host, int(port), ssl=trust) as channel:
            with pytest.raises(Exception, match=r"lost|reset|Reset|TLS|SSL|ALERT"):
                await HealthStub(channel).Check(HealthCheckRequest())
    assert not list((secured.data_dir / "run").glob("comet-*:*.sock"))  # nor by a way that asks for none
    eventually(lambda: "showed no certificate" in (secured.data_dir / "logs" / "comet.log").read_text())


@contextmanager
def another_zenith(secured, directory, comet_tls):
    """A second gateway of the same platform, that meets comet with other certificates."""
    planes = secured.planes()
    config = directory / "zenith.json"
    config.write_text(json.dumps({"zenith": {"comet_tls": comet_tls}}))
    port = free_port()
    env = os.environ | {
        "NOVA_SERVICE_TOKEN_FILE": str(secured.data_dir / "service.token"),
        "NOVA_IDENTITY_KEY_FILE": str(secured.data_dir / "identity.key"),
    }
    log = directory / "zenith.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [
                BIN / "zenith", "serve", "--listen", f"127.0.0.1:{port}", "--nova-url", f"http://{planes['nova']['address']}",
                "--comet-grpc", planes["comet"]["address"], "--config", config, "--state-dir", directory / "state",
                "--auth", "loopback", "--trusted-uid", str(os.getuid()),
            ],
            env=env, stdout=out, stderr=out,
        )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}", log, process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


@pytest.mark.parametrize("wrong", ["authority", "host", "no certificate"])
def test_a_gateway_that_comet_and_it_do_not_accept_answers_503_and_says_why(secured, authority, tmp_path, wrong):
    good = {"ca": str(authority.cert), "server_name": "comet.internal", **authority.issue("second").settings()}
    changes, says = {
        "authority": ({"ca": str(Authority(tmp_path / "stranger").cert)}, "its certificate is refused"),
        "host": ({"server_name": "comet.elsewhere"}, "comet.elsewhere"),
        "no certificate": ({"cert": "", "key": ""}, "certificate from us"),
    }[wrong]
    with another_zenith(secured, tmp_path, good | changes) as (url, log, _), httpx.Client(trust_env=False) as http:
        answer = eventually(lambda: http.post(f"{url}/functions/hello-python/invoke", json={}, timeout=20))
        assert answer.status_code == 503, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "unavailable"
        assert says in answer.json()["detail"]
        ready = http.get(f"{url}/health/ready", timeout=20)
        assert ready.status_code == 503
        if wrong != "no certificate":  # that one is in comet's log
            eventually(lambda: says in log.read_text())


def test_a_plane_does_not_start_with_an_expired_certificate(secured, authority, tmp_path):
    expired = authority.issue("expired", days=-1)
    tls = {"ca": str(authority.cert), "server_name": "comet.internal", **expired.settings()}
    with another_zenith(secured, tmp_path, tls) as (_, log, process):
        assert process.wait(timeout=60) == 1
    assert f"configuration zenith.comet_tls.cert: {expired.cert} has expired on" in log.read_text()
