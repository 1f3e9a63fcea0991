"""Whose socket is at the other end of a local connection: one exact question to the kernel (sock_diag(7))."""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from dataclasses import dataclass

_SOCK_DIAG_BY_FAMILY = 20  # linux/sock_diag.h
_NETLINK_SOCK_DIAG = 4
_NLM_F_REQUEST = 1
_TCP_ESTABLISHED = 1
_ALL_STATES = 0xFFFF_FFFF
_NO_COOKIE = b"\xff" * 8
_NLMSG = struct.Struct("=IHHII")  # length, type, flags, sequence, port id
_REQUEST_HEAD = struct.Struct("=BBBBI")  # family, protocol, ext, pad, states
_SOCKET_ID = struct.Struct("!HH16s16s")  # source port, destination port, source, destination
_REPLY_BYTES = 72  # struct inet_diag_msg
_OVERFLOW_UID = 65534  # stands for every uid without a name in this user namespace: it is nobody in particular


@dataclass(frozen=True, slots=True)
class Question:
    """The bytes of one lookup, and what an honest reply must repeat."""

    message: bytes
    socket_id: bytes
    family: int


def question(client: tuple[str, int], server: tuple[str, int], *, sequence: int) -> Question:
    """Return the lookup of the socket that `client` connected to `server` with.

    An IPv4 connection is asked for as IPv4 even when either end shows it as a mapped IPv6 address: the kernel
    keeps it under its IPv4 pair.

    Raises:
        ValueError: an address is not one, or the two are of different families.
    """
    source, destination = _plain(client[0]), _plain(server[0])
    if source.version != destination.version:
        raise ValueError(f"{client[0]} and {server[0]} are not of one family")
    family = socket.AF_INET if source.version == 4 else socket.AF_INET6
    socket_id = _SOCKET_ID.pack(
        client[1], server[1], source.packed.ljust(16, b"\0"), destination.packed.ljust(16, b"\0")
    )
    body = _REQUEST_HEAD.pack(family, socket.IPPROTO_TCP, 0, 0, _ALL_STATES) + socket_id + bytes(4) + _NO_COOKIE
    head = _NLMSG.pack(_NLMSG.size + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, sequence, 0)
    return Question(head + body, socket_id, family)


def answer(reply: bytes, asked: Question, *, sequence: int) -> int | None:
    """Return the uid in a reply, or None when it is not the established socket that was asked for.

    The kernel falls back to a listener on the port when the pair is unknown, and shows uid 0 for a socket in
    TIME_WAIT: both must not pass for the peer.
    """
    if len(reply) < _NLMSG.size + _REPLY_BYTES:
        return None
    _, kind, _, number, _ = _NLMSG.unpack_from(reply)
    if kind != _SOCK_DIAG_BY_FAMILY or number != sequence:
        return None
    body = memoryview(reply)[_NLMSG.size :]
    family, state = body[0], body[1]
    if state != _TCP_ESTABLISHED or family not in (asked.family, socket.AF_INET6):
        return None
    if not _same_pair(bytes(body[4:40]), asked):
        return None
    uid = int(struct.unpack_from("=I", body, 64)[0])
    return None if uid == _OVERFLOW_UID else uid


class PeerLookup:
    """Asks the kernel over one netlink socket. Answers at once: the kernel replies inside the send."""

    def __init__(self) -> None:
        self._netlink = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, _NETLINK_SOCK_DIAG
        )
        self._netlink.bind((0, 0))
        self._sequence = 0

    def uid(self, client: tuple[str, int], server: tuple[str, int]) -> int | None:
        """Return the uid that owns the client's end of a connection on this host, None when nobody can say."""
        self._sequence = self._sequence % 0x7FFF_FFFF + 1
        try:
            asked = question(client, server, sequence=self._sequence)
            self._drain()
            self._netlink.sendto(asked.message, (0, 0))
            reply, sender = self._netlink.recvfrom(4096)
        except (ValueError, OSError):
            return None
        return answer(reply, asked, sequence=self._sequence) if sender[0] == 0 else None

    def _drain(self) -> None:
        """Forget replies that an earlier, failed question left behind."""
        while True:
            try:
                self._netlink.recvfrom(4096)
            except OSError as error:
                if error.errno in (errno.EAGAIN, errno.EWOULDBLOCK):
                    return
                raise

    def close(self) -> None:
        self._netlink.close()


def _plain(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _same_pair(given: bytes, asked: Question) -> bool:
    """Compare ports and addresses; a mapped IPv4 pair may come back from an IPv6 socket in its mapped form."""
    if given == asked.socket_id:
        return True
    mapped = bytes(10) + b"\xff\xff"
    ports, wanted_source, wanted_destination = asked.socket_id[:4], asked.socket_id[4:20], asked.socket_id[20:36]
    return asked.family == socket.AF_INET and given == (
        ports + mapped + wanted_source[:4] + mapped + wanted_destination[:4]
    )
