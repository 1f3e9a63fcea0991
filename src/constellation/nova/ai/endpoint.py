"""An OpenAI-compatible endpoint: chat completions, as they are written. Whatever it answers is bounded and never trusted.

Its address is the operator's alone, it is not led elsewhere by a redirect or a proxy of the environment, and nothing of what
it says of an error is passed on: it may repeat the key.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
import httpx
import msgspec

from constellation.base.errors import ConstellationError, DeadlineExceeded
from constellation.nova.ai.prompts import Message

CONNECT_S = 5.0  # chosen
MAX_LINE_BYTES = 1 << 20  # chosen: one piece of an answer has some hundred bytes
MAX_READ_BYTES = 16 << 20  # chosen: pieces have some hundred bytes of JSON around a few of text
MAX_ANSWER_CHARS = 200_000  # chosen: over 40,000 tokens
DONE = "[DONE]"


class AiRefused(ConstellationError):
    """The endpoint does not take the key, the model or the request."""

    code, http_status = "ai_endpoint_refused", 502

    def __init__(self, status: int) -> None:
        what = {
            401: "the key (ai.key)",
            403: "the key (ai.key)",
            404: "the model (ai.model) or the address (ai.base_url)",
        }
        super().__init__(f"the AI endpoint refuses {what.get(status, 'the request')}: it answered {status}")


class AiBusy(ConstellationError):
    """The endpoint has more to do than it takes."""

    code, http_status, retryable = "ai_endpoint_busy", 503, True

    def __init__(self, *, retry_after_s: int) -> None:
        super().__init__("the AI endpoint takes no more requests now", retry_after_s=retry_after_s)


class AiFailed(ConstellationError):
    """The endpoint can not be reached, failed, or answers what is no chat completion."""

    code, http_status, retryable = "ai_endpoint_failed", 502, True

    def __init__(self, reason: str) -> None:
        super().__init__(f"the AI endpoint: {reason}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """One request, and its bounds."""

    base_url: str
    model: str
    key: str  # "": none is sent
    messages: Sequence[Message]
    max_tokens: int
    timeout_s: float

    def __repr__(self) -> str:  # the key is nobody's to print
        return f"Asking({self.model})"


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How an answer ended."""

    is_cut: bool  # it is longer than was taken


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice]


class Endpoint:
    """Connections to wherever the settings say; `close` when nobody asks any more."""

    def __init__(self, *, now_s: Callable[[], float] = anyio.current_time) -> None:
        self._now_s = now_s
        self._http = httpx.AsyncClient(
            trust_env=False,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=32, max_keepalive_connections=4),
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def ask(self, asking: Asking) -> AsyncGenerator[str | End, None]:
        """Return the answer piece by piece, when it has begun; the last is how it ended.

        Raises:
            AiRefused, AiBusy, AiFailed
            DeadlineExceeded: it did not begin in time. The iterator raises the same when it does not end in time.
        """
        until_s = self._now_s() + asking.timeout_s
        response = await self._begun(asking)
        pieces = self._pieces(response, asking, until_s=until_s)
        await anext(pieces)  # it has begun: whoever drops it now closes the connection
        return pieces

    async def _begun(self, asking: Asking) -> httpx.Response:
        headers = {"accept": "text/event-stream, application/json"}
        if asking.key:
            headers["authorization"] = f"Bearer {asking.key}"
        body: dict[str, Any] = {
            "model": asking.model,
            "messages": [{"role": each.role, "content": each.content} for each in asking.messages],
            "max_tokens": asking.max_tokens,
            "stream": True,
        }
        try:
            request = self._http.build_request(
                "POST",
                f"{asking.base_url.rstrip('/')}/chat/completions",
                json=body,
                headers=headers,
                timeout=httpx.Timeout(asking.timeout_s, connect=min(CONNECT_S, asking.timeout_s)),
            )
            with anyio.fail_after(asking.timeout_s):
                response = await self._http.send(request, stream=True)
        except (httpx.TimeoutException, TimeoutError) as error:
            raise DeadlineExceeded("the AI endpoint", after_s=asking.timeout_s) from error
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise AiFailed(f"it can not be reached ({type(error).__name__})") from None
        if response.status_code == 200:
            return response
        await response.aclose()
        raise _refusal(response)

    async def _pieces(
        self, response: httpx.Response, asking: Asking, *, until_s: float
    ) -> AsyncGenerator[str | End, None]:
        reading = _Reading(is_events="text/event-stream" in response.headers.get("content-type", ""))
        chunks = response.aiter_bytes()
        try:
            yield ""
            while not reading.is_over:
                try:
                    with anyio.fail_after(until_s - self._now_s()):
                        chunk = await anext(chunks, None)
                except TimeoutError as error:
                    raise DeadlineExceeded("the AI endpoint", after_s=asking.timeout_s) from error
                except (httpx.HTTPError, httpx.StreamError) as error:
                    raise AiFailed(f"its answer broke off ({type(error).__name__})") from None
                for text in reading.end() if chunk is None else reading.feed(chunk):
                    yield text
            yield End(is_cut=reading.is_cut)
        finally:
            with anyio.move_on_after(1.0, shield=True):
                await response.aclose()


class _Reading:
    """An answer as it comes: events, or one JSON document from an endpoint that does not stream."""

    def __init__(self, *, is_events: bool) -> None:
        self._is_events = is_events
        self._rest = b""
        self._read_bytes = self._chars = 0
        self.is_over = self.is_cut = False

    def feed(self, chunk: bytes) -> list[str]:
        self._read_bytes += len(chunk)
        *lines, self._rest = (self._rest + chunk).split(b"\n") if self._is_events else (self._rest + chunk,)
        if self._read_bytes > MAX_READ_BYTES or len(self._rest) > MAX_LINE_BYTES:
            return self._cut()
        return self._taken(lines)

    def end(self) -> list[str]:
        if not self._is_events:
            self.is_over = True
            return [self._bounded(text)] if (text := _text_of(self._rest)) else []
        found = self._taken([self._rest])
        if not self.is_over:
            raise AiFailed("its answer broke off")
        return found

    def _taken(self, lines: Sequence[bytes]) -> list[str]:
        found = []
        for line in lines:
            if self.is_over:
                break
            data = line.strip().removeprefix(b"data:").strip()
            if not line.lstrip().startswith(b"data:") or not data:
                continue
            if data == DONE.encode():
                self.is_over = True
            elif text := _text_of(data):
                found.append(self._bounded(text))
        return found

    def _bounded(self, text: str) -> str:
        left = MAX_ANSWER_CHARS - self._chars
        self._chars += len(text)
        if len(text) > left:
            self._cut()
        return text[:left]

    def _cut(self) -> list[str]:
        self.is_over = self.is_cut = True
        return []


def _text_of(data: bytes) -> str:
    try:
        found = msgspec.json.decode(data, type=_Completion)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise AiFailed("what it answers is no chat completion") from None
    parts = [part.content or "" for choice in found.choices for part in (choice.delta, choice.message) if part]
    return "".join(parts)


def _refusal(response: httpx.Response) -> ConstellationError:
    status = response.status_code
    if status in (429, 503):
        after = response.headers.get("retry-after", "")
        return AiBusy(
            retry_after_s=min(int(after), 3600) if after.isascii() and after.isdigit() and len(after) < 8 else 5
        )
    if 400 <= status < 500:
        return AiRefused(status)
    return AiFailed(f"it answered {status}")
