"""The operations on AI, as `calls`: functions from their arguments to their `Call`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from constellation.client.call import Call, call
from constellation.routes.models import ai as m

ANSWER_S = 660.0  # the longest that a model may think, and some


def ai_status() -> Call[m.AiStatus]:
    """Whether AI is on, and which model answers."""
    return call("ai_status", m.AiStatus)


def ai_generate(description: str, *, runtime: str = "python") -> Call[Any]:
    """Have a function written: text in pieces, then `AiEnd`."""
    body = m.AiGenerate(description=description, runtime=runtime)
    return call("ai_generate", None, body=body, timeout_s=ANSWER_S)


def ai_review(*, function: str = "", code: str = "", runtime: str = "python") -> Call[Any]:
    """Have a function, or code, reviewed."""
    body = m.AiCode(function=function, code=code, runtime=runtime)
    return call("ai_review", None, body=body, timeout_s=ANSWER_S)


def ai_explain(request_id: UUID) -> Call[Any]:
    """Have it said why a call failed."""
    return call("ai_explain", None, body=m.AiExplain(request_id=UUID(str(request_id))), timeout_s=ANSWER_S)


def ai_analyze(function: str, *, days: int = 1) -> Call[Any]:
    """Have it said what the calls of a function suffer from."""
    return call("ai_analyze", None, body=m.AiAnalyze(function=function, days=days), timeout_s=ANSWER_S)


def ai_tests(*, function: str = "", code: str = "", runtime: str = "python") -> Call[Any]:
    """Have tests written for a function, or for code."""
    body = m.AiCode(function=function, code=code, runtime=runtime)
    return call("ai_tests", None, body=body, timeout_s=ANSWER_S)
