"""A strict check that bytes are JSON, without building anything from them."""

from __future__ import annotations

from constellation.native import _core

_lib, _ffi = _core.lib, _core.ffi

DEPTH_MAX = 512  # chosen: deeper than any honest document, shallower than any parser's stack


def is_json(data: bytes) -> bool:
    """Say whether `data` is exactly one RFC 8259 value in valid UTF-8, nested at most `DEPTH_MAX` deep.

    Stricter than `json.loads`: no NaN, no byte order mark. A lone surrogate escape is well-formed by the grammar
    and passes.
    """
    result: int = _lib.ct_json_check(_ffi.from_buffer(data), len(data), DEPTH_MAX)
    return result == 0


def is_handler_error(data: bytes) -> bool:
    """Say whether `data` is the body of an error frame: an object with the texts `type`, `message` and perhaps `stack`."""
    result: int = _lib.ct_handler_error_check(_ffi.from_buffer(data), len(data), DEPTH_MAX)
    return result == 0
