"""Programs that were built start from sandboxes that wait for the code of any."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from constellation.base.ids import uuid7
from constellation.comet.backend.contract import Call, SandboxStartFailed
from constellation.comet.builds.contract import BuilderUnavailable
from constellation.nova.domain.runtimes import RUNTIMES
from constellation.orbit.languages import LANGUAGES

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox]


@pytest.fixture
async def built(rig):
    try:
        return await rig.built("c", {"main.c": LANGUAGES["c"].source("f")}, handler=RUNTIMES["c"].default_handler)
    except BuilderUnavailable as error:
        pytest.skip(error.reason)


async def _ready(rig):
    await rig.backend.keep_templates({"c", "cpp", "go"}, memory_bytes=256 << 20)
    with anyio.fail_after(30):
        await rig.backend.templates_ready()
    return {sandbox.spawned.pid for ready in rig.backend._spares._ready.values() for sandbox in ready}


async def test_each_is_one_instance_with_its_functions_limits(rig, built):
    seen = set()
    for tenant, processes in (("acme", 9), ("umbrella", 33)):
        ready = await _ready(rig)
        assert len(ready) == 6  # of all languages together
        assert not ready & seen
        async with rig.running(replace(built, tenant=tenant), max_pids=processes, memory_mb=70) as instance:
            assert instance.pid in ready
            outcome = await instance.invoke(Call(request_id=uuid7(), payload=b'{"name":"Ada"}', timeout_s=20))
            assert json.loads(outcome.output) == {"message": "Hello, Ada!"}
            (program,) = Path(f"/proc/{instance.pid}/task/{instance.pid}/children").read_text().split()
            limits = Path(f"/proc/{program}/limits").read_text()
            assert [line.split()[2] for line in limits.splitlines() if line.startswith("Max processes")] == [
                str(processes)
            ]
            if rig.backend.support().limits["memory"] == "cgroup v1":
                leaf = instance.slot.leaf
                (limit,) = [Path(d, leaf.name, "memory.limit_in_bytes") for d in leaf._support.dirs if "memory" in d]
                assert int(limit.read_text()) == 70 << 20
            seen.add(instance.pid)


async def test_code_without_a_program_is_told_at_once(rig, built):
    assert await _ready(rig)
    (built.output / "bootstrap").unlink()
    with pytest.raises(SandboxStartFailed, match="exit status 126"):
        async with rig.running(built):
            pass
