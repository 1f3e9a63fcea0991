"""A sandbox with a worker inside that has said hello and waits for `init`; nobody's yet."""

from __future__ import annotations

import os
import select
import socket
from dataclasses import dataclass

import anyio

from constellation.comet.namespace.slots import Slot, until_gone
from constellation.comet.network.attachments import Attachment
from constellation.comet.strangers import discard, refuse_descriptors
from constellation.native.mail import Mail
from constellation.native.sandbox import Plan
from constellation.native.zygote import Spawned, Zygote

_HELLO_BYTES = 12  # a frame's header


@dataclass(slots=True, eq=False)
class Sandbox:
    """Owns two descriptors and a page, until an instance takes them, and the slot."""

    slot: Slot
    zygote: Zygote
    spawned: Spawned
    channel: socket.socket
    stdio_fd: int
    mail: Mail | None = None  # of a worker that was forked from the platform's fork server
    attachment: Attachment | None = None  # to the network; nothing passes by it before it is permitted

    @property
    def is_alive(self) -> bool:
        """Whether its first process runs, asked of the kernel: word of its end may still be on its way to us."""
        if self.spawned.status is not None or self.spawned.pidfd < 0:
            return False
        ended = select.poll()
        ended.register(self.spawned.pidfd, select.POLLIN)
        return not ended.poll(0)

    async def greeted(self) -> None:
        """Wait for the first bytes of the worker, which stay where they are; the end of the stream counts too."""
        while True:
            await anyio.wait_readable(self.channel)
            said = len(self.channel.recv(_HELLO_BYTES, socket.MSG_PEEK))
            if said in (0, _HELLO_BYTES):
                return
            await anyio.sleep(0.001)

    async def destroy(self, *, within_s: float) -> bool:
        """End it and close everything; True when nothing of it is left, so that its slot can be used again."""
        self.spawned.kill_nowait()
        is_empty = False
        try:
            with anyio.move_on_after(within_s, shield=True):
                await until_gone(self.spawned, self.slot)
                is_empty = True
        finally:
            await detach(self.attachment, within_s=within_s)
            self.spawned.close()
            self.channel.close()
            if is_empty:
                os.close(self.stdio_fd)
            else:
                discard([self.stdio_fd])
            if self.mail is not None:
                self.mail.close()
        return is_empty


async def detach(attachment: Attachment | None, *, within_s: float) -> None:
    """Take the network of a sandbox away, whose processes have ended or will: what they sent last has left."""
    if attachment is not None:
        with anyio.move_on_after(within_s, shield=True):
            await attachment.detach()


async def make(zygote: Zygote, plan: Plan, slot: Slot, *, has_page: bool, tenant: int, timeout_s: float) -> Sandbox:
    """Spawn the plan's sandbox for a tenant's number; the slot stays the caller's when this fails.

    Args:
        has_page: it is a worker's that is forked, not executed, and shares a page with its link.

    Raises:
        SpawnFailed, ZygoteGone
    """
    mail = Mail() if has_page else None
    ours, theirs = socket.socketpair()
    refuse_descriptors(ours)
    out_fd, in_fd = os.pipe2(os.O_CLOEXEC)
    with theirs:
        try:
            spawned = await zygote.spawn(
                plan, channel_fd=theirs.fileno(), stdio_fd=in_fd, mail=mail, timeout_s=timeout_s, tenant=tenant
            )
        except BaseException:
            ours.close()
            os.close(out_fd)
            if mail is not None:
                mail.close()
            raise
        finally:
            discard([in_fd])
    ours.setblocking(False)
    os.set_blocking(out_fd, False)
    sandbox = Sandbox(slot=slot, zygote=zygote, spawned=spawned, channel=ours, stdio_fd=out_fd, mail=mail)
    if mail is not None:
        try:
            mail.seal()
        except OSError:
            await sandbox.destroy(within_s=timeout_s)
            raise
    return sandbox
