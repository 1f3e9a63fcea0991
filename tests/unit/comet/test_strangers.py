"""What a guest may hold, from this side: whoever waits for it is a thread. Each pipe here is held by a splice(2) of ours."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from constellation.comet.strangers import GuestPipe, connected, discard, received_alone, refuse_descriptors

pytestmark = pytest.mark.anyio


@contextmanager
def held_pipe() -> Iterator[int]:
    """Lend the reading end of a pipe that has something to read, and whose lock is not free before the block is left."""
    out_fd, in_fd = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(out_fd, False)
    os.write(in_fd, b"before")
    ours, theirs = socket.socketpair()
    holder = threading.Thread(target=os.splice, args=(theirs.fileno(), in_fd, 1))
    holder.start()
    while not _sleeps(holder):
        pass
    try:
        yield out_fd
    finally:
        ours.send(b"x")
        holder.join()
        os.close(in_fd)
        ours.close()
        theirs.close()


def _sleeps(thread: threading.Thread) -> bool:
    assert thread.native_id is not None
    number = Path(f"/proc/self/task/{thread.native_id}/syscall").read_text().split()[0]
    return number in {"275", "76"}  # splice, of x86-64 and of the other table


async def _nobody_reads(in_fd: int) -> None:
    ended = select.poll()
    ended.register(in_fd, 0)
    with anyio.fail_after(5):
        while not ended.poll(0):
            await anyio.sleep(0.001)


async def test_a_pipe_that_is_held_holds_neither_the_loop_nor_another():
    out_fd, in_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    with held_pipe() as held:
        pipe, other = GuestPipe(held), GuestPipe(out_fd)
        os.close(out_fd)
        with anyio.move_on_after(0.05) as waited:
            await pipe.read(10)
        assert waited.cancelled_caught
        os.write(in_fd, b"words")
        assert await other.read(10) == b"words"
        pipe.close_nowait()
        pipe.close_nowait()
        discard([held])
    other.close_nowait()
    await _nobody_reads(in_fd)
    os.close(in_fd)


async def test_a_pipe_is_read_to_its_end():
    out_fd, in_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    pipe = GuestPipe(out_fd)
    os.close(out_fd)
    os.write(in_fd, b"last")
    os.close(in_fd)
    assert await pipe.read(2) == b"la"
    assert await pipe.read(10) == b"st"
    assert await pipe.read(10) == b""
    pipe.close_nowait()


async def test_descriptors_that_are_sent_are_not_closed_by_who_receives_them():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        with held_pipe() as held:
            socket.send_fds(theirs, [b"x"], [held])
            os.close(held)
            with pytest.raises(ConnectionResetError):
                received_alone(ours, 10)
        theirs.send(b"alone")
        assert received_alone(ours, 10) == b"alone"


async def test_who_connects_and_who_is_connected_to_can_send_none(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        refuse_descriptors(listener)
        try:
            if listener.getsockopt(socket.SOL_SOCKET, 83):
                pytest.skip("it was not refused")
        except OSError:
            pytest.skip("this kernel refuses no descriptors")
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        stream = await connected(str(tmp_path / "s"))
        accepted, _ = listener.accept()
        with accepted, socket.socket(socket.AF_UNIX) as client:
            with pytest.raises(PermissionError):
                socket.send_fds(accepted, [b"x"], [0])
            accepted.send(b"hello")
            assert await stream.receive() == b"hello"
            client.connect(str(tmp_path / "s"))
            with pytest.raises(PermissionError):
                socket.send_fds(client, [b"x"], [0])
        await stream.aclose()
