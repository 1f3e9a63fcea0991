"""Code as it travels: one text, paths to base64, or an archive."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import anyio
from msgspec import UNSET, UnsetType

from constellation.base.errors import InvalidRequest
from constellation.nova.api.controlplane.encoded import decoded
from constellation.nova.domain.archive import unpack
from constellation.nova.domain.deploy import Source, check_source, image_source, runtime_of
from constellation.nova.domain.function import Code
from constellation.nova.domain.runtimes import IMAGE, RuntimeInfo
from constellation.routes.models.functions import CodeBody

_LARGE_CHARS = 256 << 10  # more than this takes over 1 ms to decode and to hash, so it goes to a thread
_decoding = anyio.CapacityLimiter(1)


def runtime_for(runtime: str | UnsetType, *, image: str | UnsetType) -> RuntimeInfo:
    """Return what a new function runs on: what it says, or `image` where it brings one.

    Raises:
        InvalidRequest: an unknown one, none, or another than the image's.
    """
    if isinstance(runtime, UnsetType):
        if image is UNSET:
            raise InvalidRequest("give runtime, or an image", field="runtime")
        return IMAGE
    found = runtime_of(runtime)
    if image is not UNSET and found is not IMAGE:
        raise InvalidRequest(f"an image brings its own runtime: leave runtime {found.id} out", field="runtime")
    return found


async def source_for(
    runtime: RuntimeInfo,
    *,
    code: str | UnsetType,
    files: Mapping[str, str] | UnsetType,
    archive: str | UnsetType,
    image: str | UnsetType,
    handler: str | UnsetType,
) -> Source:
    """Return what a request brings of a function: files, or an image.

    Raises:
        InvalidRequest, PayloadTooLarge: as `source_from`; both of them, or what this runtime has no use for.
    """
    if runtime is not IMAGE:
        if image is not UNSET:
            raise InvalidRequest(
                f"a function of runtime {runtime.id} keeps its runtime; deploy the image as another", field="image"
            )
        known = runtime.default_handler if isinstance(handler, UnsetType) else handler
        return await source_from(runtime, code=code, files=files, archive=archive, handler=known)
    for field, given in (("code", code), ("files", files), ("archive", archive)):
        if given is not UNSET:
            raise InvalidRequest("give either an image or code, not both", field=field)
    if handler is not UNSET:
        raise InvalidRequest("an image has no handler: each call is a POST to its server", field="handler")
    if isinstance(image, UnsetType):
        raise InvalidRequest("runtime image needs an image", field="image")
    return image_source(image)


async def source_from(
    runtime: RuntimeInfo,
    *,
    code: str | UnsetType,
    files: Mapping[str, str] | UnsetType,
    archive: str | UnsetType = UNSET,
    handler: str,
) -> Source:
    """Return the files that a request brings.

    Raises:
        InvalidRequest, PayloadTooLarge: as `check_source` and `unpack`; none or several of code, files and archive; bad base64.
    """
    if [code, files, archive].count(UNSET) != 2:
        raise InvalidRequest("give exactly one of code, files and archive", field="code")
    if isinstance(code, str):
        if not code.strip():
            raise InvalidRequest("code is blank", field="code")
        return check_source(runtime, {runtime.entry_file: code.encode()}, handler, field="code")
    if isinstance(archive, str):
        unpacked = await anyio.to_thread.run_sync(_unpacked, archive, limiter=_decoding)
        return check_source(runtime, unpacked, handler, field="archive")
    assert not isinstance(files, UnsetType)
    if sum(map(len, files.values())) <= _LARGE_CHARS:
        return check_source(runtime, _decoded(files), handler)
    return check_source(runtime, await anyio.to_thread.run_sync(_decoded, files, limiter=_decoding), handler)


def _unpacked(archive: str) -> dict[str, bytes]:
    return unpack(decoded(archive, "archive", field="archive"))


def _decoded(files: Mapping[str, str]) -> dict[str, bytes]:
    return {path: decoded(text, f"file {path[:80]!r}", field="files") for path, text in files.items()}


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
