"""The audit's beginning: what every request that changes something, or was refused, came to.

It stands outermost, so that nothing is answered without it. Events wait in a bounded buffer and go to nova in batches;
no request waits for its own. Refusals alike that come at once are one event with their number: a flood of bad keys costs
a row every fraction of a second, not one each.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import anyio
import structlog
from anyio.abc import TaskStatus
from prometheus_client import CollectorRegistry, Counter

from constellation.base.errors import ConstellationError, ScopeDenied
from constellation.base.ids import uuid7
from constellation.nova.config.sections import AuditSettings
from constellation.nova.domain.audit import REFUSALS, AuditEvent, Outcome, outcome_of
from constellation.routes.route import Route, Transport
from constellation.zenith.request import Request
from constellation.zenith.sites import Site

log = structlog.get_logger()

BATCH = 500  # chosen: a request of some 200 KiB
RETRY_S = 0.5  # chosen: nova's restart takes a second or two
_EDGE_S = 1.0  # chosen: how long a refusal may wait in the edge
_RESOURCE_CHARS, _AGENT_CHARS = 512, 200
SITE_ACTION = "domain_request"
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
# What functions and topics are for, not changes of them: each has a log of its own.
_TRAFFIC = frozenset({Transport.INVOKE, Transport.STREAM, Transport.FUNCTION_URL, Transport.PORT})
_TRAFFIC_OPERATIONS = frozenset({"invoke_async", "invoke_durable", "publish", "publish_batch", "signal_execution"})

Write = Callable[[Sequence[AuditEvent]], Awaitable[None]]
EdgeRefusals = Callable[[], tuple[Sequence[AuditEvent], int]]  # since the last time, and how many were lost


def is_change(route: Route, method: str) -> bool:
    """Tell whether a request is audited whatever becomes of it."""
    if route.transport is Transport.TERMINAL:  # a GET that opens a shell
        return True
    return method not in _READS and route.transport not in _TRAFFIC and route.operation not in _TRAFFIC_OPERATIONS


@dataclass(slots=True)
class _Waiting:
    event: AuditEvent
    count: int = 1


class AuditTrail:
    """Takes note; `run` writes. When the buffer is full, events are counted and dropped."""

    def __init__(
        self, write: Write, settings: AuditSettings, registry: CollectorRegistry, *, at_edge: EdgeRefusals | None = None
    ) -> None:
        self._write, self._settings, self._at_edge = write, settings, at_edge
        self._waiting: list[_Waiting] = []
        self._alike: dict[tuple[object, ...], _Waiting] = {}  # of those, refusals
        self._pending: list[AuditEvent] = []  # a batch that is on its way
        self._heard = anyio.Event()
        self._events = Counter(
            "constellation_gateway_audit_events", "Events of the audit, by what became of them", ["result"],
            registry=registry,
        )  # fmt: skip

    def note_nowait(self, request: Request, route: Route | None, error: ConstellationError | None, status: int) -> None:
        """Take note of a request that is over; nothing of most."""
        if route is None or not (status in REFUSALS or is_change(route, request.method)):
            return
        self._note(request, route.operation, error, status)

    def note_site_nowait(self, request: Request, site: Site, error: ConstellationError | None, status: int) -> None:
        """Take note of a request to a tenant's own host that was refused. The rest is the tenant's business.

        Anybody may flood such a host: what is refused there alike is one event, wherever it came from.
        """
        if status in REFUSALS:
            self._note(request, SITE_ACTION, error, status, site=site)

    def _note(
        self, request: Request, action: str, error: ConstellationError | None, status: int, *, site: Site | None = None
    ) -> None:
        identity = None if request.access is None else request.access.identity
        tenant, actor = ("", "") if identity is None else (identity.tenant, identity.subject)
        if identity is None and isinstance(error, ScopeDenied):
            tenant, actor = error.own_tenant, error.subject
        outcome = outcome_of(status)
        key: tuple[object, ...] = (tenant, actor, action, request.method, status, _peer(request), error and error.code)
        resource, namespace = request.path, "" if identity is None else identity.namespace
        if site is not None:
            tenant, namespace, resource = site.tenant, site.namespace, f"{site.host}{request.path}"
            key = (site.host, actor, action, status, error and error.code)
        alike = self._alike.get(key) if outcome is Outcome.REFUSED else None
        if alike is not None:
            alike.count += 1
            self._events.labels("merged").inc()
            return
        if len(self._waiting) >= self._settings.buffer_rows:
            self._events.labels("dropped").inc()
            return
        waiting = _Waiting(
            AuditEvent(
                tenant=tenant,
                namespace=namespace,
                id=uuid7(),
                actor=actor,
                action=action,
                method=request.method,
                resource=_text(resource + (f"/{request.made}" if request.made else ""), _RESOURCE_CHARS),
                fields=request.fields,
                outcome=outcome,
                status=status,
                code="" if error is None else error.code,
                request_id=str(request.request_id),
                peer=_peer(request),
                user_agent=_text(_agent(request), _AGENT_CHARS),
            )
        )
        self._waiting.append(waiting)
        if outcome is Outcome.REFUSED:
            self._alike[key] = waiting
        self._heard.set()

    def hear_edge_nowait(self) -> None:
        """Take note of what was refused without Python."""
        if self._at_edge is None:
            return
        events, lost = self._at_edge()
        for event in events:
            self._put(_Waiting(event, event.count))
        if lost:
            self._events.labels("dropped").inc(lost)

    def _put(self, waiting: _Waiting) -> None:
        if len(self._waiting) >= self._settings.buffer_rows:
            self._events.labels("dropped").inc(waiting.count)
            return
        self._waiting.append(waiting)
        self._heard.set()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Write what was noted, until cancelled; through any failure of nova."""
        task_status.started()
        is_failing = False
        while True:
            with anyio.move_on_after(math.inf if self._at_edge is None else _EDGE_S):
                await self._heard.wait()
            self._heard = anyio.Event()  # whatever comes next: what was heard may have been written already
            self.hear_edge_nowait()
            if not self._waiting:
                continue
            await anyio.sleep(self._settings.flush_interval_s)
            while self._waiting or self._pending:
                try:
                    await self._write_batch()
                except ConstellationError as error:  # the supervision point: it is tried again, as long as it takes
                    if not is_failing:
                        log.warning("audit.delayed", reason=str(error), waiting=len(self._waiting))
                    is_failing = True
                    await anyio.sleep(RETRY_S)
                else:
                    is_failing = False

    async def flush(self, *, within_s: float) -> None:
        """Write what is left, once nothing more comes; what can not be written in time is counted and lost."""
        self.hear_edge_nowait()
        with anyio.move_on_after(within_s):
            while self._waiting or self._pending:
                try:
                    await self._write_batch()
                except ConstellationError:
                    await anyio.sleep(RETRY_S)
        lost = len(self._waiting) + len(self._pending)
        if lost:
            self._events.labels("dropped").inc(lost)
            log.error("audit.lost", count=lost)

    async def _write_batch(self) -> None:
        if not self._pending:
            taken, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            self._alike.clear()
            self._pending = [replace(each.event, count=each.count) for each in taken]
        await self._write(self._pending)  # sent again whole when its answer was lost: each event has its id
        self._events.labels("written").inc(len(self._pending))
        self._pending = []


def _peer(request: Request) -> str:
    return "" if request.client is None else str(request.client[0])


def _agent(request: Request) -> str:
    return next((value.decode("latin-1") for name, value in request.headers if name == b"user-agent"), "")


def _text(value: str, limit: int) -> str:
    """Return what can be stored and shown: printable, and not long."""
    return "".join(each if each.isprintable() else "?" for each in value[:limit])
