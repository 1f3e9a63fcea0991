"""The terminal that orbit runs in, joined to one in a sandbox."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from uuid import UUID

from constellation.client import ClientError, Connection, Terminal
from constellation.orbit.failures import Exit

_READ_BYTES = 4096


def attach(connection: Connection, sandbox_id: UUID, command: str | None) -> int:
    """Join both until the program there ends, and return its exit status."""
    columns, rows = shutil.get_terminal_size()
    query = {"rows": str(rows), "columns": str(columns), **({"command": command} if command is not None else {})}
    with Terminal(connection, f"/sandboxes/{sandbox_id}/terminal", query) as terminal, _raw(), _following(terminal):
        threading.Thread(target=_feed, args=(terminal,), daemon=True).start()
        status = int(Exit.SERVER)
        while (message := terminal.receive()) is not None:
            if isinstance(message, str):
                status = int(json.loads(message).get("exit_code", status))
            else:
                os.write(sys.stdout.fileno(), message)
        return status


def _feed(terminal: Terminal) -> None:
    """Pass on what is typed; it ends with the process."""
    with suppress(ClientError, OSError):
        while data := os.read(sys.stdin.fileno(), _READ_BYTES):
            terminal.send(data)
        terminal.order(end=True)


@contextmanager
def _raw() -> Iterator[None]:
    """Let every key through, where there is a keyboard."""
    fd = sys.stdin.fileno()
    if not os.isatty(fd):
        yield
        return
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


@contextmanager
def _following(terminal: Terminal) -> Iterator[None]:
    """Tell the other side when this terminal's size changes."""

    def resized(_number: int, _frame: FrameType | None) -> None:
        columns, rows = shutil.get_terminal_size()
        with suppress(ClientError):
            terminal.order(size=(rows, columns))

    before = signal.signal(signal.SIGWINCH, resized)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
