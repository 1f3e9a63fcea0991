"""Unix sockets as streams of bytes. Those of anyio itself leave an error in the log when they are given up as they become
readable, which is how every session ends.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Coroutine
from pathlib import Path

import anyio
from anyio.abc import ByteStream, TaskGroup

from constellation.base.sockets import reachable
from constellation.comet.strangers import received_alone, refuse_descriptors

_DIR_MODE, _SOCKET_MODE = 0o755, 0o666  # whoever sees the directory may connect; everybody else can not reach it
_BACKLOG = 16  # chosen: connections of one instance that wait to be taken
_ACCEPT_PAUSE_S = 0.1  # chosen: the process has no descriptor left, say


class UnixStream(ByteStream):
    """One connection. One task reads, one writes."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._socket = connection

    async def receive(self, max_bytes: int = 65536) -> bytes:
        while True:
            try:
                data = received_alone(self._socket, max_bytes)
            except BlockingIOError:
                await anyio.wait_readable(self._socket)
                continue
            if not data:
                raise anyio.EndOfStream
            return data

    async def send(self, item: bytes) -> None:
        left = memoryview(item)
        while left:
            try:
                left = left[self._socket.send(left) :]
            except BlockingIOError:
                await anyio.wait_writable(self._socket)

    async def send_eof(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    async def aclose(self) -> None:
        self._socket.close()


async def connect_unix(path: str) -> UnixStream:
    """Return a connection. Raises `OSError`."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        connection.setblocking(False)
        while True:
            try:
                connection.connect(path)
                break
            except BlockingIOError:  # its backlog is full; the kernel tells nobody when that ends
                await anyio.sleep(_ACCEPT_PAUSE_S)
    except BaseException:
        connection.close()
        raise
    return UnixStream(connection)


def listen_unix(directory: Path, name: str) -> socket.socket:
    """Make a directory with a listening socket, however long its path is. Blocks for a few file operations."""
    directory.mkdir(mode=_DIR_MODE)
    directory.chmod(_DIR_MODE)  # whatever the umask
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.setblocking(False)
        refuse_descriptors(listener)
        with reachable(directory / name) as near:
            listener.bind(near)
        (directory / name).chmod(_SOCKET_MODE)
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


async def accept(
    listener: socket.socket, tasks: TaskGroup, welcome: Callable[[UnixStream], Coroutine[object, object, None]]
) -> None:
    """Begin `welcome` with each connection until cancelled."""
    while True:
        await anyio.wait_readable(listener)
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            continue
        except OSError:
            await anyio.sleep(_ACCEPT_PAUSE_S)
            continue
        tasks.start_soon(welcome, UnixStream(connection))
