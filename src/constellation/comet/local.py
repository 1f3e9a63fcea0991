"""Comet's executor inside another plane's process: what corona and nebula run on when no comet is given.

The one part of comet that other planes may import (architecture section 12).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from constellation.aurora.observability.plane import PlaneContext
from constellation.base.clock import Clock
from constellation.comet.executor.budget import budget
from constellation.comet.executor.executor import Executor
from constellation.comet.executor.turn import Turn
from constellation.native.reactor import Reactor
from constellation.nova.config.load import Loaded
from constellation.nova.domain.execution import Run
from constellation.nova.domain.identity import VerifiedTokens
from constellation.nova.store.pool import connect_as
from constellation.rpc.caller import Caller
from constellation.rpc.invoker import Accepted, AsyncOptions, Invoked
from constellation.rpc.metadata import CallContext


class LocalInvoker:
    """`rpc.invoker.Invoker` over an executor in this process; it trusts tokens as the gRPC side does."""

    def __init__(self, executor: Executor, *, identity_key: bytes, clock: Clock) -> None:
        self._executor, self._clock = executor, clock
        self._tokens = VerifiedTokens(identity_key)

    async def invoke(
        self, function: str, payload: bytes, *, token: str, context: CallContext, timeout_s: float
    ) -> Invoked:
        limit = budget(self._clock.monotonic_s(), deadline_s=timeout_s)
        return await self._executor.invoke(self._caller(token, context), function, payload, budget=limit)

    async def invoke_durable(
        self, function: str, payload: bytes, *, run: Run, token: str, context: CallContext, timeout_s: float
    ) -> Invoked | None:
        limit = budget(self._clock.monotonic_s(), deadline_s=timeout_s)
        caller = self._caller(token, context)
        return await self._executor.invoke_durable(caller, function, payload, Turn(run), budget=limit)

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
        limit = budget(self._clock.monotonic_s(), deadline_s=timeout_s)
        caller = self._caller(token, context)
        enqueued = await self._executor.invoke_async(caller, function, payload, options, budget=limit)
        return Accepted(id=str(enqueued.job.id), is_replay=enqueued.is_replay)

    def _caller(self, token: str, context: CallContext) -> Caller:
        identity = self._tokens.identity(token, now_s=self._clock.now().timestamp())
        return Caller(identity=identity, token=token, context=context)


@asynccontextmanager
async def local_executor(context: PlaneContext, loaded: Loaded) -> AsyncIterator[LocalInvoker]:
    """Run an executor for the length of the block; on leaving, calls in hand are finished as comet would.

    It reads code and writes the invocation log, so it connects in comet's role, not in that of its plane.
    """
    from constellation.comet.app import execution_plane  # noqa: PLC0415  # keeps quart and grpc out of a plane without it

    settings = loaded.settings
    dsn = await context.dsn(loaded.own_dsn, role="comet")
    reactor = Reactor()
    with reactor.turning():
        async with (
            connect_as(dsn, settings.postgres, application=f"{context.plane} local comet") as db,
            execution_plane(context, settings, reactor, db=db, dsn=dsn) as plane,
        ):
            yield LocalInvoker(plane.executor, identity_key=context.identity_key, clock=context.clock)
            await plane.executor.drain(within_s=settings.comet.drain_s)
