"""Which network namespace a thread is in, whatever the others of its process are in."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_HERE = "/proc/thread-self/ns/net"
_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def enter(fd: int) -> None:
    """Put this thread into a network namespace, by a descriptor of it or of a process in it."""
    _checked(_libc.setns(fd, _CLONE_NEWNET), "setns")


def make_namespace() -> int:
    """Put this thread into a network namespace of its own; return a descriptor of it."""
    _checked(_libc.unshare(_CLONE_NEWNET), "unshare")
    return here()


def here() -> int:
    return os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)


def set_flag(name: str, value: int) -> None:
    """Set a sysctl of the namespace that this thread is in."""
    Path("/proc/sys/net", name).write_text(f"{value}\n")
