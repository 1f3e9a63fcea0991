"""A comet in a process of its own that builds with real programs; its instances are fakes. Killed by the tests.

usage: building_comet.py DSN STATE_DIR
"""

from __future__ import annotations

import sys
from pathlib import Path

import anyio

from constellation.aurora.observability.plane import new_context
from constellation.comet.app import execution_plane
from constellation.native.reactor import Reactor
from constellation.nova.config.sections import BuildSettings, PlatformSettings, Settings
from constellation.nova.store.pool import connect
from constellation.testing.command_builder import CommandBuilder
from constellation.testing.fake_backend import FakeBackend, Script

SETTINGS = Settings(builds=BuildSettings(concurrency=1, lease_s=1.0, safety_poll_s=0.2))


async def run(dsn: str, state_dir: Path) -> None:
    context = new_context("comet", PlatformSettings(), state_dir=state_dir, service_token="t", identity_key="key")
    reactor, backend = Reactor(), FakeBackend(Script())
    with reactor.turning():
        async with (
            connect(dsn, application="comet") as db,
            execution_plane(context, SETTINGS, reactor, db=db, dsn=dsn, backend=backend, builder=CommandBuilder()),
        ):
            await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(run, sys.argv[1], Path(sys.argv[2]), backend_options={"use_uvloop": True})
