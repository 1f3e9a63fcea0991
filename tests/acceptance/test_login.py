"""A person logs in at a provider of OpenID Connect: orbit, a browser, the gateway, and a provider with real signatures."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance.conftest import COMMAND, Platform, free_port
from tests.oidc_provider import SECRET, OidcProvider, person

ORBIT = Path(sys.executable).with_name("orbit")


@pytest.fixture(scope="module")
def provider() -> Iterator[OidcProvider]:
    with OidcProvider(who=person("ann", groups=["engineers"])) as provider:
        yield provider


@pytest.fixture(scope="module")
def corporate(provider: OidcProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform whose people log in at the provider."""
    home = tmp_path_factory.mktemp("corporate")
    (home / "secret").write_text(SECRET)
    url = f"http://127.0.0.1:{free_port()}"
    corp = provider.settings(
        client_secret=str(home / "secret"), roles={"engineers": "invoker"}, email_domains=["example.org"]
    )
    (home / "nova.json").write_text(json.dumps({"auth": {"public_url": url, "oidc": {"corp": corp}}}))
    words = ["--listen", url.removeprefix("http://"), "--data-dir", home / "data", "--config", home / "nova.json"]
    subprocess.run([COMMAND, "up", *words, "--detach"], check=True, timeout=120)
    platform = Platform(url, home / "data")
    try:
        yield platform
    finally:
        platform.stop()
        shutil.rmtree(home, ignore_errors=True)


def orbit(platform: Platform, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": "/usr/bin:/bin", "ORBIT_CONFIG": str(home / "config.toml"), "ZENITH_URL": platform.url}
    return subprocess.run([ORBIT, *words], capture_output=True, text=True, timeout=60, env=env)


def log_in(platform: Platform, home: Path, *words: str) -> tuple[int, str, str]:
    """Run `orbit login` and be its browser; return its exit code, what it said and what the browser saw last."""
    env = {"PATH": "/usr/bin:/bin", "ORBIT_CONFIG": str(home / "config.toml"), "ZENITH_URL": platform.url}
    with subprocess.Popen(
        [ORBIT, "login", "--provider", "corp", "--wait", "30", *words],
        env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        assert running.stderr is not None
        address = next(found[0] for line in running.stderr if (found := re.search(r"http://\S+", line)))
        seen = httpx.get(address, follow_redirects=True, trust_env=False, timeout=20)
        pasted = next((line for line in seen.text.splitlines() if len(line) > 100), "") if "--paste" in words else ""
        out, err = running.communicate(pasted + "\n", timeout=40)
        return running.returncode, out + err, seen.text


def test_who_is_expected_logs_in_calls_and_logs_out(corporate: Platform, provider: OidcProvider, tmp_path: Path):
    corporate.deploy("hello", "def handler(event, context):\n    return 'hello'\n")
    code, said, seen = log_in(corporate, tmp_path, "--no-browser")
    assert code != 0
    assert "orbit users create ann@example.org --provider corp" in said
    assert "failed" in seen
    made = corporate.http.post("/users", json={"name": "ann@example.org", "provider": "corp", "role": None})
    assert made.status_code == 201, made.text
    code, said, seen = log_in(corporate, tmp_path, "--no-browser")
    assert (code, "logged in as user:ann@example.org" in said) == (0, True), said
    assert "You are logged in" in seen
    kept = (tmp_path / "config.toml").read_text()
    token = re.search(r"ss_\w+", kept)
    assert token is not None
    assert token[0] not in said + seen
    headers = {"Authorization": f"Bearer {token[0]}", "Via": "1.1 elsewhere"}
    for _ in range(3):  # the second and the third are answered in C
        answer = corporate.http.post("/functions/hello/invoke", json={}, headers=headers)
        assert (answer.status_code, answer.json()["output"]) == (200, "hello")
    assert corporate.http.get("/users", headers=headers).status_code == 403
    done = orbit(corporate, tmp_path, "logout", "--no-browser")
    assert done.returncode == 0
    address = re.search(r"http://\S+", done.stderr)
    assert address is not None
    assert httpx.get(address[0], trust_env=False, timeout=20).status_code == 200
    assert provider.logged_out == ["id of ann"]
    corporate.eventually(lambda: corporate.http.get("/whoami", headers=headers).status_code == 401)
    log = "".join(path.read_text(errors="replace") for path in (corporate.data_dir / "logs").iterdir())
    assert token[0] not in log
    assert SECRET not in log


def test_a_provider_tells_of_a_logout_and_the_session_ends(corporate: Platform, provider: OidcProvider, tmp_path: Path):
    provider.who = person("eve", groups=["engineers"])
    corporate.http.post("/users", json={"name": "eve@example.org", "provider": "corp", "role": None})
    code, said, _ = log_in(corporate, tmp_path, "--no-browser")
    assert code == 0, said
    assert orbit(corporate, tmp_path, "whoami").returncode == 0
    path = "/auth/oidc/corp/backchannel-logout"
    of_another = provider.logout_token(sid=provider.sids[-1], aud="another client")
    assert corporate.http.post(path, data={"logout_token": of_another}).status_code == 400
    assert orbit(corporate, tmp_path, "whoami").returncode == 0
    told = corporate.http.post(path, data={"logout_token": provider.logout_token(sid=provider.sids[-1])})
    assert (told.status_code, told.json()["status"]) == (200, "logged out")
    corporate.eventually(lambda: orbit(corporate, tmp_path, "whoami").returncode != 0)


def test_the_code_can_be_carried_over(corporate: Platform, provider: OidcProvider, tmp_path: Path):
    provider.who = person("bob", groups=["engineers"])
    corporate.http.post("/users", json={"name": "bob@example.org", "provider": "corp", "role": None})
    code, said, _ = log_in(corporate, tmp_path, "--paste")
    assert (code, "logged in as user:bob@example.org" in said) == (0, True), said


def test_a_provider_that_there_is_not_is_told_of(corporate: Platform, tmp_path: Path):
    nobody = orbit(corporate, tmp_path, "login")
    assert (nobody.returncode != 0, "Providers are corp" in nobody.stderr) == (True, True)
    wrong = orbit(corporate, tmp_path, "login", "--provider", "other", "--no-browser")
    assert (wrong.returncode != 0, "login provider" in wrong.stderr) == (True, True)
    late = orbit(corporate, tmp_path, "login", "--provider", "corp", "--no-browser", "--wait", "1")
    assert (late.returncode != 0, "nobody logged in within 1 s" in late.stderr) == (True, True)
