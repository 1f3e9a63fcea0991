"""How a settings field is written in the file and the environment.

Keys carry no unit; fields do. `idle_ttl_s: float = setting("idle_ttl", 60.0, kind=Kind.DURATION)` is the key
`"idle_ttl": "60s"` in its section and the variable `NOVA_<SECTION>_IDLE_TTL`. A field that is itself a dataclass is
an object of the file, `zenith.tls`, whose keys are `NOVA_ZENITH_TLS_...`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    TEXT = "text"
    INT = "integer"
    NUMBER = "number"
    BOOL = "true or false"
    DURATION = 'duration such as "30s"'
    SIZE = 'size such as "128MiB"'
    PATH = "absolute path of a file"
    URL = "URL such as https://host/v1"
    ISSUERS = "object of trusted issuers by name"
    PROVIDERS = "object of OpenID Connect providers by name"
    CERTIFICATES = 'object such as {"api.example.org": {"cert": "/path", "key": "/path"}}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the loader needs to know about one field."""

    key: str
    kind: Kind
    env: str | None  # a variable besides the derived one
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    also: tuple[str, ...]  # words that may stand where a path does
    is_secret: bool


def setting(
    key: str,
    default: Any,
    *,
    kind: Kind = Kind.TEXT,
    env: str | None = None,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    also: tuple[str, ...] = (),
    is_secret: bool = False,
) -> Any:
    """Declare one settings field; numbers outside [low, high] and texts outside `choices` are refused."""
    facts = Facts(key=key, kind=kind, env=env, low=low, high=high, choices=choices, also=also, is_secret=is_secret)
    return field(default=default, metadata={"setting": facts})
