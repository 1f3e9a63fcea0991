"""A platform of a bench's own, which it may kill: started by `constellation up` in a place that nobody else uses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from constellation.base.lifecycle import SUPERVISOR_PID
from constellation.comet.namespace.settings import SLOTS, group_name

START_S, STOP_S = 120.0, 60.0
_POLL_S = 0.02
_PLANES_WITH_EXECUTORS = 3

# The platform ends with the bench, however that ends.
_PROGRAM = """
import os
from constellation.base.lifecycle import die_with_supervisor
from constellation.supervisor.main import main
die_with_supervisor(os.environ)
main()
"""
# A plane that dies within ten seconds of its start is started again later and later. Right for a plane that can not
# start, and it would make two hundred kills take an hour: this supervisor takes every plane for one that had settled.
_EAGER = "from constellation.supervisor import keeper\nkeeper._SETTLED_S = 0.0\n"


class Failed(Exception):
    """The platform did not do what the bench needs."""


class Rig:
    """One platform below a new temporary directory, with host uids and control groups of its own."""

    def __init__(self, settings: dict[str, dict[str, Any]], *, is_eager: bool = False) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="constellation-bench-"))
        self.data_dir, self.tmp_dir = self.home / "data", self.home / "tmp"
        self.tmp_dir.mkdir()
        # Far from other platforms' uids, so that a process of ours is known by its uid alone.
        self.uid_base = 100_000_000 + os.getpid() % 5000 * _PLANES_WITH_EXECUTORS * SLOTS
        config = {**settings, "sandbox": {"uid_base": self.uid_base, **settings.get("sandbox", {})}}
        (self.home / "config.json").write_text(json.dumps(config))
        self.url = ""
        self._is_eager = is_eager
        self._process: subprocess.Popen[bytes] | None = None
        self._opener = build_opener(ProxyHandler({}))

    @property
    def uids(self) -> range:
        return range(self.uid_base, self.uid_base + _PLANES_WITH_EXECUTORS * SLOTS)

    @property
    def groups(self) -> list[str]:
        """Names of the control groups above our instances."""
        return [group_name(self.data_dir / plane) for plane in ("comet", "corona", "nebula")]

    def start(self) -> None:
        """Start all planes and wait until they are ready.

        Raises:
            Failed: with the supervisor's last words.
        """
        program = (_EAGER if self._is_eager else "") + _PROGRAM
        words = ["up", "--listen", "127.0.0.1:0", "--data-dir", str(self.data_dir)]
        with (self.home / "up.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", program, *words, "--config", str(self.home / "config.json")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "TMPDIR": str(self.tmp_dir), SUPERVISOR_PID: str(os.getpid())},
                start_new_session=True,
            )
        deadline = time.monotonic() + START_S
        while self.record().get("state") != "running":
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"the platform did not start: {self.log()[-2000:]}")
            time.sleep(_POLL_S)
        self.url = self.record()["urls"][0]

    def stop(self) -> None:
        """Stop all planes; what they wrote stays until `close`."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
                raise Failed(f"the platform did not stop within {STOP_S:g} s") from None

    def close(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)

    def log(self) -> str:
        return (self.home / "up.log").read_text(errors="replace")

    def record(self) -> dict[str, Any]:
        """Return what the supervisor says of itself; empty before it does."""
        try:
            return json.loads((self.data_dir / "run" / "platform.json").read_bytes())
        except (OSError, ValueError):
            return {}

    @property
    def supervisor_pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def plane_pids(self) -> dict[str, int]:
        """Return plane -> pid of those that run."""
        planes = self.record().get("planes", [])
        return {each["name"]: each["process"]["pid"] for each in planes if each["process"] is not None}

    def wait_for(self, plane: str, *, other_than: int, within_s: float) -> int:
        """Return the pid of the plane's next process once it is ready.

        Raises:
            Failed: it was not, within this time.
        """
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            for each in self.record().get("planes", []):
                if each["name"] == plane and each["state"] == "running" and each["process"]["pid"] != other_than:
                    return int(each["process"]["pid"])
            time.sleep(_POLL_S)
        raise Failed(f"{plane} was not back within {within_s:g} s: {self.log()[-2000:]}")

    def ask(self, method: str, path: str, body: object = None, *, timeout_s: float = 60.0) -> tuple[int, Any]:
        """Return status and JSON of one request."""
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.url + path, data=data, method=method, headers={"content-type": "application/json"})
        try:
            with self._opener.open(request, timeout=timeout_s) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except HTTPError as error:
            with error:
                return error.code, json.loads(error.read() or b"null")

    def deploy(self, name: str, code: str, *, runtime: str = "python", **settings: object) -> None:
        """Make a function.

        Raises:
            Failed: nova refused it.
        """
        status, answer = self.ask("POST", "/functions", {"name": name, "runtime": runtime, "code": code, **settings})
        if status != 201:
            raise Failed(f"{name}: {status} {answer}")

    def make_key(self, name: str) -> str:
        """Make an API key that may call functions, and return it.

        Raises:
            Failed: nova refused.
        """
        status, answer = self.ask("POST", "/apikeys", {"name": name, "role": "invoker"})
        if status != 201:
            raise Failed(f"key {name}: {status} {answer}")
        return str(answer["key"])


def counts(text: str) -> tuple[int, ...]:
    """Read the argument "1,8,32"."""
    return tuple(int(part) for part in text.split(","))
