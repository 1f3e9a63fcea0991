"""One whole platform, started the way a user starts it, driven through zenith."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

COMMAND = Path(sys.executable).with_name("constellation")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def eventually(check: Callable[[], Any], *, within_s: float = 20.0, every_s: float = 0.05) -> Any:
    """Return the first truthy answer of `check`; the last error or answer is the failure's text."""
    give_up = time.monotonic() + within_s
    last: object = None
    while time.monotonic() < give_up:
        try:
            last = check()
        except (httpx.HTTPError, AssertionError, KeyError) as error:
            last = error
        else:
            if last:
                return last
        time.sleep(every_s)
    raise AssertionError(f"not within {within_s} s; last: {last!r}")


@dataclass
class Platform:
    """A running platform: its URL, its data directory, and a client that loopback trust lets in."""

    url: str
    data_dir: Path
    http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        # As many kept as made: httpcore may close a surplus idle connection that another thread was just given.
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=200)
        self.http = httpx.Client(base_url=self.url, timeout=60, trust_env=False, limits=limits)

    @classmethod
    def start(cls, data_dir: Path, *flags: str) -> Platform:
        port = free_port()
        subprocess.run(
            [COMMAND, "up", "--listen", f"127.0.0.1:{port}", "--data-dir", data_dir, "--detach", *flags],
            check=True,
            timeout=120,
        )
        return cls(f"http://127.0.0.1:{port}", data_dir)

    def stop(self) -> None:
        self.http.close()
        subprocess.run([COMMAND, "down", "--data-dir", self.data_dir], check=True, timeout=60)

    def planes(self) -> dict[str, dict[str, Any]]:
        done = subprocess.run(
            [COMMAND, "status", "--data-dir", self.data_dir, "-o", "json"],
            stdout=subprocess.PIPE,
            timeout=30,
            check=False,
        )
        return {plane["name"]: plane for plane in json.loads(done.stdout)["planes"]}

    def deploy(self, name: str, code: str, *, headers: dict[str, str] | None = None, **settings: Any) -> dict[str, Any]:
        body = {"name": name, "runtime": "python", "code": code, **settings}
        answer = self.http.post("/functions", json=body, headers=headers)
        if answer.status_code == 409:
            changes = {k: v for k, v in body.items() if k not in ("name", "runtime")}
            answer = self.http.patch(f"/functions/{name}", json=changes, headers=headers)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def invoke(self, name: str, event: Any = None, **options: Any) -> httpx.Response:
        return self.http.post(f"/functions/{name}/invoke", json=event, **options)

    def output(self, name: str, event: Any = None, **options: Any) -> Any:
        answer = self.invoke(name, event, **options)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert body["error"] is None, body
        return body["output"]

    def eventually(self, check: Callable[[], Any], *, within_s: float = 20.0) -> Any:
        return eventually(check, within_s=within_s)


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    data_dir = tmp_path_factory.mktemp("platform")
    platform = Platform.start(data_dir)
    try:
        yield platform
    finally:
        platform.stop()
        shutil.rmtree(data_dir, ignore_errors=True)


@pytest.fixture
def own_platform(tmp_path: Path) -> Iterator[Platform]:
    """A platform that a test may hurt."""
    platform = Platform.start(tmp_path / "data")
    try:
        yield platform
    finally:
        platform.stop()
