"""The four probes: alive and started are answered alone; ready asks nova and comet, both at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import anyio
import msgspec

from constellation.base.clock import Clock
from constellation.base.errors import ConstellationError, Unavailable
from constellation.nova.domain.names import DEFAULT_NAMESPACE, DEFAULT_TENANT
from constellation.routes.registry import Match
from constellation.zenith.principals import Access
from constellation.zenith.request import Request

Check = Callable[[], Awaitable[None]]  # raises ConstellationError unless healthy

_DEADLINE_S = 3.0
_REMEMBERED_S = 0.5  # chosen: probes are open to everybody and must not become load on the planes


class Freshness(Protocol):
    def check(self) -> None: ...


class Directory(Protocol):
    async def scope_status(self, tenant: str, namespace: str) -> str | None: ...


async def check_nova(nova: Directory) -> None:
    """Let a nova through that knows the scope which every platform has."""
    if await nova.scope_status(DEFAULT_TENANT, DEFAULT_NAMESPACE) is None:
        raise Unavailable("nova", reason="its database has no default tenant")


def probes(*, checks: Mapping[str, Check], freshness: Freshness, clock: Clock) -> dict[str, Alive | Ready]:
    """Return the handlers of the probes by operation. `checks`: what must be healthy besides the gateway."""
    alive, ready = Alive(), Ready(checks=checks, freshness=freshness, clock=clock)
    return {"health_live": alive, "health_startup": alive, "health": ready, "health_ready": ready}


class Alive:
    """`/health/live` and `/health/startup`: this process runs its loop."""

    async def __call__(self, request: Request, _match: Match, _access: Access | None, /) -> None:
        await request.answer(200, b'{"status":"ok"}')


class Ready:
    """`/health` and `/health/ready`: can calls be served now."""

    def __init__(self, *, checks: Mapping[str, Check], freshness: Freshness, clock: Clock) -> None:
        self._checks, self._freshness, self._clock = checks, freshness, clock
        self._lock = anyio.Lock()
        self._known: tuple[float, int, bytes] | None = None

    async def __call__(self, request: Request, _match: Match, _access: Access | None, /) -> None:
        async with self._lock:
            if self._known is None or self._clock.monotonic_s() - self._known[0] > _REMEMBERED_S:
                status, body = await self._look()
                self._known = (self._clock.monotonic_s(), status, body)
            _, status, body = self._known
        await request.answer(status, body, headers=[(b"retry-after", b"1")] if status == 503 else ())

    async def _look(self) -> tuple[int, bytes]:
        components = dict.fromkeys(("zenith", *self._checks), "healthy")
        try:
            self._freshness.check()
        except ConstellationError as error:
            components["zenith"] = f"unhealthy: {error}"

        async def look(name: str, check: Check) -> None:
            try:
                with anyio.fail_after(_DEADLINE_S):
                    await check()
            except TimeoutError:
                components[name] = f"unhealthy: no answer within {_DEADLINE_S:g} s"
            except ConstellationError as error:
                components[name] = f"unhealthy: {error}"

        async with anyio.create_task_group() as tasks:
            for name, check in self._checks.items():
                tasks.start_soon(look, name, check)
        is_healthy = all(state == "healthy" for state in components.values())
        body = msgspec.json.encode({"status": "ok" if is_healthy else "degraded", "components": components})
        return (200 if is_healthy else 503), body
