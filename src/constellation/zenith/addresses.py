"""Where the gateway listens, and where comet is."""

from __future__ import annotations

import socket

import anyio
import structlog

from constellation.base.address import Address, parse_address
from constellation.base.errors import InvalidRequest
from constellation.nova.config.load import ConfigInvalid
from constellation.nova.config.sections import ZenithSettings

log = structlog.get_logger()

_RESOLVE_S = 5.0


def listen_addresses(settings: ZenithSettings) -> list[Address]:
    """Return where to listen.

    Raises:
        ConfigInvalid: no address, a malformed one, or loopback trust on an address that others can reach.
    """
    try:
        addresses = [parse_address(part.strip()) for part in settings.listen.split(",") if part.strip()]
    except InvalidRequest as error:
        raise ConfigInvalid("zenith.listen", str(error)) from error
    if not addresses:
        raise ConfigInvalid("zenith.listen", "must name at least one HOST:PORT")
    if settings.auth == "loopback":
        for address in addresses:
            if not address.is_loopback:
                raise ConfigInvalid("zenith.auth", f"can not be loopback while listening on {address}")
        if settings.trusted_uid < 0:
            raise ConfigInvalid("zenith.trusted_uid", "must name the trusted user when zenith.auth is loopback")
    return addresses


async def numeric(address: Address) -> Address | None:
    """Return the address with its name resolved, None when that is not possible now."""
    try:
        with anyio.fail_after(_RESOLVE_S):
            found = await anyio.getaddrinfo(address.host or "127.0.0.1", address.port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError):
        log.warning("lane.unresolved", comet=str(address), effect="every call is answered by Python")
        return None
    return Address(str(found[0][4][0]), address.port)
