"""The same attempt outside a sandbox, with the privilege that it needs: there it must succeed, or it proves nothing."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.security.attempts.table import Attempt, World

KIT = Path(__file__).with_name("kit.py").read_text()
SETTLE_S = 20.0

# Namespaces are made by unshare(1) before Python starts; all that this then mounts dies with them.
LAUNCH = """
import json, sys
asked = json.load(sys.stdin)
space = {"__name__": "attempt"}
exec(asked["source"], space)
at = asked["at"]
if asked["is_apart"]:
    for where in (at["scratch"], "/dev/shm"):
        space["mount"]("tmpfs", where, "tmpfs")
if asked["scene"]:
    at.update(space[asked["scene"]](at) or {})
try:
    got = {"got": repr(space[asked["act"]](at))[:200]}
except OSError as error:
    got = {"errno": error.errno, "text": str(error)}
except Exception as error:
    got = {"type": type(error).__name__, "text": str(error)}
print(json.dumps(got), flush=True)
space["os"]._exit(0)
"""

APART = [
    "unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup", "--fork", "--kill-child", "--mount-proc",
]  # fmt: skip


def source_of(attempt: Attempt) -> str:
    """Return all text that an attempt consists of, imports of its module included."""
    module = Path(attempt.act.__code__.co_filename).read_text()
    head = module[: module.index(f"\n{attempt.family} = Family(")]
    standard = [line for line in head.splitlines() if line.startswith(("import ", "from contextlib"))]
    constants = [line for line in module.splitlines() if _is_constant(line)]
    return "\n".join([KIT, *standard, *constants, attempt.text()])


def _is_constant(line: str) -> bool:
    name, _, value = line.partition(" = ")
    return name.isupper() and value.isdigit()


def run(attempt: Attempt, at: dict[str, Any]) -> str:
    """Return how the control ended: "got", an errno name, "signal N", or for one that overstays, "running"."""
    is_apart = attempt.world is not World.PLAIN
    if is_apart and shutil.which("unshare") is None:
        return "no unshare(1) here"
    prefix = APART if is_apart else []
    if attempt.world is World.OWN:
        prefix = [*APART, "--user", "--map-root-user"]
    asked = {
        "source": source_of(attempt),
        "at": at,
        "is_apart": is_apart,
        "scene": attempt.scene.__name__ if attempt.scene else "",
        "act": attempt.act.__name__,
    }
    process = subprocess.Popen(
        [*prefix, sys.executable, "-I", "-S", "-c", LAUNCH],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    overstays = attempt.control in ("running", "survived")
    try:
        output, errors = process.communicate(json.dumps(asked), timeout=attempt.timeout_s if overstays else SETTLE_S)
    except subprocess.TimeoutExpired as expired:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            stream.close()
        return _overstayed(attempt, (expired.stdout or b"").decode())
    if process.returncode:
        return f"signal {-process.returncode}" if process.returncode < 0 else f"exit {process.returncode}: {errors}"
    return _verdict(json.loads(output.splitlines()[-1]))


def _verdict(answer: dict[str, Any]) -> str:
    if "got" in answer:
        return "got"
    return os_name(answer.get("errno")) or answer["type"] + ": " + answer["text"]


def os_name(number: int | None) -> str:
    return errno.errorcode.get(number or 0, "")


def _overstayed(attempt: Attempt, output: str) -> str:
    if attempt.control != "survived":
        return "running"
    pid = int(output.split(maxsplit=1)[0])
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return "survived"
    return "gone"
