"""Durable executions: begun, looked up with their steps, sent events, ended."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from constellation.base.clock import Clock
from constellation.base.errors import InvalidRequest, PayloadTooLarge
from constellation.comet.dataplane.calls import accepted
from constellation.comet.dataplane.jobs import raw
from constellation.comet.dataplane.request import Answer, DataRequest, function_of
from constellation.comet.executor.executor import Executor
from constellation.native.json_check import is_json
from constellation.nova.domain.alias import check_qualifier
from constellation.nova.domain.execution import MAX_STEP_BYTES, ExecutionStatus, Step, check_step_name, status_of
from constellation.nova.domain.job import Job, JobStatus
from constellation.nova.store.jobs import Jobs
from constellation.nova.store.page import Page as Found
from constellation.nova.store.steps import Steps
from constellation.routes.models.executions import (
    DurableInvoke,
    EventSent,
    ExecutionBody,
    ExecutionDetail,
    StepBody,
)
from constellation.routes.models.paging import Page
from constellation.routes.reading import page_of

# What a list can be narrowed to: the states that a row has, whenever it is looked at.
_LISTED = {
    ExecutionStatus.QUEUED: JobStatus.QUEUED,
    ExecutionStatus.RUNNING: JobStatus.RUNNING,
    ExecutionStatus.SUCCEEDED: JobStatus.SUCCEEDED,
    ExecutionStatus.FAILED: JobStatus.DEAD,
    ExecutionStatus.CANCELLED: JobStatus.CANCELLED,
}


class ExecutionRoutes:
    """Operations on executions of the caller's scope."""

    def __init__(self, jobs: Jobs, steps: Steps, executor: Executor, clock: Clock) -> None:
        self._jobs, self._steps, self._executor, self._clock = jobs, steps, executor, clock

    async def invoke_durable(self, request: DataRequest) -> Answer:
        wanted: DurableInvoke = request.json(DurableInvoke)
        return await accepted(request, self._executor, wanted, self._body, below="/executions")

    async def list_executions(self, request: DataRequest) -> Page[ExecutionBody]:
        return await self._page(request, request.query_function())

    async def list_function_executions(self, request: DataRequest) -> Page[ExecutionBody]:
        return await self._page(request, (await function_of(request, self._executor)).name)

    async def _page(self, request: DataRequest, function: str | None) -> Page[ExecutionBody]:
        window = request.window
        found = await self._jobs.list(
            request.tenant,
            request.namespace,
            function_name=function,
            status=_status(request),
            since=request.query_instant("since"),
            until=request.query_instant("until"),
            limit=window.limit,
            offset=window.offset,
            is_durable=True,
        )
        return page_of(found, window, self._body)

    async def get_execution(self, request: DataRequest) -> ExecutionDetail:
        job, window = await self._job(request), request.window
        steps, total = await self._steps.list(request.tenant, job.id, limit=window.limit, offset=window.offset)
        found = Found(items=steps, total=total, has_more=window.offset + len(steps) < total)
        return ExecutionDetail(**msgspec.structs.asdict(self._body(job)), steps=page_of(found, window, _step))

    async def cancel_execution(self, request: DataRequest) -> ExecutionBody:
        return self._body(await self._steps.cancel(request.tenant, request.namespace, request.id()))

    async def retry_execution(self, request: DataRequest) -> ExecutionBody:
        job, qualifier = await self._job(request), request.query.get("qualifier")
        if qualifier is not None:
            qualifier = check_qualifier(qualifier)
        return self._body(await self._jobs.retry(request.tenant, request.namespace, job.id, qualifier=qualifier))

    async def signal_execution(self, request: DataRequest) -> EventSent:
        payload = request.body.strip() or b"null"
        if len(payload) > MAX_STEP_BYTES:
            raise PayloadTooLarge(limit_bytes=MAX_STEP_BYTES)
        if not is_json(payload):
            raise InvalidRequest("the body is not valid JSON")
        name = check_step_name(request.params["event"], field="event")
        event_id: UUID = await self._steps.signal(request.tenant, request.namespace, request.id(), name, payload)
        return EventSent(id=event_id)

    async def _job(self, request: DataRequest) -> Job:
        return await self._jobs.get(request.tenant, request.namespace, request.id(), is_durable=True)

    def _body(self, job: Job) -> ExecutionBody:
        return body_of(job, now=self._clock.now())


def body_of(job: Job, *, now: datetime) -> ExecutionBody:
    status = status_of(job, now=now)
    return ExecutionBody(
        id=job.id,
        tenant=job.tenant,
        namespace=job.namespace,
        function=job.function_name,
        status=status.value,
        source=job.source,
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        resumes_at=job.run_at if job.status is JobStatus.QUEUED else None,
        version=job.qualifier,
        payload=raw(job.payload),
        output=raw(job.output),
        error=raw(job.error),
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )


def _step(step: Step) -> StepBody:
    is_over = step.finished_at is not None
    return StepBody(
        seq=step.seq,
        kind=step.kind.value,
        name=step.name,
        status="waiting" if not is_over else "failed" if step.error is not None else "succeeded",
        output=raw(step.output),
        error=raw(step.error),
        due_at=step.due_at,
        started_at=step.started_at,
        finished_at=step.finished_at,
    )


def _status(request: DataRequest) -> JobStatus | None:
    text = request.query_word("status")
    if text is None:
        return None
    found = _LISTED.get(text)  # type: ignore[call-overload]  # members of a StrEnum are found by their texts
    if found is None:
        raise InvalidRequest(f"status must be one of {', '.join(_LISTED)}, not {text!r}", field="status")
    assert isinstance(found, JobStatus)
    return found
