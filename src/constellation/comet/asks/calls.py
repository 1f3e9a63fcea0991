"""Calls of one function by another: through the same guard chain as any, in the caller's tenant and namespace.

What led here comes from the call in hand, not from the function, so depth and cycles can not be argued away.
"""

from __future__ import annotations

import msgspec

from constellation.comet.asks.question import Failed, Question
from constellation.comet.executor.budget import Budget
from constellation.comet.executor.executor import EMPTY_PAYLOAD, Executor
from constellation.nova.domain.access import Identity, Permission
from constellation.nova.domain.names import check_function_name
from constellation.rpc.caller import Caller
from constellation.rpc.invoker import AsyncOptions

_MAY_INVOKE = frozenset({Permission.FUNCTION_INVOKE})


class CallAnswers:
    """Runs what functions call."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def invoke(self, question: Question) -> bytes:
        ask = question.ask
        limit = question.budget
        if ask.for_ms:
            until_s = limit.until_s - max(0.0, limit.given_s - ask.for_ms / 1000)
            limit = Budget(until_s, min(limit.given_s, ask.for_ms / 1000))
        answer = await self._executor.invoke(
            caller_of(question), check_function_name(ask.name), ask.value, budget=limit
        )
        if answer.error is not None:
            raise Failed("function_error", answer.error)
        return b'{"output":' + (answer.output or b"null") + b"}"

    async def invoke_async(self, question: Question) -> bytes:
        options = AsyncOptions(source=f"function/{question.spec.function_name}")
        enqueued = await self._executor.invoke_async(
            caller_of(question),
            check_function_name(question.ask.name),
            question.ask.value or EMPTY_PAYLOAD,
            options,
            budget=question.budget,
        )
        return msgspec.json.encode({"id": str(enqueued.job.id)})


def caller_of(question: Question) -> Caller:
    """Return a function as one that calls: it may do so in its scope, as far from the first caller as it is itself."""
    spec = question.spec
    identity = Identity(
        tenant=spec.tenant,
        namespace=spec.namespace,
        subject=f"function:{spec.function_name}",
        permissions=_MAY_INVOKE,
        is_platform_admin=False,
        expires_at_s=0,  # it never leaves this process
    )
    return Caller(identity=identity, token="", context=question.context)
