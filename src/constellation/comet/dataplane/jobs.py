"""Durable calls: looked up, listed, held up, put back in line, deleted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol
from uuid import UUID

import msgspec
from msgspec import UNSET

from constellation.comet.dataplane.request import DataRequest, function_of
from constellation.comet.executor.executor import Executor
from constellation.nova.domain.job import Job, JobStatus
from constellation.nova.store.jobs import QueueSummary
from constellation.routes.models.invocations import AsyncInvocationBody, Purged, Redriven, RetryAsync
from constellation.routes.models.paging import Page
from constellation.routes.models.statistics import AsyncSummary
from constellation.routes.reading import page_of


class JobPage(Protocol):
    @property
    def items(self) -> Sequence[Job]: ...

    @property
    def total(self) -> int: ...

    @property
    def total_is_exact(self) -> bool: ...


class JobBook(Protocol):
    """The jobs of all scopes; each question names its own."""

    async def get(self, tenant: str, namespace: str, job_id: UUID) -> Job: ...

    async def list(
        self,
        tenant: str,
        namespace: str,
        *,
        function_name: str | None = ...,
        status: JobStatus | None = ...,
        limit: int = ...,
        offset: int = ...,
    ) -> JobPage: ...

    async def retry(self, tenant: str, namespace: str, job_id: UUID, *, max_attempts: int | None = ...) -> Job: ...

    async def redrive(self, tenant: str, namespace: str, *, function_name: str | None = ...) -> int: ...

    async def purge(self, tenant: str, namespace: str, *, function_name: str | None = ...) -> int: ...

    async def delete(self, tenant: str, namespace: str, job_id: UUID) -> None: ...

    async def pause(self, tenant: str, namespace: str, job_id: UUID) -> Job: ...

    async def resume(self, tenant: str, namespace: str, job_id: UUID) -> Job: ...

    async def pause_queue(self, tenant: str, namespace: str, *, function_name: str | None = ...) -> None: ...

    async def resume_queue(self, tenant: str, namespace: str, *, function_name: str | None = ...) -> None: ...

    async def summary(self, tenant: str, namespace: str, *, function_name: str | None = ...) -> QueueSummary: ...


class JobRoutes:
    """Operations on durable calls of the caller's scope."""

    def __init__(self, jobs: JobBook, executor: Executor) -> None:
        self._jobs, self._executor = jobs, executor

    async def list_async(self, request: DataRequest) -> Page[AsyncInvocationBody]:
        status = request.query_choice("status", JobStatus)
        return await self._page(request, function_name=request.query_function(), status=status)

    async def list_function_async(self, request: DataRequest) -> Page[AsyncInvocationBody]:
        name = (await function_of(request, self._executor)).name
        return await self._page(request, function_name=name, status=request.query_choice("status", JobStatus))

    async def get_async(self, request: DataRequest) -> AsyncInvocationBody:
        return body_of(await self._jobs.get(request.tenant, request.namespace, request.id()))

    async def retry_async(self, request: DataRequest) -> AsyncInvocationBody:
        wanted: RetryAsync = request.json(RetryAsync)
        attempts = None if wanted.max_attempts is UNSET else wanted.max_attempts
        found = await self._jobs.get(request.tenant, request.namespace, request.id())  # an execution is not found here
        job = await self._jobs.retry(request.tenant, request.namespace, found.id, max_attempts=attempts)
        return body_of(job)

    async def redrive_async(self, request: DataRequest) -> Redriven:
        function_name = request.query_function()
        count = await self._jobs.redrive(request.tenant, request.namespace, function_name=function_name)
        return Redriven(retried=count)

    async def list_dead_async(self, request: DataRequest) -> Page[AsyncInvocationBody]:
        return await self._page(request, function_name=request.query_function(), status=JobStatus.DEAD)

    async def purge_async(self, request: DataRequest) -> Purged:
        function_name = request.query_function()
        return Purged(deleted=await self._jobs.purge(request.tenant, request.namespace, function_name=function_name))

    async def delete_async(self, request: DataRequest) -> None:
        found = await self._jobs.get(request.tenant, request.namespace, request.id())
        await self._jobs.delete(request.tenant, request.namespace, found.id)

    async def pause_async(self, request: DataRequest) -> AsyncInvocationBody:
        return body_of(await self._jobs.pause(request.tenant, request.namespace, request.id()))

    async def resume_async(self, request: DataRequest) -> AsyncInvocationBody:
        return body_of(await self._jobs.resume(request.tenant, request.namespace, request.id()))

    async def async_summary(self, request: DataRequest) -> AsyncSummary:
        return await self._summary(request, None)

    async def function_async_summary(self, request: DataRequest) -> AsyncSummary:
        return await self._summary(request, (await function_of(request, self._executor)).name)

    async def pause_all_async(self, request: DataRequest) -> AsyncSummary:
        await self._jobs.pause_queue(request.tenant, request.namespace)
        return await self._summary(request, None)

    async def resume_all_async(self, request: DataRequest) -> AsyncSummary:
        await self._jobs.resume_queue(request.tenant, request.namespace)
        return await self._summary(request, None)

    async def pause_function_async(self, request: DataRequest) -> AsyncSummary:
        function = (await function_of(request, self._executor)).name
        await self._jobs.pause_queue(request.tenant, request.namespace, function_name=function)
        return await self._summary(request, function)

    async def resume_function_async(self, request: DataRequest) -> AsyncSummary:
        function = (await function_of(request, self._executor)).name
        await self._jobs.resume_queue(request.tenant, request.namespace, function_name=function)
        return await self._summary(request, function)

    async def _summary(self, request: DataRequest, function: str | None) -> AsyncSummary:
        found = await self._jobs.summary(request.tenant, request.namespace, function_name=function)
        return AsyncSummary(
            function=function,
            is_paused="" in found.paused or function in found.paused,
            queued=found.counts[JobStatus.QUEUED],
            running=found.counts[JobStatus.RUNNING],
            paused=found.counts[JobStatus.PAUSED],
            dead=found.counts[JobStatus.DEAD],
            succeeded_1m=found.succeeded_in_1m,
            succeeded_5m=found.succeeded_in_5m,
            oldest_due_at=found.oldest_due_at,
            paused_functions={name: since for name, since in found.paused.items() if name},
        )

    async def _page(
        self, request: DataRequest, *, function_name: str | None, status: JobStatus | None
    ) -> Page[AsyncInvocationBody]:
        window = request.window
        found = await self._jobs.list(
            request.tenant,
            request.namespace,
            function_name=function_name,
            status=status,
            limit=window.limit,
            offset=window.offset,
        )
        return page_of(found, window, body_of)


def body_of(job: Job) -> AsyncInvocationBody:
    """Return a job as the API shows it; its JSON is passed on as it is stored."""
    return AsyncInvocationBody(
        id=job.id,
        tenant=job.tenant,
        namespace=job.namespace,
        function=job.function_name,
        status=job.status.value,
        source=job.source,
        qualifier=job.qualifier,
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        run_at=job.run_at if job.status in (JobStatus.QUEUED, JobStatus.PAUSED) else None,
        request_id=job.request_id,
        payload=raw(job.payload),
        output=raw(job.output),
        error=raw(job.error),
        duration_ms=job.duration_ms,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )


def raw(data: bytes | str | None) -> Any:
    """Return stored JSON to be spliced in as it is; None stays null."""
    if data is None:
        return None
    return msgspec.Raw(data.encode() if isinstance(data, str) else data)
