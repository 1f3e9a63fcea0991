"""The routes of AI: answers come as server-sent events `piece`, then `done`, or `error` with the problem."""

from __future__ import annotations

from functools import partial

from constellation.nova.domain.access import Permission
from constellation.routes.models.ai import AiAnalyze, AiCode, AiExplain, AiGenerate, AiStatus
from constellation.routes.route import nova

P = Permission
_asking = partial(nova, streams=True, media_types=("text/event-stream",), max_body_bytes=1 << 20)

AI = (
    nova("ai_status", "GET", "/ai/status", P.AI_USE, "Whether AI is on, and which model answers", response=AiStatus),
    _asking("ai_generate", "POST", "/ai/generate", P.AI_USE, "Write a function for a description", request=AiGenerate),
    _asking("ai_review", "POST", "/ai/review", P.AI_USE, "Review a function, or code", request=AiCode),
    _asking("ai_explain", "POST", "/ai/explain", P.AI_USE,
            "Say why a call failed, from its error, its log and the sources", request=AiExplain),
    _asking("ai_analyze", "POST", "/ai/analyze", P.AI_USE,
            "Say what the calls of a function suffer from, by their figures, errors of failed ones and the sources", request=AiAnalyze),
    _asking("ai_tests", "POST", "/ai/tests", P.AI_USE, "Write tests for a function, or for code", request=AiCode),
)  # fmt: skip
