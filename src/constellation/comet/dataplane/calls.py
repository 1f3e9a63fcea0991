"""Durable calls over data-plane routes."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import UNSET

from constellation.comet.dataplane.jobs import body_of
from constellation.comet.dataplane.request import Answer, DataRequest
from constellation.comet.executor.executor import Executor
from constellation.comet.qualified import divided, qualified
from constellation.nova.domain.job import Job
from constellation.nova.domain.names import check_function_name
from constellation.routes.models.executions import DurableInvoke
from constellation.routes.models.invocations import AsyncInvoke
from constellation.routes.models.statistics import Prewarm, Prewarmed
from constellation.rpc.invoker import AsyncOptions


class CallRoutes:
    """Operations that run functions."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def invoke_async(self, request: DataRequest) -> Answer:
        wanted: AsyncInvoke = request.json(AsyncInvoke)
        return await accepted(request, self._executor, wanted, body_of, below="/async-invocations")

    async def prewarm(self, request: DataRequest) -> Prewarmed:
        wanted: Prewarm = request.json(Prewarm)
        name = request.function
        counts = await self._executor.prewarm(request.caller, name, target=wanted.target, budget=request.budget)
        return Prewarmed(function=name, ready=counts.idle + counts.busy, booting=counts.booting)


async def accepted(
    request: DataRequest,
    executor: Executor,
    wanted: AsyncInvoke | DurableInvoke,
    show: Callable[[Job], object],
    *,
    below: str,
) -> Answer:
    """Accept a call that runs later; answer with where it is found, and whether its key was bound to it before."""
    options = AsyncOptions(
        max_attempts=wanted.max_attempts,
        backoff_base_ms=wanted.backoff_base_ms,
        backoff_max_ms=wanted.backoff_max_ms,
        idempotency_key=request.idempotency_key(wanted.idempotency_key),
        idempotency_ttl_s=wanted.idempotency_ttl_s,
    )
    payload = b"" if wanted.payload is UNSET else bytes(wanted.payload)
    is_durable = isinstance(wanted, DurableInvoke)
    name, qualifier = divided(request.params["name"], request.qualifier)
    enqueued = await executor.invoke_async(
        qualified(request.caller, qualifier),
        check_function_name(name),
        payload,
        options,
        budget=request.budget,
        is_durable=is_durable,
    )
    headers = {"Location": f"{below}/{enqueued.job.id}"}
    if enqueued.is_replay:
        headers["X-Idempotency-Status"] = "replay"
    return Answer(body=show(enqueued.job), status=200 if enqueued.is_replay else 202, headers=headers)
