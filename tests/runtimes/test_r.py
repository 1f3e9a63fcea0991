"""How R's worker reads and writes its channel."""

from __future__ import annotations

import ctypes
import json
import socket
import struct
import subprocess
from pathlib import Path

import pytest

from constellation.comet.runtimes.r import recipe
from constellation.comet.runtimes.r.recipe import RUNTIME
from constellation.comet.runtimes.recipe import WORKER_DIR
from constellation.native import libexec_path
from tests.runtimes.conftest import call, there

HEADER = struct.Struct(">IBBHI")
HELLO, PING, PONG = 1, 10, 11


@pytest.fixture(params=["r"])
def runtime(request, registry):
    return there(request.param, registry.missing)


def _tree(pid):
    """Return pid and all that descends from it."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [pid, *(found for child in text.split() for found in _tree(int(child)))]


@pytest.mark.anyio
@pytest.mark.sandbox
@pytest.mark.slow
async def test_it_waits_in_poll_and_writes_without_another_process(rig):
    async with rig.started("handler <- function(event, context) event") as instance:
        for size in (1, 200_000, 5 << 20):
            event = json.dumps("x" * size).encode()
            assert (await instance.invoke(call(event))).output == event
        commands = {Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]: pid for pid in _tree(instance.pid)}
        assert b"cat" not in commands
        worker = next(pid for name, pid in commands.items() if name.endswith(b"/R"))
        place = Path(f"/proc/{worker}/wchan").read_text()
        assert "poll" in place or place == "0", place  # 0: the kernel does not tell


def test_without_the_library_it_reads_standard_input(runtime, registry, tmp_path):
    """As in a container, where the library is not shown."""
    argv = list(RUNTIME.argv(registry.get(runtime).interpreter))
    sources = Path(recipe.__file__).parents[1]
    argv = [word.replace(WORKER_DIR, str(sources)) for word in argv]
    ours, theirs = socket.socketpair()
    ours.settimeout(60)
    with ours, theirs:
        worker = subprocess.Popen(
            ["/bin/bash", "-c", f'exec 3<&{theirs.fileno()}; exec "$@"', "sh", *argv], pass_fds=[theirs.fileno()]
        )
        try:
            theirs.close()
            assert _frame(ours)[0] == HELLO
            ours.sendall(HEADER.pack(3, PING, 0, 0, 7) + b"abc")
            assert _frame(ours) == (PONG, 7, b"abc")
            ours.shutdown(socket.SHUT_WR)
            assert worker.wait(timeout=30) == 0
        finally:
            worker.kill()
            worker.wait()


def _frame(channel):
    head = channel.recv(HEADER.size, socket.MSG_WAITALL)
    size, kind, _, _, call_id = HEADER.unpack(head)
    return kind, call_id, channel.recv(size, socket.MSG_WAITALL) if size else b""


def test_the_library_says_how_much_came_before_the_host_went():
    library = ctypes.CDLL(str(libexec_path("ct_r.so")))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        fd, got = ctypes.c_int(theirs.fileno()), ctypes.c_int(-1)
        room = ctypes.create_string_buffer(8)
        for data in (b"ab", b"cdefgh", b"xy"):
            ours.sendall(data)
        library.ct_r_read(ctypes.byref(fd), room, ctypes.byref(ctypes.c_int(8)), ctypes.byref(got))
        assert (got.value, room.raw) == (8, b"abcdefgh")
        library.ct_r_write(ctypes.byref(fd), b"answer", ctypes.byref(ctypes.c_int(6)), ctypes.byref(got))
        assert (got.value, ours.recv(10)) == (6, b"answer")
        ours.close()
        library.ct_r_read(ctypes.byref(fd), room, ctypes.byref(ctypes.c_int(8)), ctypes.byref(got))
        assert (got.value, room.raw[:2]) == (2, b"xy")
        library.ct_r_write(ctypes.byref(fd), b"answer", ctypes.byref(ctypes.c_int(6)), ctypes.byref(got))
        assert got.value == 0
