"""Bytes on their way into a non-blocking socket: sent at once when there is room, else when the loop says so."""

from __future__ import annotations

import asyncio
import socket


class Outbox:
    """Holds no more than what its user has in hand: the calls that the pool lets through."""

    def __init__(self, loop: asyncio.AbstractEventLoop, channel: socket.socket) -> None:
        self._loop, self._socket = loop, channel
        self._unsent: list[bytes | memoryview] = []

    def send_nowait(self, data: bytes) -> None:
        """Send or keep. A broken socket is silent here: its reader sees the end after what is still to be read."""
        if self._unsent:
            self._unsent.append(data)
            return
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return
        if sent < len(data):
            self._unsent.append(memoryview(data)[sent:])
            self._loop.add_writer(self._socket, self._flush)

    def close_nowait(self) -> None:
        """Forget what was not sent. The socket stays its owner's to close."""
        if self._unsent:
            self._unsent.clear()
            self._loop.remove_writer(self._socket)

    def _flush(self) -> None:
        while self._unsent:
            part = self._unsent[0]
            try:
                sent = self._socket.send(part)
            except BlockingIOError:
                return
            except OSError:
                break
            if sent < len(part):
                self._unsent[0] = memoryview(part)[sent:]
                return
            del self._unsent[0]
        self._unsent.clear()
        self._loop.remove_writer(self._socket)
