"""Other servers of the same hello function, each started for the length of a block and ended with it.

What is installed for them lives below build/peers and is no dependency of the platform.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import generator

from constellation.testing.images import python_program, write_root
from constellation.wire.gen import agent_pb2

ROOT = Path(__file__).parents[1]
APPS = ROOT / "bench" / "peer_apps"
HOME = ROOT / "build" / "peers"
START_S, INSTALL_S, STOP_S = 20.0, 300.0, 10.0
_FRAME = struct.Struct(">IBBHI")  # proto/agent.proto
_INIT, _READY = 2, 3
_WORKER = ROOT / "src" / "constellation" / "comet" / "runtimes" / "python"


class Missing(Exception):
    """A peer that this machine can not run, and why."""


@contextmanager
def quart() -> Iterator[str]:
    """Quart on Hypercorn, one process, on uvloop as the planes are."""
    with _listening(
        [sys.executable, "-m", "hypercorn", "-k", "uvloop", "-b", "127.0.0.1:PORT", "quart_app:app"]
    ) as url:
        yield url


@contextmanager
def granian(workers: int) -> Iterator[str]:
    """Granian with so many workers, a process each."""
    program = HOME / "venv" / "bin" / "granian"
    if not program.exists():
        _install([sys.executable, "-m", "venv", str(HOME / "venv")])
        _install([str(HOME / "venv" / "bin" / "pip"), "install", "-q", "granian[uvloop]"])
    words = [
        str(program),
        "--interface",
        "rsgi",
        "--workers",
        str(workers),
        "--loop",
        "uvloop",
        "--no-ws",
        "--port",
        "PORT",
    ]
    with _listening([*words, "granian_app:app"]) as url:
        yield url


@contextmanager
def workerd() -> Iterator[str]:
    """workerd, Cloudflare's V8 isolates."""
    home = HOME / "workerd"
    program = home / "node_modules" / ".bin" / "workerd"
    if not program.exists():
        if shutil.which("npm") is None:
            raise Missing("there is no npm to install workerd with")
        _install(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(home), "workerd"])
    words = [str(program), "serve", str(APPS / "hello.capnp"), "--socket-addr", "http=127.0.0.1:PORT"]
    with _listening(words) as url:
        yield url


@contextmanager
def bare() -> Iterator[str]:
    """ct-bare in front of one Python worker, which is the platform's own but in no sandbox."""
    ours, theirs = socket.socketpair()
    start = f"import sys; sys.path.insert(0, {str(_WORKER)!r}); import worker; worker.main({theirs.fileno()})"
    worker = subprocess.Popen(
        [python_program(), "-I", "-S", "-c", start], pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL
    )
    theirs.close()
    try:
        with ours:
            _initialise(ours)
            server = subprocess.Popen(
                [generator.program("ct-bare"), "0", str(ours.fileno())],
                pass_fds=(ours.fileno(),),
                stdout=subprocess.PIPE,
                text=True,
            )
        try:
            assert server.stdout is not None
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            _end(server)
    finally:
        _end(worker)


def bwrap_command() -> list[str]:
    """Return a command that runs the handler in a new bubblewrap sandbox, event on standard input.

    Raises:
        Missing: there is no bubblewrap, or it may not make namespaces.
    """
    if shutil.which("bwrap") is None:
        raise Missing("there is no bwrap (on Debian: apt-get install bubblewrap)")
    python = python_program()
    words = ["bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/usr", "/usr", "--proc", "/proc"]
    words += ["--dev", "/dev", "--tmpfs", "/tmp", "--ro-bind", str(APPS), "/code"]
    for name in ("/bin", "/lib", "/lib64"):
        if Path(name).is_symlink():
            words += ["--symlink", str(Path(name).readlink()), name]
    if not python.is_relative_to("/usr"):
        words += ["--ro-bind", sys.base_prefix, sys.base_prefix]
    command = [*words, str(python), "-I", "-S", "-c", _ONCE.format(code="/code")]
    _try_once("bwrap", command)
    return command


HOST_IMAGE = f"constellation-bench-python:{platform.python_version()}"


def docker_command(image: str | None) -> list[str]:
    """Return a command that runs the handler in a new container, event on standard input.

    Args:
        image: a local one with python3; None: one is made of this host's Python, and kept for the next time.

    Raises:
        Missing: there is no docker, its daemon does not answer, or the image is not there.
    """
    if shutil.which("docker") is None:
        raise Missing("there is no docker (on Debian: apt-get install docker.io)")
    asked = subprocess.run(["docker", "version"], capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        raise Missing(f"no daemon answers (dockerd starts one; DOCKER_HOST names another): {_last_line(asked.stderr)}")
    python = "python3"
    if image is None:
        python = str(python_program())
        image = _host_image()
    elif not _has_image(image):
        raise Missing(f"there is no local image {image} (docker pull, or none named: one is made)")
    words = ["docker", "run", "--rm", "-i", "--network", "none", "-v", f"{APPS}:/code:ro", image]
    command = [*words, python, "-I", "-S", "-c", _ONCE.format(code="/code")]
    _try_once("docker", command)
    return command


def _host_image() -> str:
    """Return an image of this interpreter, its library and what it is linked with: the least to start."""
    name = HOST_IMAGE
    if _has_image(name):
        return name
    with tempfile.TemporaryFile() as archive:
        write_root(archive)
        archive.seek(0)
        done = subprocess.run(
            ["docker", "import", "-", name],
            stdin=archive,
            capture_output=True,
            text=True,
            timeout=INSTALL_S,
            check=False,
        )
    if done.returncode != 0:
        raise Missing(f"no image can be made: {_last_line(done.stderr)}")
    return name


def _has_image(name: str) -> bool:
    return subprocess.run(["docker", "image", "inspect", name], capture_output=True, check=False).returncode == 0


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]


_ONCE = (
    "import json, sys; sys.path.insert(0, {code!r}); from hello import handler; "
    "print(json.dumps(handler(json.load(sys.stdin), None)))"
)


def _try_once(name: str, command: Sequence[str]) -> None:
    done = subprocess.run(command, input='{"name":"Ada"}', capture_output=True, text=True, timeout=START_S, check=False)
    if "Hello, Ada!" not in done.stdout:
        raise Missing(f"{name} failed: {(done.stderr or done.stdout).strip()[-200:]}")


def _initialise(channel: socket.socket) -> None:
    """Bring a worker to where it takes calls."""
    init = agent_pb2.Init(handler="hello.handler", concurrency=1, code_dir=str(APPS), log_limit_bytes=1 << 16)
    channel.settimeout(START_S)
    message = init.SerializeToString()
    channel.sendall(_FRAME.pack(len(message), _INIT, 0, 0, 0) + message)
    with channel.makefile("rb", buffering=0) as frames:
        while head := frames.read(_FRAME.size):
            length, kind, *_ = _FRAME.unpack(head)
            body = frames.read(length) if length else b""
            if kind == _READY:
                if not agent_pb2.Ready.FromString(body or b"").ok:
                    raise Missing(f"the worker could not load the handler: {body!r}")
                return
    raise Missing("the worker ended before it was ready")


@contextmanager
def _listening(command: Sequence[str]) -> Iterator[str]:
    """Start a server on a free port (PORT in its command) and wait until it accepts."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / f"{Path(command[0]).name}.log").open("wb") as log:
        server = subprocess.Popen(
            [word.replace("PORT", str(port)) for word in command],
            cwd=APPS,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + START_S
        while not _accepts(port):
            if server.poll() is not None or time.monotonic() > deadline:
                raise Missing(f"{command[0]} did not start: {Path(log.name).read_text(errors='replace')[-300:]}")
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        _end(server)


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True


def _install(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"it can not be installed: {error}") from error
    if done.returncode != 0:
        raise Missing(f"it can not be installed: {(done.stderr or done.stdout).strip()[-300:]}")


def _end(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
