"""How a plane's process begins and ends: signals, and the tie to its supervisor."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from collections.abc import Mapping

import anyio
from anyio.abc import Process

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4  # linux/prctl.h
_OPEN_FILES = 1 << 20  # what Linux allows at most unless fs.nr_open says otherwise
SUPERVISOR_PID = "CONSTELLATION_SUPERVISOR_PID"


async def until_signal() -> signal.Signals:
    """Wait for SIGTERM or SIGINT and return it."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
        async for number in received:
            return number
    raise AssertionError("a signal receiver never ends by itself")


async def end(process: Process, *, within_s: float) -> None:
    """Wait for a process that was told to end; kill one that does not. Shielded, and bounded by twice the time."""
    with anyio.move_on_after(within_s, shield=True) as grace:
        await process.wait()
    if grace.cancelled_caught:
        process.kill()
        with anyio.move_on_after(within_s, shield=True):
            await process.wait()


def hide_memory() -> None:
    """Let this process leave no core file, and no other process of its user read its memory or environment."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def open_many_files() -> None:
    """Let this process hold as many descriptors as its host allows, up to a million: an instance takes four of comet's, a
    connection two of zenith's, and the usual limit of 1,024 is there for programs that use select(2).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def die_with_supervisor(env: Mapping[str, str]) -> None:
    """Ask the kernel for SIGTERM when the supervisor that started this process is gone.

    Does nothing for a plane that was started by hand.
    """
    pid = env.get(SUPERVISOR_PID)
    if pid is None:
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(pid):  # it died between our start and the request
        os.kill(os.getpid(), signal.SIGTERM)
