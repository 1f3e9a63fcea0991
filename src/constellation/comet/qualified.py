"""Calls that name a version or an alias: which of the versions that are served beside the live one they get.

The choice by weight is the table's; here a function's aliases become names in the table, one for each version's number
too, and what has no name there yet is read.
"""

from __future__ import annotations

import random
from dataclasses import replace
from uuid import UUID

from constellation.base.errors import NotFound
from constellation.comet.functions import Entry, FunctionCache
from constellation.comet.pool.pool import Pool
from constellation.native.table import Table
from constellation.nova.domain.alias import LATEST, MAX_NUMBER_DIGITS, MAX_QUALIFIER_CHARS
from constellation.rpc.caller import Caller


def divided(name: str, qualifier: str) -> tuple[str, str]:
    """Return the function and the qualifier that a call names: "name:qualifier", or each by itself."""
    if not qualifier:
        name, _, qualifier = name.partition(":")
    return name, "" if qualifier == LATEST else qualifier


def qualified(caller: Caller, qualifier: str, *, sticky: str = "") -> Caller:
    """Return the caller as one that asks for a version or an alias; itself when it asks for the live version."""
    if not qualifier:
        return caller
    return replace(caller, context=replace(caller.context, qualifier=qualifier, sticky=sticky))


class Names:
    """The names of versions in the table, as they were told of last."""

    def __init__(self, table: Table, pool: Pool) -> None:
        self._table, self._pool = table, pool
        self._told: dict[UUID, frozenset[str]] = {}

    def tell(self, entry: Entry) -> None:
        """Have the table know the names of an entry, whose functions the pool knows."""
        function = entry.function
        live = self._pool.served(function.id)
        names = {str(number): ([(number, 1)], False) for number in entry.pinned}
        for alias in entry.aliases:
            names[alias.name] = ([(share.version, share.weight) for share in alias.shares], alias.is_sticky)
        told = self._told.get(function.id, frozenset())
        if live is None or not (names or told):
            return
        for name, (shares, is_sticky) in names.items():
            served = [(self._pool.served(function.id, number), weight) for number, weight in shares]
            handles = [(each.handle, weight) for each, weight in served if each is not None]
            self._table.put_alias(
                live.handle, name, handles if len(handles) == len(shares) else (), is_sticky=is_sticky
            )
        for name in told - names.keys():
            self._table.put_alias(live.handle, name, (), is_sticky=False)
        if names:
            self._told[function.id] = frozenset(names)
        else:
            del self._told[function.id]


class Qualified:
    """Finds the version of a call."""

    def __init__(self, table: Table, pool: Pool, functions: FunctionCache) -> None:
        self._table, self._pool, self._functions = table, pool, functions

    async def entry(self, entry: Entry, qualifier: str, *, key: str) -> Entry:
        """Return the entry of the version that a call under a name gets; suspends for a number that is new here only.

        Raises:
            NotFound: the function has no such version or alias.
        """
        found = self._pick(entry, qualifier, key)
        if found is None and qualifier.isascii() and qualifier.isdigit():
            if len(qualifier) > MAX_NUMBER_DIGITS or qualifier[0] == "0":
                raise NotFound("version", qualifier[:MAX_QUALIFIER_CHARS])
            found = self._pick(await self._functions.pin(entry, int(qualifier)), qualifier, key)
        if found is None:
            raise NotFound("alias", qualifier[:MAX_QUALIFIER_CHARS])
        return found

    def _pick(self, entry: Entry, qualifier: str, key: str) -> Entry | None:
        served = self._pool.serve(entry.function, is_suspended=entry.is_suspended)
        number = random.getrandbits(64)  # a share of the calls, no secret
        picked = self._table.pick(served.handle, qualifier, key=key.encode(), number=number)
        version = None if picked is None else self._pool.served_by(picked)
        return None if version is None else Entry(version.function, entry.is_suspended)
