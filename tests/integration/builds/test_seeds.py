"""What a toolchain makes once for all builds."""

from __future__ import annotations

import os
from dataclasses import replace

import anyio
import pytest

from constellation.comet.builds.contract import BuildFailed
from constellation.comet.builds.seeds import Seeds
from constellation.testing.builds import build_rig

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox]


async def test_builds_find_what_the_seed_left_and_share_it(rig, tmp_path):
    root, recipe = tmp_path / "second", tmp_path / "seeding"
    for directory in (root, recipe):
        directory.mkdir(mode=0o755)
    (recipe / "seed.sh").write_text("cat /proc/sys/kernel/random/uuid > out/drawn; cp -R /src out/saw\n")
    (recipe / "build.sh").write_text(
        "cp /run/cache/drawn out/drawn; (echo x > /run/cache/x) 2>/dev/null || echo kept > out/kept\n"
    )
    toolchain = replace(rig.builder._toolchains["script"], recipe=recipe)
    async with build_rig(rig.backend, root, toolchains={"script": toolchain}) as second:
        requests = [second.request("script", {"secret": "mine"}) for _ in range(3)]
        async with anyio.create_task_group() as tasks:
            for request in requests:
                tasks.start_soon(lambda request=request: second.builder.build(request, log=lambda _: None))
        (seed,) = (root / "c").iterdir()
        assert sorted(p.name for p in (seed / "saw").iterdir()) == ["build.sh", "seed.sh"]  # nobody's sources
        drawn = (seed / "drawn").read_text()
        assert [(r.output / "drawn").read_text() for r in requests] == [drawn] * 3
        assert (requests[0].output / "kept").exists()
    async with build_rig(rig.backend, root, toolchains={"script": toolchain}) as third:
        request = await third.built("script", {"x": ""})
        assert (request.output / "drawn").read_text() == drawn
    (recipe / "seed.sh").write_text("echo new > out/drawn\n")  # another version of it has another, and the old one goes
    async with build_rig(rig.backend, root, toolchains={"script": toolchain}) as fourth:
        assert not list((root / "c").iterdir())
        request = await fourth.built("script", {"x": ""})
        assert (request.output / "drawn").read_text() == "new\n"


async def test_what_fails_or_is_cancelled_is_made_again(tmp_path):
    seeds, tries = Seeds(tmp_path / "c"), []

    async def fail(path):
        tries.append(path)
        (path / "half").touch()
        raise BuildFailed("no")

    async def hang(path):
        tries.append(path)
        await anyio.sleep(60)

    async def make(path):
        (path / "whole").touch()

    with pytest.raises(BuildFailed):
        await seeds.get("k", fail)
    with anyio.move_on_after(0.05):
        await seeds.get("k", hang)
    assert len(tries) == 2
    assert not list((tmp_path / "c").iterdir())
    (tmp_path / "c" / ".k.killed").mkdir()  # of a run that was killed, long ago
    os.utime(tmp_path / "c" / ".k.killed", (0, 0))
    found = await seeds.get("k", make)
    assert [p.name for p in (tmp_path / "c").iterdir()] == ["k"]
    assert [p.name for p in found.iterdir()] == ["whole"]
    assert await seeds.get("k", fail) == found


async def test_two_processes_that_share_a_directory_make_one(tmp_path):
    first, second = Seeds(tmp_path / "c"), Seeds(tmp_path / "c")

    async def make(path):
        (path / "first").touch()
        second.keep({"k"})  # what another makes is not taken away from it

    async def make_slowly(path):
        found = await first.get("k", make)
        assert [p.name for p in found.iterdir()] == ["first"]
        (path / "second").touch()

    found = await second.get("k", make_slowly)
    assert [p.name for p in found.iterdir()] == ["first"]
    assert [p.name for p in (tmp_path / "c").iterdir()] == ["k"]
