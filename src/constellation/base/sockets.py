"""Bind listeners before anybody serves on them: the port is known, the mode is right from the first instant."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from constellation.base.address import Address
from constellation.base.errors import ConstellationError

UNIX_PATH_BYTES = 107  # documented: unix(7), sun_path and its final NUL
BACKLOG = 1024  # chosen: a burst of connections while the loop is busy waits instead of being refused


class AddressUnusable(ConstellationError):
    """The address to listen on is taken or is not this host's."""

    code, http_status = "address_unusable", 503

    def __init__(self, address: Address, *, reason: str) -> None:
        super().__init__(f"can not listen on {address}: {reason}")


def listen_tcp(address: Address) -> tuple[socket.socket, Address]:
    """Return a listening socket and its real address (a port of 0 is replaced by the kernel's choice).

    An empty host listens on every address, IPv6 and IPv4.

    Raises:
        AddressUnusable: it is taken or is not ours.
    """
    try:
        if address.host == "" and socket.has_dualstack_ipv6():
            everywhere = ("", address.port)
            sock = socket.create_server(everywhere, family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG)
        else:
            family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
            sock = socket.create_server((address.host, address.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise AddressUnusable(address, reason=error.strerror or str(error)) from error
    sock.setblocking(False)
    return sock, replace(address, port=int(sock.getsockname()[1]))


@contextmanager
def reachable(path: Path) -> Iterator[str]:
    """Lend a short name of a path, to bind or connect to: it may be longer than the address of a socket (107 bytes).

    Raises:
        OSError: its directory is not there.
    """
    fd = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{path.name}"
    finally:
        os.close(fd)


def listen_unix(path: Path) -> socket.socket:
    """Return a listening unix socket of mode 0600; one that a killed process left is replaced.

    It is put in place whole, so of several processes that do this at once each succeeds and the last one is reached.

    Raises:
        OSError: the path can not be made, or is over the kernel's limit (107 bytes, of which a suffix here needs 9).
    """
    making = path.with_name(f"{path.name}.{os.getpid():x}")
    making.unlink(missing_ok=True)  # of an earlier process with our number
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    mask = os.umask(0o177)
    try:
        sock.bind(str(making))
        sock.listen(BACKLOG)
        making.rename(path)
    except OSError:
        sock.close()
        raise
    finally:
        os.umask(mask)
    sock.setblocking(False)
    return sock
