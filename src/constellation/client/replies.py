"""From an HTTP answer to a typed value or an `ApiProblem`; no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar, cast

import msgspec

from constellation.client.call import Call
from constellation.client.failures import ApiProblem, BadReply

T = TypeVar("T")
_MAX_DETAIL_CHARS = 300  # chosen: a foreign error page is quoted, not printed whole


def read(call: Call[T], *, server: str, status: int, content: bytes, headers: Mapping[str, str]) -> T:
    """Return the typed answer.

    Raises:
        ApiProblem: the status is not 2xx.
        BadReply: the body is not of the promised type.
    """
    if not 200 <= status <= 299:
        raise problem_of(status, content, headers)
    if call.reply is None:
        return cast("T", None)
    try:
        return cast("T", msgspec.json.decode(content, type=call.reply))
    except msgspec.MsgspecError as error:
        raise BadReply(server, call.route.operation, reason=str(error)) from error


def problem_of(status: int, content: bytes, headers: Mapping[str, str]) -> ApiProblem:
    """Return the problem that an answer states; a body that is none becomes the detail."""
    body = _object(content)
    code, detail = body.get("code"), body.get("detail")
    after = body.get("retry_after_s")
    if not isinstance(after, int):
        text = headers.get("retry-after", "")
        after = int(text) if text.isascii() and text.isdigit() else None
    if not isinstance(detail, str):
        detail = content[: 4 * _MAX_DETAIL_CHARS].decode("utf-8", "replace").strip()[:_MAX_DETAIL_CHARS]
    return ApiProblem(
        detail or "no details were given",
        status=status,
        code=code if isinstance(code, str) else f"http_{status}",
        retry_after_s=after,
        body=body,
    )


def _object(content: bytes) -> dict[str, object]:
    try:
        body = msgspec.json.decode(content)
    except msgspec.MsgspecError:
        return {}
    return body if isinstance(body, dict) else {}
