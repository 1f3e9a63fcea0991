"""A zenith over a fake nova and a fake comet: all three on real sockets of this process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from constellation.aurora.observability.plane import PlaneContext, new_context
from constellation.base.address import Address
from constellation.base.sockets import listen_tcp
from constellation.nova.config.sections import PlatformSettings, ZenithSettings
from constellation.rpc.channel import PlaneChannel
from constellation.rpc.tls import CallerTls, ServerTls
from constellation.testing.comet import FakeComet
from constellation.testing.nova import FakeNova
from constellation.zenith.app import Parts, build, serving_gateway
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
    comet_address: Address  # where it is
    comet_at: Address  # where the gateway looks for it

    @property
    def url(self) -> str:
        return f"http://{self.address}"


@asynccontextmanager
async def gateway_rig(
    settings: ZenithSettings,
    *,
    state_dir: Path,
    listen: Address | None = None,
    tls: ServerTls | None = None,
    comet_tls: ServerTls | None = None,
    caller_tls: CallerTls | None = None,
    comet_at: Address | None = None,
    is_native: bool = True,
    cuts_off: bool = True,
    nova_url: str | None = None,
    service_token: str = SERVICE_TOKEN,
    identity_key: str = "identity-key",
) -> AsyncIterator[GatewayRig]:
    """Run the three for the length of the block; settings name everything but the addresses.

    `comet_at`: where the gateway looks for comet, when that is not where it is. `cuts_off`: what is in hand at the
    block's end gets no time. `nova_url`: a nova to ask in place of the fake one.
    """
    context = new_context(
        "zenith", PlatformSettings(), state_dir=state_dir, service_token=service_token, identity_key=identity_key
    )
    nova, comet = FakeNova(service_token), FakeComet()
    async with (
        nova.serving() as nova_address,
        comet.serving(context.verifier, tls=comet_tls) as comet_address,
    ):
        seen_at = comet_at or comet_address
        control = ControlPlane(
            url=nova_url or f"http://{nova_address}", service_token=service_token, idle_timeout_s=5.0
        )
        execution = Execution(
            lambda: PlaneChannel(name="comet", service_token=service_token, address=seen_at, tls=caller_tls),
            max_calls=settings.max_inflight,
        )
        parts = build(
            settings,
            context,
            control=control,
            execution=execution,
            checks={},
            comet=seen_at,
            is_native=is_native,
            tls=tls,
            comet_tls=caller_tls,
        )
        listener, address = listen_tcp(listen or Address("127.0.0.1", 0))
        async with anyio.create_task_group() as tasks:
            await tasks.start(parts.follower.run)
            await tasks.start(parts.sites.run)
            await tasks.start(parts.hangups.run)
            with anyio.fail_after(5):
                await parts.follower.heard.wait()
                await parts.sites.loaded.wait()
            try:
                async with serving_gateway(parts, [listener], idle_timeout_s=settings.idle_timeout_s, tls=tls):
                    try:
                        yield GatewayRig(
                            nova=nova,
                            comet=comet,
                            parts=parts,
                            address=address,
                            context=context,
                            comet_address=comet_address,
                            comet_at=seen_at,
                        )
                    finally:
                        if cuts_off:
                            parts.hangups.cancel_all()
            finally:
                tasks.cancel_scope.cancel()
                parts.close()
                with anyio.move_on_after(2, shield=True):
                    await control.close()
