"""How sandboxes, and the way from their router to the host, are numbered and named."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

# The range that is set aside for measurements between networks: nobody's hosts have such addresses.
SANDBOXES = IPv4Network("198.18.0.0/16")
UPLINKS = IPv4Network("198.19.0.0/16")
MOST = 1 << 14  # sandboxes with a network at a time; two addresses each, and as many again before one is used again
_PAIRS = SANDBOXES.num_addresses // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Both ends of a wire: a network of two addresses (RFC 3021)."""

    near: IPv4Address  # the host's side
    far: IPv4Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What one comet's network is called on its host; `digest` is of its own directory."""

    digest: str

    @classmethod
    def of(cls, run_dir: Path) -> Names:
        return cls(digest=sha256(str(run_dir.resolve()).encode()).hexdigest()[:12])

    @property
    def table(self) -> str:
        return f"constellation-{self.digest}"

    @property
    def uplink(self) -> str:
        """The device on the host; 15 characters are the most."""
        return f"cst{self.digest}"


def device_of(number: int) -> str:
    """Return the router's end of a sandbox's wire."""
    return f"v{number}"


def pair_of(number: int) -> Pair:
    """Return the addresses of a sandbox; those of a number that comes soon after are others."""
    first = SANDBOXES.network_address + 2 * (number % _PAIRS)
    return Pair(near=first, far=first + 1)


def uplink_of(names: Names, taken: Collection[IPv4Address]) -> Pair:
    """Return addresses for the way to the host that are not among those it has: platforms share hosts."""
    start = int(names.digest, 16)
    for step in range(UPLINKS.num_addresses // 2):
        near = UPLINKS.network_address + 2 * ((start + step) % (UPLINKS.num_addresses // 2))
        if near not in taken and near + 1 not in taken:
            return Pair(near=near, far=near + 1)
    raise OSError("no address is left for the way to the host")
