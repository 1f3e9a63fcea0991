"""Which addresses a platform's planes take, held from before the first start to the last restart."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass, field

from constellation.base.address import Address, parse_address
from constellation.nova.config.load import ConfigInvalid, Loaded
from constellation.supervisor.errors import AddressTaken

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where each plane listens. `zenith` may have several; their order is that of the flags."""

    nova: Address
    comet: Address
    aurora: Address
    zenith: tuple[Address, ...]
    has_tls: bool = False  # zenith speaks HTTPS

    @property
    def is_loopback_only(self) -> bool:
        return all(address.is_loopback for address in self.zenith)

    @property
    def urls(self) -> list[str]:
        """Return where the API answers, as a client on this host would write it."""
        scheme = "https" if self.has_tls else "http"
        return [f"{scheme}://{Address(address.host or LOOPBACK, address.port)}" for address in self.zenith]


@dataclass(slots=True)
class Reservations:
    """Ports bound, not listened on: the kernel gives them to nobody else, and lets a plane listen there.

    Two sockets with SO_REUSEADDR may share a port while neither of them listens (socket(7), ip(7)); the plane's
    own socket is the one that does. So a port chosen once stays this platform's while a plane is restarted.
    """

    _held: list[socket.socket] = field(default_factory=list)

    def hold(self, plane: str, address: Address) -> Address:
        """Reserve an address, port 0 being any free one, and return it with its port.

        Raises:
            AddressTaken: somebody listens there, or it is not this host's.
        """
        family = socket.AF_INET6 if ":" in address.host or not address.host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((address.host, address.port))
        except OSError as error:
            sock.close()
            reason = "the port is in use" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
            raise AddressTaken(plane, str(address), reason=reason) from error
        self._held.append(sock)
        return Address(address.host, int(sock.getsockname()[1]))

    def close(self) -> None:
        for sock in self._held:
            sock.close()


def choose(loaded: Loaded, *, listen: list[str], is_default_place: bool, reservations: Reservations) -> Addresses:
    """Reserve every plane's address.

    Args:
        listen: what --listen said; empty for the configured or default addresses on loopback.
        is_default_place: the platform of the default data directory and addresses takes the well-known ports; any
            other takes free ones, so that platforms run side by side.

    Raises:
        AddressTaken: one of them can not be had.
        InvalidRequest, ConfigInvalid: one of them is malformed.
    """
    settings = loaded.settings

    def inner(plane: str, configured: str) -> Address:
        address = parse_address(configured, default_host=LOOPBACK)
        return reservations.hold(plane, address if is_default_place else Address(LOOPBACK, 0))

    zenith = _zenith(listen or [settings.zenith.listen], is_flag=bool(listen))
    held = []
    for address in zenith:
        try:
            held.append(reservations.hold("zenith", address))
        except AddressTaken:
            if listen or address.host != "::1" or _has_ipv6_loopback():
                raise
            # A host without IPv6: 127.0.0.1 alone is what "localhost" means there.
    return Addresses(
        nova=inner("nova", settings.nova.http),
        comet=inner("comet", settings.comet.grpc),
        aurora=inner("aurora", settings.aurora.listen),
        zenith=tuple(held),
        has_tls=settings.zenith.tls.is_on,
    )


def _zenith(listen: list[str], *, is_flag: bool) -> list[Address]:
    """Return zenith's addresses. Without a flag a missing host means loopback: only a flag opens the door."""
    addresses: list[Address] = []
    for part in ",".join(listen).split(","):
        if not part.strip():
            continue
        address = parse_address(part.strip())
        if address.host or is_flag:
            addresses.append(address)
        else:
            addresses.extend((Address(LOOPBACK, address.port), Address("::1", address.port)))
    if not addresses:
        raise ConfigInvalid("zenith.listen", "must name at least one HOST:PORT")
    return addresses


def _has_ipv6_loopback() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
