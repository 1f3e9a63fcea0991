"""Secrets of a namespace: what they may be called and hold, and how a function refers to them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from constellation.base.errors import ConstellationError, InvalidRequest
from constellation.nova.domain.uses import used_by

# A variable whose whole value is one of these and a name: it holds the value, or the path of a file that does. The
# database's `secrets_in` says it too.
REFERENCE, FILE_REFERENCE = "$SECRET:", "$SECRET_FILE:"
FILES_DIR = "/run/secrets"  # in the sandbox; read-only, in memory, for the function's user alone
MAX_FILES_BYTES = 32 << 10  # chosen: of a function; they travel with the plan of its sandbox
MAX_VALUE_BYTES = 64 << 10  # chosen: a certificate chain with its key is a tenth of it
MAX_RESOLVED = 256  # chosen: secrets of one function
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A value as it is stored: encrypted with a key of its own, which is encrypted with a master key."""

    key_version: int  # of the master key
    key: bytes = field(repr=False)
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """One row of `secrets`, without its value."""

    tenant: str
    namespace: str
    name: str
    key_version: int
    version: int  # moves with each new value
    created_at: datetime
    updated_at: datetime  # when the value was set
    functions: tuple[str, ...]  # the first of those that use it, by name
    functions_count: int


class SecretInUse(ConstellationError):
    """A function refers to the secret, or a version that is kept of one, so it stays."""

    code, http_status = "secret_in_use", 409

    def __init__(
        self,
        name: str,
        *,
        functions: tuple[str, ...],
        functions_count: int,
        versions: tuple[str, ...],
        versions_count: int,
    ) -> None:
        super().__init__(
            used_by(
                f"secret {name!r}",
                functions=functions,
                functions_count=functions_count,
                versions=versions,
                versions_count=versions_count,
            ),
            extras={"name": name, "functions": list(functions), "versions": list(versions)},
        )


class SecretUnknown(ConstellationError):
    """A function refers to a secret that its namespace does not have."""

    code, http_status = "secret_unknown", 422

    def __init__(self, name: str = "", *, variable: str = "") -> None:
        whose = f"env {variable}: secret {name!r}" if variable else "a secret that env names"
        super().__init__(f"{whose} does not exist in this namespace; keep it first (PUT /secrets/NAME)")
        self.extras = {"field": f"env.{variable}", "name": name} if variable else {"field": "env"}


def check_secret_name(name: str, *, field: str = "name") -> str:
    """Return a secret's name, or raise `InvalidRequest`."""
    if _NAME.fullmatch(name) is None:
        raise InvalidRequest(
            f"secret {name[:80]!r} must be 1 to 64 of letters, digits, '.', '_' and '-', beginning with a letter or digit",
            field=field,
        )
    return name


def check_value(value: str) -> bytes:
    """Return a value's bytes, or raise `InvalidRequest`, which does not repeat it."""
    try:
        data = value.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest("a secret's value must be text", field="value") from error
    if not 1 <= len(data) <= MAX_VALUE_BYTES:
        raise InvalidRequest(f"a secret's value must have 1 to {MAX_VALUE_BYTES} bytes, not {len(data)}", field="value")
    if b"\0" in data:
        raise InvalidRequest("a secret's value can not hold a NUL: no environment variable can", field="value")
    return data


def references(env: Mapping[str, str]) -> dict[str, str]:
    """Return which variables stand for which secrets."""
    return {
        variable: value.partition(":")[2]
        for variable, value in env.items()
        if value.startswith((REFERENCE, FILE_REFERENCE))
    }


def file_names(env: Mapping[str, str]) -> list[str]:
    """Return which secrets are shown as files."""
    return sorted({name for variable, name in references(env).items() if env[variable].startswith(FILE_REFERENCE)})


def check_references(env: Mapping[str, str]) -> None:
    """Let variables through whose references could name secrets, or raise `InvalidRequest`."""
    found = references(env)
    if len(set(found.values())) > MAX_RESOLVED:
        raise InvalidRequest(f"env names more than {MAX_RESOLVED} secrets", field="env")
    for variable, name in found.items():
        if _NAME.fullmatch(name) is None:
            raise InvalidRequest(
                f'env {variable}: "{env[variable].partition(":")[0]}:" must be followed by the name of a secret and nothing else',
                field="env",
            )


def resolved(env: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with the values, or the paths, of the secrets that they stand for."""
    names = references(env)

    def filled(variable: str, value: str) -> str:
        if variable not in names:
            return value
        name = names[variable]
        return f"{FILES_DIR}/{name}" if value.startswith(FILE_REFERENCE) else values[name]

    return {variable: filled(variable, value) for variable, value in env.items()}
