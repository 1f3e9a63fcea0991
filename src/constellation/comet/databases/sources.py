"""What instances are made of, with sockets that lead to their databases."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import msgspec

from constellation.base.errors import ConstellationError
from constellation.comet.backend.contract import InstanceSpec
from constellation.comet.databases.doors import Doors
from constellation.comet.databases.wire import Refused
from constellation.comet.pool.sources import Sources
from constellation.comet.resolving import NotResolved, NovaAnswers
from constellation.nova.domain.database import DatabaseLogin, references, resolved
from constellation.nova.domain.function import Function

_PATH = b"/internal/databases/resolve"
_ANSWER_S = 15.0  # chosen: the first database of all begins its server
_REPAIR_S = 15.0


class DatabasesUnavailable(ConstellationError):
    """An instance needs databases that it can not be led to now."""

    code, http_status, retryable = "databases_unavailable", 503, True

    def __init__(self, function: str, *, reason: str) -> None:
        super().__init__(f"{function}: its databases can not be had: {reason}", retry_after_s=1)


class DatabasesRefused(ConstellationError):
    """Nova does not lead to a database that a function refers to."""

    code, http_status = "databases_refused", 502

    def __init__(self, function: str, *, reason: str) -> None:
        super().__init__(f"{function}: no instance can begin without its databases: {reason}")


class _Resolved(msgspec.Struct):
    logins: list[DatabaseLogin]


class Logins(Protocol):
    """Knows how to log in to databases."""

    async def of(self, function: Function) -> list[DatabaseLogin]: ...


class NovaLogins:
    """Asks nova. Implements `Logins`."""

    def __init__(self, nova: NovaAnswers) -> None:
        self._nova = nova

    async def of(self, function: Function) -> list[DatabaseLogin]:
        """Return how to log in to a function's databases.

        Raises:
            DatabasesUnavailable: nova does not answer, or not now.
            DatabasesRefused: it says why not.
        """
        names = sorted(set(references(function.env).values()))
        try:
            found = await self._nova.ask(function, _PATH, {"names": names}, _Resolved, within_s=_ANSWER_S)
        except NotResolved as error:
            kind = DatabasesRefused if error.is_final else DatabasesUnavailable
            raise kind(function.name, reason=str(error)) from error.__cause__
        return found.logins

    async def repair(self, function: Function, name: str) -> None:
        """Have a role on its server as it should be. Raises `Refused`."""
        question = {"names": [name], "repair": True}
        try:
            await self._nova.ask(function, _PATH, question, _Resolved, within_s=_REPAIR_S)
        except NotResolved as error:
            raise Refused("28000", "the database server refuses the functions' role") from error


class DatabaseSources:
    """Opens a directory of sockets an instance, and closes it with the instance. Implements `Sources`."""

    def __init__(self, sources: Sources, logins: Logins, doors: Doors) -> None:
        self._sources, self._logins, self._doors = sources, logins, doors

    async def acquire(self, function: Function) -> InstanceSpec:
        """Return what to boot, as the sources do.

        Raises:
            DatabasesUnavailable, DatabasesRefused: and as the sources.
        """
        spec = await self._sources.acquire(function)
        if not references(function.env):
            return spec
        try:
            directory = await self._doors.open(function, await self._logins.of(function))
        except BaseException:
            self._sources.release_nowait(spec)
            raise
        return replace(spec, env=resolved(spec.env), sockets_dir=directory)

    def release_nowait(self, spec: InstanceSpec) -> None:
        if spec.sockets_dir is not None:
            self._doors.close_nowait(spec.sockets_dir)
        self._sources.release_nowait(spec)
