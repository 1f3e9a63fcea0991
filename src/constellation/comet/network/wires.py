"""The router and the wires of sandboxes: network namespaces, devices, addresses, routes. All of it blocks.

A thread is in one network namespace at a time, whatever others of its process are in; each function here puts its own
where it must be, so it is called in threads that do nothing else.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from pyroute2 import Conntrack, IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from constellation.comet.network.places import Names, Pair, device_of, pair_of, uplink_of
from constellation.comet.network.ruleset import UPLINK
from constellation.comet.network.spaces import enter, here, make_namespace, set_flag

_GUEST_DEVICE = "eth0"
_NAME_SERVER = ("127.0.0.1", 53)  # where every resolver asks whose resolv.conf names nobody
_USUAL_MTU = 1500
_GROUP = 0x6E74  # chosen: of devices that are removed together, which takes no longer than one alone


def _has_no_ipv6() -> None:
    for which in ("all", "default"):
        with suppress(FileNotFoundError):  # a kernel without IPv6
            set_flag(f"ipv6/conf/{which}/disable_ipv6", 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """One sandbox's. Both ends go when the router's is removed, or the sandbox's namespace ends."""

    number: int
    index: int  # of the router's end
    pair: Pair
    names: socket.socket  # a datagram socket in the sandbox, where its questions for names arrive


class Router:
    """The namespace in which all wires end; its way to the host is one more wire. It goes with its process."""

    def __init__(self, names: Names, host_fd: int) -> None:
        """Make it, with nobody in it, and nothing let through on the host yet. This thread stays in it."""
        self._names, self._host_fd = names, host_fd
        enter(host_fd)
        with IPRoute() as ip:
            self.mtu = _mtu_of_default(ip)
            self.uplink = uplink_of(names, _addresses(ip))
        self.fd = make_namespace()
        set_flag("ipv4/ip_forward", 1)
        set_flag("ipv4/icmp_ratelimit", 0)  # a refusal is always told, or programs wait for what never comes
        _has_no_ipv6()
        self._ip = IPRoute()
        self._raise_loopback()
        self._connect()

    def _raise_loopback(self) -> None:
        self._ip.link("set", index=1, state="up")

    def _connect(self) -> None:
        near = self._names.uplink
        enter(self._host_fd)
        with IPRoute() as ip:
            ip.link(
                "add", ifname=near, kind="veth", mtu=self.mtu,
                peer={"ifname": UPLINK, "net_ns_fd": self.fd, "mtu": self.mtu},
            )  # fmt: skip
            with suppress(FileNotFoundError):
                set_flag(f"ipv6/conf/{near}/disable_ipv6", 1)
            set_flag(f"ipv4/conf/{near}/forwarding", 1)
            _raise(ip, near, self.uplink.near)
        enter(self.fd)
        _raise(self._ip, UPLINK, self.uplink.far)
        self._ip.route("add", dst="default", gateway=str(self.uplink.near))

    def attach(self, pidfd: int, number: int) -> Wire:
        """Give the network namespace of a process a wire; nothing passes until its rules say so.

        Raises:
            OSError, NetlinkError: the process has ended, say; nothing is left then.
        """
        pair, device = pair_of(number), device_of(number)
        with _namespace_of(pidfd) as guest_fd:
            self._check_foreign(guest_fd)
            _has_no_ipv6()
            names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            try:
                names.bind(_NAME_SERVER)
                enter(self.fd)
                self._ip.link(
                    "add", ifname=device, kind="veth", mtu=self.mtu,
                    peer={"ifname": _GUEST_DEVICE, "net_ns_fd": guest_fd, "mtu": self.mtu},
                )  # fmt: skip
                index = _raise(self._ip, device, pair.near)
                enter(guest_fd)
                with IPRoute() as ip:
                    _raise(ip, _GUEST_DEVICE, pair.far)
                    ip.route("add", dst="default", gateway=str(pair.near))
            except BaseException:
                names.close()
                enter(self.fd)
                self.remove([number])
                raise
        enter(self.fd)
        return Wire(number=number, index=index, pair=pair, names=names)

    def _check_foreign(self, fd: int) -> None:
        """A process that shares a namespace of ours would have it changed under our feet."""
        theirs = os.fstat(fd).st_ino
        if theirs in (os.fstat(self.fd).st_ino, os.fstat(self._host_fd).st_ino):
            raise PermissionError("that process is in no network namespace of its own")

    def remove(self, numbers: Collection[int]) -> None:
        """Remove the wires with these numbers, if they are there."""
        enter(self.fd)
        found = [index for number in numbers if (index := _index_of(device_of(number)))]
        for index in found:
            with suppress(NetlinkError):  # its sandbox has ended, and it with it
                self._ip.link("set", index=index, group=_GROUP)
        if found:
            with suppress(NetlinkError):
                self._ip.link("del", group=_GROUP)

    def forget_flows(self, mark: int) -> None:
        """Drop what is remembered of the connections with a mark."""
        enter(self.fd)
        with suppress(NetlinkError), Conntrack() as conntrack:  # what a kernel keeps, no rule lets through
            conntrack.flush(mark=mark, mark_mask=0xFFFFFFFF)

    def close(self) -> None:
        """Take the way to the host away; the rest goes with this process."""
        enter(self._host_fd)
        with suppress(NetlinkError), IPRoute() as ip:
            ip.link("del", index=_index_of(self._names.uplink))


@contextmanager
def _namespace_of(pidfd: int) -> Iterator[int]:
    """Put this thread into the network namespace of a process, and lend a descriptor of it."""
    enter(pidfd)
    fd = here()
    try:
        yield fd
    finally:
        os.close(fd)


def _raise(ip: Any, device: str, address: IPv4Address) -> int:
    """Give a device its address in a network of two, and set it up; return its index."""
    index = _index_of(device)
    ip.addr("add", index=index, address=str(address), prefixlen=31)
    ip.link("set", index=index, state="up")
    return index


def _index_of(device: str) -> int:
    """Return the number of a device where this thread is, 0 when there is none; without a look at all the others."""
    try:
        return socket.if_nametoindex(device)
    except OSError:
        return 0


def _addresses(ip: Any) -> set[IPv4Address]:
    found = (each.get_attr("IFA_LOCAL") for each in ip.get_addr(family=socket.AF_INET))
    return {IPv4Address(address) for address in found if address}


def _mtu_of_default(ip: Any) -> int:
    """What passes to the internet in one piece: what is larger would be lost where errors are not told back."""
    indices = {route.get_attr("RTA_OIF") for route in ip.get_default_routes(family=socket.AF_INET)}
    sizes = [link.get_attr("IFLA_MTU") for link in ip.get_links() if link["index"] in indices]
    return min(sizes, default=_USUAL_MTU)
