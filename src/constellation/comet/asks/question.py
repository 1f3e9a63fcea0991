"""One ask as those see it who answer: who asks, in which call, what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from constellation.base.errors import ConstellationError, InvalidRequest
from constellation.base.ids import RequestId, uuid7
from constellation.comet.backend.contract import Call, InstanceSpec
from constellation.comet.executor.budget import Budget
from constellation.comet.executor.turn import Turn
from constellation.native.json_check import is_json
from constellation.native.link import Asked
from constellation.rpc.metadata import CallContext
from constellation.wire.gen import agent_pb2

Op = agent_pb2.Ask.Op


class CallEnded(ConstellationError):
    """What asks has outlived its call: nobody waits for what it does."""

    code, http_status = "call_ended", 409

    def __init__(self) -> None:
        super().__init__("the call in which this was asked has ended")


class AskUnknown(ConstellationError):
    """An operation that this host does not know."""

    code, http_status = "ask_unknown", 501

    def __init__(self, op: int) -> None:
        super().__init__(f"this host knows no operation {op}")


class Failed(Exception):
    """The answer is an error that some function of the tenant raised: {type, message, stack}."""

    def __init__(self, code: str, error: bytes) -> None:
        super().__init__(code)
        self.code, self.error = code, error


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """An ask whose frame was read."""

    spec: InstanceSpec  # the scope: the worker is never asked for it
    ask: Any  # agent_pb2.Ask
    budget: Budget  # what is left of the call
    depth: int
    chain: tuple[str, ...]
    traceparent: str
    turn: Turn | None

    @property
    def context(self) -> CallContext:
        """The plain facts of a call that this function makes."""
        return CallContext(
            request_id=RequestId(uuid7()),
            traceparent=self.traceparent,
            depth=self.depth + 1,
            chain=(*self.chain, self.spec.function_name),
            source="function",
        )

    def json(self) -> bytes:
        """The value that was sent.

        Raises:
            InvalidRequest: it is not JSON.
        """
        value: bytes = self.ask.value
        if not is_json(value):
            raise InvalidRequest("the value is not valid JSON", field="value")
        return value


def read(asked: Asked, *, now_s: float) -> Question:
    """Read the frame of an ask.

    Raises:
        InvalidRequest: it can not be read.
    """
    try:
        ask = agent_pb2.Ask.FromString(asked.body)
    except Exception as error:  # the parser's own class is not a public name
        raise InvalidRequest("the ask can not be read") from error
    assert isinstance(asked.link.owner, InstanceSpec)
    left_s = max(0.0, asked.until_s - now_s)
    if isinstance(asked.call, Call):  # made in Python, which knows whence it came
        origin, turn = asked.call.origin, asked.call.turn
        depth, chain, traceparent = (origin.depth, origin.chain, origin.traceparent) if origin else (0, (), "")
    else:
        turn, depth, chain = None, asked.depth, asked.chain
        traceparent = f"00-{asked.trace_id.hex()}-{asked.span_id.hex()}-01" if any(asked.trace_id) else ""
    return Question(
        spec=asked.link.owner,
        ask=ask,
        budget=Budget(asked.until_s, left_s),
        depth=depth,
        chain=chain,
        traceparent=traceparent,
        turn=turn,
    )


def ask_id_of(body: bytes) -> int:
    """Return the id of an ask that can not be read otherwise, 0 when it has none: it comes first."""
    if not body or body[0] != 0x08:
        return 0
    value = 0
    for at, byte in enumerate(body[1:6]):
        value |= (byte & 0x7F) << 7 * at
        if byte < 0x80:
            return value & 0xFFFFFFFF
    return 0


def reply(ask_id: int, value: bytes) -> bytes:
    answer: bytes = agent_pb2.Reply(id=ask_id, value=value).SerializeToString()
    return answer


def refusal(ask_id: int, error: ConstellationError | Failed) -> bytes:
    """Return the reply of an error, in the shape that every client knows."""
    if isinstance(error, Failed):
        facts = {"type": "Error", "message": "", "stack": ""} | _object(error.error) | {"code": error.code}
    else:
        facts = {"code": error.code, "type": type(error).__name__, "message": str(error)[:2048]}
    answer: bytes = agent_pb2.Reply(id=ask_id, error=msgspec.json.encode(facts)).SerializeToString()
    return answer


def _object(raw: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, dict) else {}
