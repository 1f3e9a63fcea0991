"""A worker that can not renew its lease ends what it started, before anybody else begins it."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from prometheus_client import CollectorRegistry, Counter

from constellation.comet.builds.worker import BuildOptions, BuildWorker
from constellation.nova.config.sections import BuildSettings
from constellation.nova.domain.build import BuildState
from constellation.nova.store.artifacts import Artifacts
from constellation.nova.store.builds import CHANNEL, Builds
from constellation.nova.store.functions import Functions
from constellation.nova.store.listen import Listener
from constellation.nova.store.pool import DatabaseUnavailable, connect
from constellation.testing.command_builder import CommandBuilder
from tests.integration.deploys.conftest import until

pytestmark = [pytest.mark.anyio, pytest.mark.postgres, pytest.mark.slow]


class Unreachable(Builds):
    """A store that can not be told to go on for a while."""

    is_away = True
    renewals = 0

    async def renew(self, claims, *, lease_s):
        self.renewals += 1
        if self.is_away:
            raise DatabaseUnavailable(reason="somebody pulled the plug")
        return await super().renew(claims, lease_s=lease_s)


async def test_a_lease_that_is_not_renewed_ends_the_build(database, nova, tmp_path):
    builder = CommandBuilder()
    mark = tmp_path / "mark"
    once = f"if [ -e {mark} ]; then cp $SOURCES/main.py $OUTPUT; exit; fi\n: > {mark}\necho began\nsleep 600\n"
    function = await nova.create(script=once)
    async with (
        connect(database.dsn("comet"), application="comet", max_size=4) as db,
        anyio.create_task_group() as tasks,
    ):
        builds = Unreachable(db)
        listener = Listener(database.dsn("comet"), application="comet", channels=(CHANNEL,))
        await tasks.start(listener.run)
        worker = BuildWorker(
            builds,
            Artifacts(db),
            Functions(db),
            builder,
            root=tmp_path / "builds",
            options=BuildOptions(
                owner="me",
                concurrency=1,
                lease_s=1.5,
                safety_poll_s=0.1,
                limits=lambda _tenant: BuildSettings(
                    memory_bytes=64 << 20, cpu_millis=100, disk_bytes=64 << 20, timeout_s=60.0
                ),
            ),
            ended=Counter("builds", "about", ["state"], registry=CollectorRegistry()),
        )
        await tasks.start(worker.run, listener.subscribe(CHANNEL))

        async def is_given_up() -> bool:
            return bool(builder.pids) and not Path(f"/proc/{builder.pids[0]}").exists()

        await until(is_given_up)
        assert builds.renewals >= 1
        builds.is_away = False
        build = await nova.ended(function)
        assert (build.state, build.attempt, len(builder.pids)) == (BuildState.SUCCESS, 2, 2)
        tasks.cancel_scope.cancel()
