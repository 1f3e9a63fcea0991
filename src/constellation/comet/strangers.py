"""Sockets and pipes with a guest at their other end, where one mistake has the loop wait in the kernel for as long as a
guest likes, deaf to signals.

Whoever reads or closes a pipe waits for its lock, which a writer keeps by splice(2); so threads do, one a pipe. A
descriptor that came with a message is closed by whoever receives it, and to close a pipe that is held, or a socket that
lingers, takes as long; so nobody may send us any. Linux refuses that to the sender since 6.16; what an earlier one lets
through a thread closes.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
import threading
from array import array
from collections.abc import Callable, Iterable
from functools import partial
from queue import SimpleQueue

import anyio
import anyio.to_thread
from anyio.abc import UNIXSocketStream

_SO_PASSRIGHTS = 83
_RIGHTS_MAX = 253  # the kernel's SCM_MAX_FD: what finds no room the kernel closes on our time
_RIGHTS_BYTES = socket.CMSG_SPACE(_RIGHTS_MAX * array("i").itemsize)
_NO_LINGER = struct.pack("ii", 0, 0)
_CONNECT_PAUSE_S = 0.1  # chosen: its backlog is full, and the kernel tells nobody when that ends


def refuse_descriptors(end: socket.socket) -> None:
    """Have the kernel refuse them, to peers that are there already and to those that a listener takes later."""
    _pass_descriptors(end, may=False)


def permit_descriptors(end: socket.socket) -> None:
    """Take that back; the peer's are then received by `received`."""
    _pass_descriptors(end, may=True)


def _pass_descriptors(end: socket.socket, *, may: bool) -> None:
    try:
        end.setsockopt(socket.SOL_SOCKET, _SO_PASSRIGHTS, may)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            raise


def received(end: socket.socket, count: int) -> tuple[bytes, list[int]]:
    """Return what a non-blocking socket has, and the descriptors that came along: the caller's, to `discard`.

    Raises:
        BlockingIOError, OSError
    """
    fds = array("i")
    data, control, _, _ = end.recvmsg(count, _RIGHTS_BYTES, socket.MSG_CMSG_CLOEXEC)
    for level, kind, body in control:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(body[: len(body) - len(body) % fds.itemsize])
    return data, list(fds)


def received_alone(end: socket.socket, count: int) -> bytes:
    """Return what a non-blocking socket has; a peer that sends descriptors is heard no more.

    Raises:
        BlockingIOError
        ConnectionResetError: it sent some.
    """
    data, fds = received(end, count)
    if fds:
        discard(fds)
        raise ConnectionResetError(errno.ECONNRESET, "it sent descriptors")
    return data


class _Aside:
    """Threads for what may take for ever: as many as are held, and one that waits for work."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._free = 0  # threads that wait and have no work

    def do(self, work: Callable[[], None]) -> None:
        with self._lock:
            has_free = self._free > 0
            self._free -= has_free
        self._work.put(work)
        if not has_free:
            threading.Thread(target=self._run, name="aside", daemon=True).start()

    def _run(self) -> None:
        while True:
            self._work.get()()
            with self._lock:
                if self._free:
                    return
                self._free += 1


_aside = _Aside()


def discard(fds: Iterable[int]) -> None:
    """Close what a guest may hold. A thread does, which is held instead of the caller."""
    _aside.do(partial(_close, list(fds)))


def _close(fds: list[int]) -> None:
    for fd in fds:
        if stat.S_ISSOCK(os.fstat(fd).st_mode):
            with socket.socket(fileno=fd) as end:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        else:
            os.close(fd)


async def connected(path: str) -> UNIXSocketStream:
    """Connect to a guest's socket, from which no descriptors come.

    Raises:
        OSError
    """
    end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        end.setblocking(False)
        refuse_descriptors(end)
        while True:
            try:
                end.connect(path)
                break
            except BlockingIOError:
                await anyio.sleep(_CONNECT_PAUSE_S)
        return await UNIXSocketStream.from_socket(end)
    except BaseException:
        end.close()
        raise


class GuestPipe:
    """The reading end of a pipe that a guest writes to, for one task. `close_nowait` ends it, whatever holds the pipe."""

    def __init__(self, fd: int) -> None:
        """Read a duplicate of `fd`, which is non-blocking and stays the caller's."""
        self._fd = os.dup(fd)
        self._is_closed = False
        self._in_use = threading.Lock()
        self._thread = anyio.CapacityLimiter(1)  # its own: a pipe that is held keeps no thread from another

    async def read(self, count: int) -> bytes:
        """Return what comes, b"" at the end. If cancelled, what was being read is lost."""
        data: bytes | None = None
        while data is None:
            await anyio.wait_readable(self._fd)
            data = await anyio.to_thread.run_sync(self._read, count, limiter=self._thread, abandon_on_cancel=True)
        return data

    def _read(self, count: int) -> bytes | None:
        with self._in_use:
            try:
                return b"" if self._is_closed else os.read(self._fd, count)
            except BlockingIOError:
                return None

    def close_nowait(self) -> None:
        """Read no more; once nothing reads it, it is closed."""
        if not self._is_closed:
            self._is_closed = True
            _aside.do(self._close)

    def _close(self) -> None:
        with self._in_use:
            os.close(self._fd)
