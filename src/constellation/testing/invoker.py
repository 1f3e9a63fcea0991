"""Comet as a script: what each call answers is a function of the test's choice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio

from constellation.base.errors import DeadlineExceeded, NotFound
from constellation.nova.domain.execution import Run
from constellation.rpc.invoker import Accepted, AsyncOptions, Invoked
from constellation.rpc.metadata import CallContext


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call as comet would see it."""

    function: str
    payload: bytes
    token: str
    context: CallContext


Answer = Callable[[Call], Awaitable[Invoked]]
Accept = Callable[[Call, AsyncOptions], Awaitable[Accepted]]


def returned(output: bytes, call: Call, *, duration_ms: float = 1.0) -> Invoked:
    """The answer of a handler that returned."""
    return Invoked(
        request_id=str(call.context.request_id),
        output=output,
        error=None,
        duration_ms=duration_ms,
        cold_start=False,
        version="1",
    )


def raised(error: bytes, call: Call, *, duration_ms: float = 1.0) -> Invoked:
    """The answer of a handler that raised."""
    return Invoked(
        request_id=str(call.context.request_id),
        output=None,
        error=error,
        duration_ms=duration_ms,
        cold_start=False,
        version="1",
    )


class ScriptedInvoker:
    """An `Invoker` whose functions are coroutines of the test; an unknown name does not exist."""

    def __init__(self, functions: dict[str, Answer] | None = None, *, accept: Accept | None = None) -> None:
        self._functions, self._accept = functions or {}, accept

    async def invoke(
        self, function: str, payload: bytes, *, token: str, context: CallContext, timeout_s: float
    ) -> Invoked:
        answer = self._functions.get(function)
        if answer is None:
            raise NotFound("function", function)
        try:
            with anyio.fail_after(timeout_s):
                return await answer(Call(function=function, payload=payload, token=token, context=context))
        except TimeoutError as error:
            raise DeadlineExceeded(function, after_s=timeout_s) from error

    async def invoke_durable(
        self, function: str, payload: bytes, *, run: Run, token: str, context: CallContext, timeout_s: float
    ) -> Invoked | None:
        assert run.token  # whose steps nobody records here: it runs from the top each time
        return await self.invoke(function, payload, token=token, context=context, timeout_s=timeout_s)

    async def invoke_async(
        self,
        function: str,
        payload: bytes,
        *,
        token: str,
        context: CallContext,
        options: AsyncOptions,
        timeout_s: float,
    ) -> Accepted:
        if self._accept is None:
            raise NotFound("function", function)
        try:
            with anyio.fail_after(timeout_s):
                return await self._accept(
                    Call(function=function, payload=payload, token=token, context=context), options
                )
        except TimeoutError as error:
            raise DeadlineExceeded(function, after_s=timeout_s) from error
