"""A zenith over a fake nova and a fake comet: all three on real sockets of this process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
from hypercorn.asyncio import serve

from constellation.aurora.observability.plane import PlaneContext, new_context
from constellation.base.address import Address
from constellation.nova.config.sections import PlatformSettings, ZenithSettings
from constellation.rpc.channel import PlaneChannel
from constellation.testing.comet import FakeComet
from constellation.testing.nova import FakeNova
from constellation.zenith.app import Parts, build, server_config
from constellation.zenith.control import ControlPlane
from constellation.zenith.execution import Execution

SERVICE_TOKEN = "service-token-of-the-rig"  # noqa: S105  # of this rig only


@dataclass(slots=True, kw_only=True)
class GatewayRig:
    nova: FakeNova
    comet: FakeComet
    parts: Parts
    address: Address
    context: PlaneContext

    @property
    def url(self) -> str:
        return f"http://{self.address}"


@asynccontextmanager
async def gateway_rig(
    settings: ZenithSettings, *, state_dir: Path, listen: Address | None = None
) -> AsyncIterator[GatewayRig]:
    """Run the three for the length of the block; settings name everything but the addresses."""
    context = new_context(
        "zenith", PlatformSettings(), state_dir=state_dir, service_token=SERVICE_TOKEN, identity_key="identity-key"
    )
    nova, comet = FakeNova(SERVICE_TOKEN), FakeComet()
    async with nova.serving() as nova_address, comet.serving(context.verifier) as comet_address:
        control = ControlPlane(url=f"http://{nova_address}", service_token=SERVICE_TOKEN, idle_timeout_s=5.0)
        execution = Execution(
            lambda: PlaneChannel(name="comet", service_token=SERVICE_TOKEN, address=comet_address),
            max_calls=settings.max_inflight,
        )
        parts = build(settings, context, control=control, execution=execution, checks={})
        config, bound = server_config([listen or Address("127.0.0.1", 0)], idle_timeout_s=settings.idle_timeout_s)
        config.graceful_timeout = 0.2
        stopping = anyio.Event()

        async def run() -> None:
            await serve(parts.gateway, config, shutdown_trigger=stopping.wait)  # type: ignore[arg-type]  # TypedDict unions

        async with anyio.create_task_group() as tasks:
            await tasks.start(parts.follower.run)
            await tasks.start(parts.hangups.run)
            tasks.start_soon(run)
            with anyio.fail_after(5):
                await parts.follower.heard.wait()
            try:
                yield GatewayRig(nova=nova, comet=comet, parts=parts, address=bound[0], context=context)
            finally:
                with anyio.move_on_after(2, shield=True):
                    stopping.set()
                    await control.close()
                execution.close()
                tasks.cancel_scope.cancel()
