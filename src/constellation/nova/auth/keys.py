"""Fresh API keys."""

from __future__ import annotations

import secrets

from constellation.nova.domain.credentials import KEY_LENGTH, KEY_LETTERS, KEY_PREFIX


def new_key() -> str:
    """Return a key that nobody has seen; it is shown once and stored as its hash."""
    return KEY_PREFIX + "".join(secrets.choice(KEY_LETTERS) for _ in range(KEY_LENGTH))
