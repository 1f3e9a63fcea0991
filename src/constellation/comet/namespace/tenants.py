"""The numbers by which fork servers tell tenants apart."""

from __future__ import annotations

from constellation.native.zygote import TENANT_NOBODY, TENANT_UNKNOWN

_FIRST = max(TENANT_NOBODY, TENANT_UNKNOWN) + 1
_MOST = 1 << 20  # chosen: 100 MiB of names; whoever comes later shares nothing


class Tenants:
    """Numbers tenants as they come; a number is one tenant's for the life of this process and its fork servers."""

    def __init__(self, *, most: int = _MOST) -> None:
        self._numbers: dict[str, int] = {}
        self._most = most

    def number_of(self, tenant: str) -> int:
        """Return the tenant's number, or the one of those that are not told apart."""
        number = self._numbers.get(tenant)
        if number is None:
            if len(self._numbers) >= self._most:
                return TENANT_UNKNOWN
            number = self._numbers[tenant] = _FIRST + len(self._numbers)
        return number
