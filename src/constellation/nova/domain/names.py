"""What names may look like."""

from __future__ import annotations

import re

from constellation.base.errors import InvalidRequest

# As OpenAPI tells them, too.
SCOPE = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
FUNCTION = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
_SCOPE, _FUNCTION = re.compile(SCOPE), re.compile(FUNCTION)
DEFAULT_TENANT = "default"
DEFAULT_NAMESPACE = "default"


def check_scope_name(kind: str, name: str) -> str:
    """Return a tenant's or namespace's name, or raise `InvalidRequest`."""
    if _SCOPE.fullmatch(name) is None:
        raise InvalidRequest(
            f"{kind} {name[:80]!r} must be 1 to 64 of letters, digits, '.', '_' and '-', beginning with a letter or digit",
            field=kind,
        )
    return name


def check_function_name(name: str) -> str:
    """Return a function's (or a key's) name, or raise `InvalidRequest`."""
    if _FUNCTION.fullmatch(name) is None:
        raise InvalidRequest(
            f"name {name[:80]!r} must be 1 to 64 of letters, digits, '_' and '-', beginning with a letter or digit",
            field="name",
        )
    return name
