"""Aliases: names under which versions of a function are called, each with its share of the calls. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from constellation.base.errors import InvalidRequest

MAX_ALIASES = 32  # of a function; chosen: environments and experiments, not users
MAX_SHARES = 16  # of an alias; what the table in C takes
WHOLE = 100  # the weights of an alias together: they are percent
LATEST = "$LATEST"  # the live version, by its other name
MAX_QUALIFIER_CHARS = 64
MAX_NUMBER_DIGITS = 9  # of a version; below what the column holds
MAX_KEY_CHARS = 128  # of what keeps a caller at one version
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What part of an alias's calls a version gets."""

    version: int
    weight: int  # percent


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """A name of a function's versions."""

    name: str
    shares: tuple[Share, ...]  # by version, ascending: who was moved to a newer one stays while that grows
    is_sticky: bool = False  # calls with equal keys get the same version
    description: str = ""
    version: int = 1  # of the row
    created_at: datetime | None = None  # both are None until the row is written
    updated_at: datetime | None = None

    @property
    def versions(self) -> frozenset[int]:
        return frozenset(share.version for share in self.shares)


def check_alias_name(name: str) -> str:
    """Return a name that no version's number can be; raise `InvalidRequest` for others."""
    if _NAME.fullmatch(name) is None:
        raise InvalidRequest(
            f"alias {name[:80]!r} must begin with a letter and have at most 64 letters, digits, '_' and '-'",
            field="alias",
        )
    return name


def check_qualifier(text: str, *, field: str = "qualifier") -> str:
    """Return what a call may name, "" for the live version; raise `InvalidRequest` for what no version can be."""
    if text in ("", LATEST):
        return ""
    if text.isascii() and text.isdigit() and text[0] != "0" and len(text) <= MAX_NUMBER_DIGITS:
        return text
    if _NAME.fullmatch(text) is None:
        raise InvalidRequest(f"qualifier {text[:80]!r} is no version's number and no alias", field=field)
    return text


def target_of(text: str) -> tuple[str, str]:
    """Return the function that a target names, and the version or alias of it ("": the live version).

    Raises:
        InvalidRequest: the part behind the colon can be neither.
    """
    name, colon, qualifier = text.partition(":")
    if colon and not qualifier:
        raise InvalidRequest(f"{text[:80]!r} names no version and no alias behind its colon", field="function")
    return name, check_qualifier(qualifier, field="function")


def target(name: str, qualifier: str) -> str:
    """Return the text that `target_of` reads."""
    return f"{name}:{qualifier}" if qualifier else name


def shares_of(weights: Mapping[int, int]) -> tuple[Share, ...]:
    """Return the shares that weights by version mean.

    Raises:
        InvalidRequest: they are not percent that make up the whole, or there are too many.
    """
    if not 1 <= len(weights) <= MAX_SHARES:
        raise InvalidRequest(f"weights must name 1 to {MAX_SHARES} versions, not {len(weights)}", field="weights")
    if any(not 0 <= weight <= WHOLE for weight in weights.values()) or sum(weights.values()) != WHOLE:
        raise InvalidRequest(
            f"weights must be percent that make {WHOLE} together, not {sum(weights.values())}", field="weights"
        )
    return tuple(Share(version=version, weight=weights[version]) for version in sorted(weights))
