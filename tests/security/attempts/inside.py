"""An attempt made by a function, through the platform, as any caller's call."""

from __future__ import annotations

import errno
import json
import re
from typing import Any

from constellation.base.ids import uuid7
from constellation.comet.backend.contract import Call, CallTimeout, Instance, InstanceDied, Outcome, OutputInvalid
from tests.security.attempts.control import source_of
from tests.security.attempts.table import Attempt

FUNCTION = """
def handler(event, context):
    space = {"__name__": "attempt"}
    exec(event["source"], space)
    return space[event["act"]](*event["arguments"])
"""


async def ask(instance: Instance, source: str, act: str, *arguments: Any, timeout_s: float = 20) -> Outcome:
    event = {"source": source, "act": act, "arguments": arguments}
    return await instance.invoke(Call(request_id=uuid7(), payload=json.dumps(event).encode(), timeout_s=timeout_s))


async def try_inside(attempt: Attempt, instance: Instance, at: dict[str, Any]) -> tuple[str, str]:
    """Return the verdict in one word, and all that the platform said about it."""
    source = source_of(attempt)
    try:
        outcome = await ask(instance, source, attempt.act.__name__, at, timeout_s=attempt.timeout_s)
    except CallTimeout as error:
        return error.code, str(error)
    except OutputInvalid as error:
        return error.code, str(error)
    except InstanceDied as error:
        return error.cause.split(":")[0], str(error)
    if attempt.judge is not None:
        return attempt.judge(outcome), str(outcome)[:500]
    if outcome.error is None:
        return "got", (outcome.output or b"")[:500].decode()
    told = json.loads(outcome.error)
    number = re.search(r"\[Errno (\d+)\]", told["message"])
    word = errno.errorcode[int(number[1])] if number else told["type"]
    return word, f"{told['type']}: {told['message']}"
