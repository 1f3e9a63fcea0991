"""Bytes in a request's JSON, which has no other way to hold them than base64."""

from __future__ import annotations

import base64

from constellation.base.errors import InvalidRequest


def decoded(text: str, what: str, *, field: str) -> bytes:
    """Return the bytes that a text stands for. Raises `InvalidRequest`, which calls it `what`."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise InvalidRequest(f"{what} is not base64: {error}", field=field) from error
