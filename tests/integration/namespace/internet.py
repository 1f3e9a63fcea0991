"""A small internet: a host with one way out, and behind it machines, services and a name server; nothing real is touched.

The thread that enters it, and what is started from there, is on that host. Its services run in threads beyond the wire.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
from pyroute2 import IPRoute

from constellation.comet.network.spaces import enter, here, make_namespace, set_flag

HOST, GATEWAY = "192.0.2.2", "192.0.2.1"
API, OTHER, RESOLVER, OPEN_RESOLVER = "1.2.3.4", "5.6.7.8", "1.1.1.53", "8.8.8.8"
DATABASE, METADATA = "10.1.0.5", "169.254.169.254"
NAMES = {
    "api.example.org": [API],
    "www.example.org": [API],
    "other.test": [OTHER],
    "rebound.example.org": [METADATA],
    "inside.example.org": [DATABASE],
    "mixed.example.org": ["127.0.0.1", HOST, API],
    "self.example.org": ["198.18.0.1"],
}


@dataclass(slots=True, eq=False)
class Internet:
    resolv_conf: Path
    asked: list[tuple[str, str]] = field(default_factory=list)  # (name, type) that the name server was asked
    served: list[tuple[str, str]] = field(default_factory=list)  # (service, who asked)
    ttl_s: int = 60
    names: dict[str, list[str]] = field(default_factory=lambda: dict(NAMES))
    fd: int = -1  # its namespace
    host_fd: int = -1


@contextlib.contextmanager
def on_a_host(directory: Path, *, forwards: bool = False) -> Iterator[Internet]:
    """Put this thread on the host for the length of the block."""
    home = here()
    world = Internet(resolv_conf=directory / "resolv.conf")
    world.resolv_conf.write_text(f"nameserver {RESOLVER}\n")
    stop = threading.Event()
    sockets: list[socket.socket] = []
    threads: list[threading.Thread] = []
    try:
        world.host_fd = make_namespace()
        _as_new(forwards=forwards)
        world.fd = make_namespace()
        _as_new(forwards=True)
        _wire(world)
        enter(world.fd)
        sockets = _open_services()
        enter(world.host_fd)
        sockets.append(socket.create_server((HOST, 8080)))
        threads = [threading.Thread(target=_serve, args=(world, each, stop), daemon=True) for each in sockets]
        for thread in threads:
            thread.start()
        yield world
    finally:
        stop.set()
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
        for each in sockets:
            each.close()
        enter(home)
        for fd in (home, world.fd, world.host_fd):
            if fd >= 0:
                os.close(fd)


def _as_new(*, forwards: bool) -> None:
    """A namespace has the settings of the machine's first one, which tests shall not depend on."""
    set_flag("ipv4/conf/all/forwarding", int(forwards))
    set_flag("ipv4/conf/default/forwarding", int(forwards))
    with IPRoute() as ip:
        ip.link("set", index=1, state="up")


def _wire(world: Internet) -> None:
    with IPRoute() as ip:
        ip.link("add", ifname="eth0", kind="veth", peer={"ifname": "eth0", "net_ns_fd": world.host_fd})
        index = ip.link_lookup(ifname="eth0")[0]
        ip.addr("add", index=index, address=GATEWAY, prefixlen=24)
        ip.link("set", index=index, state="up")
        for address in (API, OTHER, RESOLVER, OPEN_RESOLVER, DATABASE, METADATA):
            ip.addr("add", index=1, address=address, prefixlen=32)
    enter(world.host_fd)
    with IPRoute() as ip:
        index = ip.link_lookup(ifname="eth0")[0]
        ip.addr("add", index=index, address=HOST, prefixlen=24)
        ip.link("set", index=index, state="up")
        ip.route("add", dst="default", gateway=GATEWAY)


def _open_services() -> list[socket.socket]:
    opened = [socket.create_server((address, port)) for address, port in _TCP]
    for address in (RESOLVER, OPEN_RESOLVER):
        opened.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        opened[-1].bind((address, 53))
    return opened


_TCP = (
    (API, 443), (API, 8443), (OTHER, 443), (OPEN_RESOLVER, 443), (OPEN_RESOLVER, 853), (OPEN_RESOLVER, 53),
    (DATABASE, 5432), (DATABASE, 22), (METADATA, 80),
)  # fmt: skip


def _serve(world: Internet, service: socket.socket, stop: threading.Event) -> None:
    name = "{}:{}".format(*service.getsockname())
    while not stop.is_set():
        try:
            if service.type == socket.SOCK_DGRAM:
                question, sender = service.recvfrom(4096)
                if question:
                    service.sendto(_named(world, question), sender)
                continue
            connection, sender = service.accept()
        except OSError:
            return
        with connection:
            world.served.append((name, sender[0]))
            connection.settimeout(5)
            with contextlib.suppress(OSError):
                connection.sendall(name.encode())
                connection.shutdown(socket.SHUT_WR)
                connection.recv(1)


def _named(world: Internet, question: bytes) -> bytes:
    asked = dns.message.from_wire(question)
    reply = dns.message.make_response(asked)
    (only,) = asked.question
    name = only.name.to_text(omit_final_dot=True).lower()
    world.asked.append((name, dns.rdatatype.to_text(only.rdtype)))
    reply.flags |= dns.flags.RA
    if name not in world.names:
        reply.set_rcode(dns.rcode.NXDOMAIN)
    elif only.rdtype == dns.rdatatype.A:
        reply.answer.append(dns.rrset.from_text_list(only.name, world.ttl_s, "IN", "A", world.names[name]))
    return reply.to_wire()
