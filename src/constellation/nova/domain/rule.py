"""Which functions an identity may invoke, in the form that the core in C reads (native/src/base/rule.h)."""

from __future__ import annotations

import re
from functools import lru_cache

from constellation.nova.domain.access import Identity, Permission
from constellation.nova.domain.globs import fits

MAX_RULE_BYTES = 4096  # what the core takes; whose patterns are more is judged in Python
_PIECES = re.compile(r"\[!?[A-Za-z0-9._-]+\]|[A-Za-z0-9._*?-]")
_ASCII = range(128)


def invoke_rule(identity: Identity) -> bytes | None:
    """Return the rule; b"" is every function. None: it may invoke none, or only Python can tell which."""
    if Permission.FUNCTION_INVOKE in identity.permissions:
        return b""
    limit = identity.limit_of(Permission.FUNCTION_INVOKE)
    return None if limit is None else packed(limit.only, limit.never)


@lru_cache(maxsize=4096)
def packed(only: tuple[str, ...], never: tuple[str, ...]) -> bytes | None:
    """Return the rule of names that fit one of `only` and none of `never`; None: it has no such form."""
    globs = [_glob(pattern) for pattern in only + never]
    if len(only) > 255 or None in globs:
        return None
    rule = bytes([len(only)]) + b"".join(len(glob).to_bytes(2, "big") + glob for glob in globs if glob is not None)
    return rule if len(rule) <= MAX_RULE_BYTES else None


def _glob(pattern: str) -> bytes | None:
    pieces = _PIECES.findall(pattern)
    if "".join(pieces) != pattern:
        return None
    return b"".join(piece.encode() if len(piece) == 1 else b"[" + _set(piece) for piece in pieces)


def _set(piece: str) -> bytes:
    """Return the bits of the characters that fit: what a set means is said once, by `fits`."""
    held = sum(1 << code for code in _ASCII if fits(piece, chr(code)))
    return held.to_bytes(16, "little")
