"""The network helper: a process of comet's that holds the router, its rules, and the name servers of sandboxes.

It is one of its own since to enter network namespaces and to change rules blocks, and needs powers that comet's loop shall
not use. What it makes is bound to its life: the kernel takes down the router with all wires, and the tables, when it ends.
"""

from __future__ import annotations

import os
import resource
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, assert_never

import anyio
import anyio.abc
import anyio.to_thread
from pyroute2.netlink.exceptions import NetlinkError

from constellation.comet.network import ruleset, wire
from constellation.comet.network.forwarding import RECORD, open_host, shut_host
from constellation.comet.network.nft import Nft, NftFailed
from constellation.comet.network.places import MOST, Names
from constellation.comet.network.resolver import MAX_QUESTION_BYTES, HostResolver, answer
from constellation.comet.network.spaces import enter, here
from constellation.comet.network.wires import Router, Wire
from constellation.nova.domain.network import NetworkPolicy, rules_for_name

_QUESTIONS = 16  # chosen: names that a sandbox asks for at a time; what is over is not answered, and asked again
_RESOLVED = 4096  # chosen: addresses times ports that one sandbox can reach by names at a time


@dataclass(slots=True, eq=False)
class _Sandbox:
    wire: Wire
    mark: int
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    ended: anyio.Event = field(default_factory=anyio.Event)  # nobody answers its questions any more
    policy: NetworkPolicy | None = None
    resolved: dict[str, float] = field(default_factory=dict)  # element -> when it is of no use any more
    asking: int = 0


class Netd:
    """Serves one comet until it hangs up."""

    def __init__(self, control: socket.socket, run_dir: Path, resolv_conf: str) -> None:
        self._control, self._record = control, run_dir / RECORD
        self._names = Names.of(run_dir)
        self._host_fd = here()
        self._wires, self._rules = anyio.CapacityLimiter(1), anyio.CapacityLimiter(1)  # one thread's work each
        self._router: Router | None = None
        self._nft: Nft | None = None
        self._host_nft: Nft | None = None
        self._upstream = HostResolver(resolv_conf)
        self._sandboxes: dict[int, _Sandbox] = {}
        self._last = self._last_mark = 0
        self._leaving: set[int] = set()

    async def run(self) -> None:
        try:
            await self._in_thread(self._wires, self._open)
        except (OSError, NetlinkError, NftFailed) as error:
            self._say(wire.Answer(ticket=0, error=str(error)))
            return
        try:
            self._say(wire.Answer(ticket=0))
            async with anyio.create_task_group() as tasks:
                while (request := await self._hear()) is not None:
                    tasks.start_soon(self._act, tasks, *request)
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await self._in_thread(self._wires, self._shut)

    @staticmethod
    async def _in_thread(limiter: anyio.CapacityLimiter, call: Any, *args: object) -> Any:
        return await anyio.to_thread.run_sync(call, *args, limiter=limiter)

    def _open(self) -> None:
        self._router = router = Router(self._names, self._host_fd)
        self._nft = Nft()  # in the router
        self._nft.run(ruleset.router_rules(self._names))
        enter(self._host_fd)
        closed = open_host(self._record)
        self._host_nft = Nft()
        self._host_nft.run(ruleset.host_rules(self._names, router.uplink, closed=closed))

    def _shut(self) -> None:
        if self._router is not None:
            self._router.close()
        enter(self._host_fd)
        shut_host(self._record, uplink=self._names.uplink)

    def _say(self, said: wire.Answer) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # it has gone, and we go with it
            self._control.send(wire.encode(said))

    async def _hear(self) -> tuple[wire.Request, int] | None:
        """Return the next request and the descriptor that came along, or -1; None when there will be none."""
        await anyio.wait_readable(self._control)
        try:
            data, fds, _, _ = socket.recv_fds(self._control, wire.MAX_BYTES, 1)
        except ConnectionResetError:
            return None
        return (wire.decode_request(data), fds[0] if fds else -1) if data else None

    async def _act(self, tasks: anyio.abc.TaskGroup, request: wire.Request, fd: int) -> None:
        number, error = 0, ""
        try:
            match request:
                case wire.Attach():
                    number = await self._attach(tasks, fd)
                case wire.Permit():
                    await self._permit(self._sandboxes[request.number], request.policy)
                case wire.Detach():
                    await self._detach(request.number)
                case _:
                    assert_never(request)
        except KeyError:
            error = "there is no such wire"
        except (OSError, NetlinkError, NftFailed) as failed:
            error = str(failed) or type(failed).__name__
        finally:
            if fd >= 0:
                os.close(fd)
        self._say(wire.Answer(ticket=request.ticket, number=number, error=error))

    async def _attach(self, tasks: anyio.abc.TaskGroup, pidfd: int) -> int:
        assert self._router is not None
        if len(self._sandboxes) + len(self._leaving) >= MOST:
            raise OSError(f"all {MOST} wires are in use")
        self._last, self._last_mark = self._last % (1 << 30) + 1, self._last_mark % 0xFFFFFFFF + 1
        number, mark = self._last, self._last_mark
        wired = await self._in_thread(self._wires, self._router.attach, pidfd, number)
        sandbox = _Sandbox(wire=wired, mark=mark)
        self._sandboxes[number] = sandbox
        tasks.start_soon(self._serve_names, sandbox)
        return number

    async def _permit(self, sandbox: _Sandbox, policy: NetworkPolicy) -> None:
        assert self._nft is not None
        wired = sandbox.wire
        text = ruleset.permit(self._names, wired.number, sandbox.mark, wired.pair.far, policy)
        await self._in_thread(self._rules, self._nft.run, text)
        sandbox.policy = policy

    async def _detach(self, number: int) -> None:
        assert self._router is not None
        assert self._nft is not None
        sandbox = self._sandboxes.pop(number, None)
        if sandbox is None:
            return
        sandbox.scope.cancel()
        await sandbox.ended.wait()
        self._leaving.add(number)
        if sandbox.policy is not None:
            text = ruleset.forget(self._names, number, sandbox.mark, sandbox.wire.pair.far, sandbox.resolved)
            await self._in_thread(self._rules, self._nft.run, text)
        await self._in_thread(self._wires, self._remove_leaving, number, sandbox.mark)

    def _remove_leaving(self, number: int, mark: int) -> None:
        """Remove all wires that wait to be, since many take no longer than one."""
        assert self._router is not None
        self._router.forget_flows(mark)
        if number in self._leaving:  # else it went with another's
            leaving = frozenset(self._leaving)
            self._router.remove(leaving)
            self._leaving -= leaving

    async def _serve_names(self, sandbox: _Sandbox) -> None:
        names = sandbox.wire.names
        try:
            with sandbox.scope:
                async with anyio.create_task_group() as tasks:
                    while True:
                        await anyio.wait_readable(names)
                        with suppress(OSError):  # an earlier answer that nobody took
                            question, sender = names.recvfrom(MAX_QUESTION_BYTES + 1)
                            if len(question) <= MAX_QUESTION_BYTES and sandbox.asking < _QUESTIONS:
                                sandbox.asking += 1
                                tasks.start_soon(self._answer, sandbox, question, sender)
        finally:
            names.close()
            sandbox.ended.set()

    async def _answer(self, sandbox: _Sandbox, question: bytes, sender: Any) -> None:
        try:
            said = await answer(question, sandbox.policy, self._upstream, partial(self._learn, sandbox))
        finally:
            sandbox.asking -= 1
        if said is not None:
            with suppress(OSError):
                sandbox.wire.names.sendto(said, sender)

    async def _learn(self, sandbox: _Sandbox, name: str, addresses: tuple[IPv4Address, ...], timeout_s: int) -> bool:
        assert sandbox.policy is not None
        assert self._nft is not None
        now_s, rules = anyio.current_time(), rules_for_name(sandbox.policy, name)
        elements = [each for address in addresses for each in ruleset.resolved(sandbox.mark, address, rules)]
        for known in [known for known, until_s in sandbox.resolved.items() if until_s <= now_s]:
            del sandbox.resolved[known]
        if len(sandbox.resolved.keys() | set(elements)) > _RESOLVED:
            return False
        if elements:
            for each in elements:
                sandbox.resolved[each] = now_s + timeout_s
            try:
                await self._in_thread(self._rules, self._nft.run, ruleset.learn(self._names, elements, timeout_s))
            except NftFailed:
                return False
        return True


def main() -> None:
    """Take the number of the control descriptor, comet's own directory, and where the name servers stand."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # one for each sandbox
    control = socket.socket(fileno=int(sys.argv[1]))
    control.setblocking(False)
    anyio.run(Netd(control, Path(sys.argv[2]), sys.argv[3]).run, backend="asyncio")


if __name__ == "__main__":
    main()
