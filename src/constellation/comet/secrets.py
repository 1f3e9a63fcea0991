"""The values of secrets, had from nova when an instance is about to begin, and nowhere kept but in what it is made of.

Each boot asks anew: an instance that begins after a value was replaced never has the old one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

import msgspec

from constellation.base.errors import ConstellationError
from constellation.comet.backend.contract import InstanceSpec
from constellation.comet.pool.sources import Sources
from constellation.comet.resolving import NotResolved, NovaAnswers
from constellation.nova.domain import database
from constellation.nova.domain.change import Change, ChangeKind
from constellation.nova.domain.deploy import MAX_ENV_BYTES
from constellation.nova.domain.function import Function
from constellation.nova.domain.secret import MAX_FILES_BYTES, file_names, references, resolved

_ANSWER_S = 5.0  # chosen: some rows by their key, and a few microseconds for each
_PATH = b"/internal/secrets/resolve"


class SecretsUnavailable(ConstellationError):
    """An instance needs values that can not be had now."""

    code, http_status, retryable = "secrets_unavailable", 503, True

    def __init__(self, function: str, *, reason: str) -> None:
        super().__init__(f"{function}: the values of its secrets can not be had: {reason}", retry_after_s=1)


class SecretsRefused(ConstellationError):
    """Nova has no value for a secret that a function refers to."""

    code, http_status = "secrets_refused", 502

    def __init__(self, function: str, *, reason: str) -> None:
        super().__init__(f"{function}: no instance can begin without its secrets: {reason}")


def uses(change: Change | None) -> Callable[[Function], bool]:
    """Return which functions a changed secret or database concerns; None: any of them may have changed."""

    def is_concerned(function: Function) -> bool:
        if change is None:
            return bool(references(function.env) or database.references(function.env))
        named = database.references if change.kind is ChangeKind.DATABASE else references
        names = named(function.env).values()
        scope = (function.tenant, function.namespace)
        return scope == (change.tenant, change.namespace) and change.name in names

    return is_concerned


class SecretValues(Protocol):
    """Knows what secrets are."""

    async def of(self, function: Function) -> Mapping[str, str]: ...


class _Resolved(msgspec.Struct):
    values: dict[str, str]


class NovaSecrets:
    """Asks nova. Implements `SecretValues`."""

    def __init__(self, nova: NovaAnswers) -> None:
        self._nova = nova

    async def of(self, function: Function) -> Mapping[str, str]:
        """Return the values of a function's secrets by their names.

        Raises:
            SecretsUnavailable: nova does not answer, or not now.
            SecretsRefused: it says why there is no value.
        """
        names = sorted(set(references(function.env).values()))
        try:
            found = await self._nova.ask(function, _PATH, {"names": names}, _Resolved, within_s=_ANSWER_S)
        except NotResolved as error:
            kind = SecretsRefused if error.is_final else SecretsUnavailable
            raise kind(function.name, reason=str(error)) from error.__cause__
        return found.values


class SecretSources:
    """What instances are made of, with the values of their secrets. Implements `Sources`."""

    def __init__(self, sources: Sources, values: SecretValues) -> None:
        self._sources, self._values = sources, values

    async def acquire(self, function: Function) -> InstanceSpec:
        """Return what to boot, as the sources do.

        Raises:
            SecretsUnavailable, SecretsRefused: and as the sources.
        """
        spec = await self._sources.acquire(function)
        if not references(function.env):
            return spec
        try:
            filled = _filled(function, spec, await self._values.of(function))
        except BaseException:
            self._sources.release_nowait(spec)
            raise
        return filled

    def release_nowait(self, spec: InstanceSpec) -> None:
        self._sources.release_nowait(spec)


def _filled(function: Function, spec: InstanceSpec, values: Mapping[str, str]) -> InstanceSpec:
    env = resolved(function.env, values)
    size_bytes = sum(len(name.encode()) + len(value.encode()) for name, value in env.items())
    if size_bytes > MAX_ENV_BYTES:
        raise SecretsRefused(
            function.name, reason=f"with them its env holds {size_bytes} bytes; {MAX_ENV_BYTES} is the most"
        )
    files = {name: values[name] for name in file_names(function.env)}
    size_bytes = sum(len(text.encode()) for text in files.values())
    if size_bytes > MAX_FILES_BYTES:
        raise SecretsRefused(
            function.name, reason=f"as files they hold {size_bytes} bytes; {MAX_FILES_BYTES} is the most"
        )
    return replace(spec, env=env, secret_files=files)
