"""How Python runs: the interpreter that the platform itself runs on, without its packages."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

from constellation.comet.backend.contract import RuntimeUnavailable
from constellation.comet.runtimes.recipe import SANDBOX_ENV, WORKER_DIR, Contained, Interpreter, Runtime, Start
from constellation.native import libexec_path
from constellation.nova.domain.runtimes import PYTHON

_HERE = Path(__file__).parent


def _find(configured: Path | None) -> Interpreter:
    if configured is not None:  # ct_fork is compiled for the interpreter that built it
        raise RuntimeUnavailable(PYTHON.id, reason="the platform's own interpreter is used; none can be configured")
    path = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    if not path.is_file():
        raise RuntimeUnavailable(PYTHON.id, reason=f"{path} does not exist")
    try:
        libexec_path("ct_fork.abi3.so")
    except FileNotFoundError as error:
        raise RuntimeUnavailable(PYTHON.id, reason=str(error)) from error
    return Interpreter(path=path, version=platform.python_version())


def _zygote(found: Interpreter) -> tuple[str, ...]:
    fork = str(libexec_path("ct_fork.abi3.so"))
    return (str(found.path), "-I", "-S", "-X", "utf8", str(_HERE / "zygote_main.py"), fork)


RUNTIME = Runtime(
    info=PYTHON,
    start=Start.FORK,
    find=_find,
    argv=_zygote,
    prefixes=lambda _: (Path(sys.base_prefix),),
    contained=Contained(  # with the image's own packages, which is what it was chosen for
        argv=("python3", "-I", "-X", "utf8", f"{WORKER_DIR}/worker_main.py"),
        sources=tuple(sorted(_HERE.glob("worker*.py"))),
    ),
    hello=_HERE / "hello.py",
    env=SANDBOX_ENV,
    # glibc maps 64 MiB of addresses an arena, one for each thread that allocates: under RLIMIT_AS four threads of
    # instance_concurrency would use up a limit of 128 MiB before the handler has done anything.
    # LD_BIND_NOW: what the linker resolved at the first call of each function, and wrote down, every child would too.
    server_env={"MALLOC_ARENA_MAX": "2", "LD_BIND_NOW": "1"},
    is_address_space_bound=True,
)
