"""From a started container to its worker's channel: ct-guest comes to its socket, gets its network, then its pipe.

In this order, because ct-guest starts nothing of the image before it has the pipe: by then the network is what the
function's policy says, and no program of the image was ever without its rules.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import anyio

from constellation.comet.backend.contract import SandboxStartFailed
from constellation.comet.docker.door import Door
from constellation.comet.docker.engine import Engine, EngineFailed
from constellation.comet.network.attachments import Attachment, Network, NetworkUnavailable
from constellation.comet.strangers import discard
from constellation.nova.domain.network import NetworkPolicy

_CREDENTIALS = struct.Struct("3i")  # struct ucred
_DETACH_S = 5.0  # chosen: the helper takes milliseconds


@dataclass(slots=True, eq=False)
class Arrival:
    """What an instance is made of: two descriptors, and its wire if it has one."""

    channel: socket.socket
    stdio_fd: int
    attachment: Attachment | None


async def arrived(
    opened: Door, engine: Engine, container: str, *, network: Network | None, policy: NetworkPolicy
) -> Arrival:
    """Wait until the ct-guest of a container has come for its descriptors.

    Raises:
        SandboxStartFailed: its container ended before it came, it could not be given a pipe, or no network.
    """
    failed = SandboxStartFailed(step="worker", reason="its container did not come")
    found: Arrival | None = None

    async def watch() -> None:
        nonlocal failed
        try:
            status = (await engine.ended(container)).exit_code
            reason = f"the container ended with {status} before it came to its socket"
        except EngineFailed as error:
            reason = str(error)
        failed = SandboxStartFailed(step="worker", reason=reason)
        tasks.cancel_scope.cancel()

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            try:
                found = await _let_in(opened, network, policy)
            except OSError as error:  # it has gone again, or we have no descriptor left
                failed = SandboxStartFailed(step="worker", reason=str(error))
            except NetworkUnavailable as error:
                failed = SandboxStartFailed(step="network", reason=error.reason)
            tasks.cancel_scope.cancel()
    except BaseException:
        await _let_go(found)
        raise
    if found is None:
        raise failed
    return found


async def _let_in(opened: Door, network: Network | None, policy: NetworkPolicy) -> Arrival:
    channel = await opened.come()
    attachment: Attachment | None = None
    try:
        if network is not None and policy.reaches_out:
            with _process_behind(channel) as pidfd:
                attachment = await network.attach(pidfd)
            await attachment.permit(policy)
        return Arrival(channel, Door.give_output(channel), attachment)
    except BaseException:
        channel.close()
        await take_back(attachment)
        raise


@contextmanager
def _process_behind(channel: socket.socket) -> Iterator[int]:
    """Lend a descriptor of the process that connected, as the kernel knows it: nobody's word is taken for who it is.

    Raises:
        NetworkUnavailable: it is in no process namespace that we see, or has ended.
    """
    told = channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid = _CREDENTIALS.unpack(told)[0]
    if pid <= 0:
        raise NetworkUnavailable("the daemon's containers run where comet does not see their processes")
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError as error:
        raise NetworkUnavailable("the container has ended") from error
    try:
        # It alone holds the other end: while that is open, the number is its own and was given to nobody else
        ended = select.poll()
        ended.register(channel, select.POLLRDHUP)
        if ended.poll(0):
            raise NetworkUnavailable("the container has ended")
        yield pidfd
    finally:
        os.close(pidfd)


async def take_back(attachment: Attachment | None) -> None:
    """Take the network of a container away, if it has one."""
    if attachment is not None:
        with anyio.move_on_after(_DETACH_S, shield=True):
            await attachment.detach()


async def _let_go(found: Arrival | None) -> None:
    if found is not None:
        found.channel.close()
        discard([found.stdio_fd])
        await take_back(found.attachment)
