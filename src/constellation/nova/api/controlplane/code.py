"""Code as it travels: one text, or paths to base64."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

import anyio
from msgspec import UNSET, UnsetType

from constellation.base.errors import InvalidRequest
from constellation.nova.domain.deploy import Source, check_source
from constellation.nova.domain.function import Code
from constellation.nova.domain.runtimes import RuntimeInfo
from constellation.routes.models.functions import CodeBody

_LARGE_CHARS = 256 << 10  # more than this takes over 1 ms to decode and to hash, so it goes to a thread
_decoding = anyio.CapacityLimiter(1)


async def source_from(
    runtime: RuntimeInfo, *, code: str | UnsetType, files: Mapping[str, str] | UnsetType, handler: str
) -> Source:
    """Return the files that a request brings.

    Raises:
        InvalidRequest, PayloadTooLarge: as `check_source`; neither or both of `code` and `files`; bad base64.
    """
    if (code is UNSET) == (files is UNSET):
        raise InvalidRequest("give exactly one of code and files", field="code")
    if isinstance(code, str):
        if not code.strip():
            raise InvalidRequest("code is blank", field="code")
        return check_source(runtime, {runtime.entry_file: code.encode()}, handler, field="code")
    assert not isinstance(files, UnsetType)
    if sum(map(len, files.values())) <= _LARGE_CHARS:
        return check_source(runtime, _decoded(files), handler)
    return check_source(runtime, await anyio.to_thread.run_sync(_decoded, files, limiter=_decoding), handler)


def _decoded(files: Mapping[str, str]) -> dict[str, bytes]:
    decoded: dict[str, bytes] = {}
    for path, text in files.items():
        try:
            decoded[path] = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidRequest(f"file {path[:80]!r} is not base64: {error}", field="files") from error
    return decoded


def code_body(code: Code) -> CodeBody:
    """Return code as the API shows it: with the text itself when there is one file of text."""
    text: str | None = None
    if len(code.files) == 1:
        (content,) = code.files.values()
        try:
            text = content.decode()
        except UnicodeDecodeError:
            text = None
    return CodeBody(
        function_id=code.function_id,
        code_version=code.version,
        code_hash=code.hash,
        files={path: base64.b64encode(content).decode("ascii") for path, content in sorted(code.files.items())},
        code=text,
    )
