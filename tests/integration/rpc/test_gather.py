"""Writes of one turn of the loop, as the other end sees them."""

from __future__ import annotations

import asyncio
import socket

import anyio
import pytest

from constellation.rpc.gather import Gathering

pytestmark = pytest.mark.anyio


@pytest.fixture
async def pair():
    """A writer that gathers, and the other end, which keeps what was written in one piece apart."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    far.setblocking(False)
    _, writer = await asyncio.open_connection(sock=near)
    with far:
        yield Gathering(writer), far
        writer.close()
        await asyncio.sleep(0)


def taken(far: socket.socket) -> bytes:
    try:
        return far.recv(1 << 20)
    except BlockingIOError:
        return b""


async def test_what_is_written_in_one_turn_leaves_together_after_it(pair):
    gathering, far = pair
    for piece in (b"head", b"", b"body"):
        gathering.write(piece)
    assert taken(far) == b""
    await anyio.wait_all_tasks_blocked()
    assert taken(far) == b"headbody"


async def test_what_is_much_does_not_wait(pair):
    gathering, far = pair
    gathering.write(b"head")
    gathering.write(b"x" * (1 << 16))
    assert taken(far).startswith(b"headx")


@pytest.mark.parametrize("end", ["write_eof", "close"])
async def test_the_end_comes_behind_what_was_written(pair, end):
    gathering, far = pair
    gathering.write(b"last")
    getattr(gathering, end)()
    await anyio.wait_all_tasks_blocked()
    assert taken(far) == b"last"
    assert far.recv(1) == b""


async def test_a_connection_that_broke_meanwhile_breaks_nothing_else(pair):
    gathering, _ = pair
    gathering.write(b"lost")
    gathering.transport.abort()
    await anyio.wait_all_tasks_blocked()
    assert gathering.is_closing()
