"""Takes out of a text what must not leave the platform: values of secrets and of variables, and what looks like a key."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping
from urllib.parse import quote

from constellation.aurora.logging.setup import HIDDEN, hide

MIN_ENV_CHARS = 6  # chosen: a variable's shorter value is a number or a switch; of secrets every value is taken out
MIN_LINE_CHARS = 8  # of a secret with several lines, such as a PEM key, each line by itself


def hidden_texts(secrets: Iterable[str], env: Mapping[str, str]) -> tuple[str, ...]:
    """Return every form in which the values may stand in a text, the longest first."""
    found: set[str] = set()
    for secret in secrets:
        found |= _forms(secret)
        found |= {line.strip() for line in secret.splitlines() if len(line.strip()) >= MIN_LINE_CHARS}
    for value in env.values():
        if len(value) >= MIN_ENV_CHARS:
            found |= _forms(value)
    return tuple(sorted(found - {""}, key=len, reverse=True))


def scrubbed(text: str, hidden: Iterable[str]) -> str:
    """Return a text without any of what is hidden."""
    for each in hidden:
        text = text.replace(each, HIDDEN)
    return hide(text)


def _forms(value: str) -> set[str]:
    encoded = b64encode(value.encode()).decode()
    return {value, value.strip(), quote(value, safe=""), json.dumps(value)[1:-1], encoded, encoded.rstrip("=")}
