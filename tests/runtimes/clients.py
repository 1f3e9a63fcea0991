"""Programs of the runtime clients that AWS publishes, made as their users make them, once for as long as their sources stay the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

from tests.runtimes.conftest import ASKED, PROGRAMS

HERE = Path(__file__).parent / "programs"
MADE = Path(__file__).parents[2] / "native" / "build" / "programs"  # kept from run to run
BUILD_S = 800


def _run(*argv: str, cwd: Path, **env: str) -> None:
    done = subprocess.run(
        argv, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=BUILD_S, check=False
    )
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip()[-600:]
        (pytest.fail if ASKED else pytest.skip)(f"{' '.join(argv)} failed: {said}")


def _python(code: Path) -> None:
    version = subprocess.run(
        ["/usr/bin/python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        capture_output=True,
        text=True,
        check=True,
    )  # of the sandbox, for whom the package has a compiled part
    _run(
        sys.executable, "-m", "pip", "install", "-q", "--target", str(code), "--python-version", version.stdout.strip(),
        "--only-binary=:all:", "-r", "requirements.txt", cwd=code,
    )  # fmt: skip


def _node(code: Path) -> None:
    _run("npm", "install", "--no-audit", "--no-fund", cwd=code)  # builds its compiled part from sources that come along


def _go(code: Path) -> None:
    _run("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", "bootstrap", ".", cwd=code, CGO_ENABLED="0")


def _rust(code: Path) -> None:
    _run("cargo", "build", "-q", "--release", "--locked", cwd=code)
    shutil.copy(code / "target" / "release" / "bootstrap", code / "bootstrap")
    shutil.rmtree(code / "target")


@dataclass(frozen=True, kw_only=True)
class Client:
    """One published runtime client, and how its program is made and run."""

    id: str
    runtime: str
    tool: str
    make: Callable[[Path], None]
    handler: str
    error_type: str
    stack: str  # what the stack of "fail" tells; empty: this client tells none
    streams: str = ""  # the handler of the function that streams
    midway: str = ""  # the type of the error when it fails in the middle; empty: this client says so in the data
    prelude: bytes = b""  # what it streams before what the function does
    start_error: str = ""  # of a program that tells why it can not start
    memory_mb: int = 256


CLIENTS = (
    Client(
        id="python", runtime="custom", tool="/usr/bin/python3", make=_python, error_type="LookupError", stack="in sink",
        handler="/usr/bin/python3 -m awslambdaric main.handler", start_error="Runtime.ImportModuleError",
    ),
    Client(
        id="node", runtime="custom", tool="autoreconf", make=_node, error_type="RangeError", stack="at sink",
        handler="node node_modules/aws-lambda-ric/bin/index.mjs main.handler", start_error="TypeError",
        streams="node node_modules/aws-lambda-ric/bin/index.mjs main.streams", midway="RangeError",
    ),
    Client(
        id="go", runtime="provided", tool="go", make=_go, error_type="Mishap", stack="", handler="bootstrap",
        streams="streams", midway="Mishap",
    ),
    Client(
        id="rust", runtime="provided", tool="cargo", make=_rust, error_type="Mishap", stack="", handler="bootstrap",
        streams="streams",
        prelude=b'{"statusCode":200,"headers":{"content-type":"application/octet-stream"},"cookies":[]}' + bytes(8),
    ),
)  # fmt: skip
# The platform's own gate runs the one that is quickly made.
CHOSEN = tuple(client for client in CLIENTS if client.runtime in PROGRAMS and (ASKED or client.id == "python"))
GO = next(client for client in CLIENTS if client.id == "go")


def made(client: Client) -> Path:
    """Return the directory of a program; a tool that is missing skips the test, or fails it where all were asked for."""
    if shutil.which(client.tool) is None:
        (pytest.fail if ASKED == "all" else pytest.skip)(f"{client.tool} is not installed")
    sources = sorted(path for path in (HERE / client.id).rglob("*") if path.is_file())
    digest = sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    directory = MADE / f"{client.id}-{digest}"
    if not directory.is_dir():
        draft = MADE / f".{client.id}"
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(HERE / client.id, draft)
        client.make(draft)
        draft.rename(directory)
    return directory
