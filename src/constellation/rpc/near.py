"""The unix socket beside comet's TCP port: callers on the same machine reach the same server by it, for less.

Its name holds the address that it stands for, and its directory is the platform's own: who looks for the comet of
127.0.0.1:9090 meets neither one that serves another port nor another platform's.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from constellation.base.address import Address
from constellation.base.sockets import UNIX_PATH_BYTES, listen_unix

log = structlog.get_logger()


def near_path(sockets: Path, address: Address) -> Path | None:
    """Return where to look for the comet of a numeric address before dialling it, None when that is on no loopback.

    Nobody may be there; then it is the address alone that counts.
    """
    path = _path(sockets, address)
    return path if address.is_loopback and len(os.fsencode(path)) <= UNIX_PATH_BYTES else None


@contextmanager
def listening_near(sockets: Path, listener: socket.socket) -> Iterator[socket.socket | None]:
    """Lend a listening unix socket that stands for the loopback address of a TCP one, which must outlive it.

    None: callers reach no loopback address by that one, or the socket can not be made, which the log says.
    """
    _sweep(sockets)
    address = _loopback(listener)
    near = None if address is None else _listen(_path(sockets, address))
    try:
        yield near
    finally:
        if near is not None:
            near.close()
            _sweep(sockets)


def _path(sockets: Path, address: Address) -> Path:
    return sockets / f"comet-{address}.sock"


def _listen(path: Path) -> socket.socket | None:
    try:
        return listen_unix(path)
    except OSError as error:
        log.warning("near.unusable", path=str(path), reason=str(error), effect="callers on this machine use TCP")
        return None


def _loopback(listener: socket.socket) -> Address | None:
    """Return the loopback address that nobody else can serve while this socket listens."""
    host, port = listener.getsockname()[:2]
    if host == "::":
        is_v6_only = listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) != 0
        host = "::1" if is_v6_only else "127.0.0.1"
    elif host == "0.0.0.0":  # noqa: S104  # compared, not bound
        host = "127.0.0.1"
    address = Address(host, port)
    return address if address.is_loopback else None


def _sweep(sockets: Path) -> None:
    """Remove the sockets that nobody listens on: ours at the end, and those of killed processes."""
    for path in sockets.glob("comet-*:*.sock"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)
            except OSError:
                continue  # busy, or gone by now
