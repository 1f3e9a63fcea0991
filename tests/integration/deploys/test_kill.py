"""A comet is killed in the middle of a build: what it had in hand is built again, once, by whoever comes next."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from constellation.nova.domain.build import BuildState
from tests.integration.deploys.conftest import until

pytestmark = [pytest.mark.anyio, pytest.mark.postgres, pytest.mark.slow]

COMET = Path(__file__).with_name("building_comet.py")
# The first run waits for ever, with its pid told; the next finds the mark and goes through.
ONCE = """
if [ -e {mark} ]; then cp $SOURCES/main.py $OUTPUT; echo second; exit; fi
echo $$ > {mark}.new; mv {mark}.new {mark}
echo first
sleep 600
"""


@contextmanager
def comet(dsn: str, state_dir: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, str(COMET), dsn, str(state_dir)], cwd=Path(__file__).parents[3])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def test_a_build_survives_the_death_of_its_comet(database, nova, tmp_path):
    mark, state_dir = tmp_path / "mark", tmp_path / "state"
    function = await nova.create(script=ONCE.format(mark=mark))
    try:
        with comet(database.dsn("comet"), state_dir) as first:

            async def has_printed() -> bool:
                return await nova.log(await nova.build(function)) == "first\n"

            await until(has_printed)
            first.kill()
            first.wait()
            left = await nova.build(function)
            assert (left.state, left.attempt) == (BuildState.COMPILING, 1)
            assert list((state_dir / "builds").iterdir())
        with comet(database.dsn("comet"), state_dir):
            build = await nova.ended(function)
            assert (build.id, build.state, build.attempt) == (left.id, BuildState.SUCCESS, 2)
            assert await nova.log(build) == "first\n\n[attempt 2: the worker before went silent]\nsecond\n"
            row = await nova.functions.get("default", "default", "f")
            assert (row.code_version, row.pending) == (1, None)

            async def is_clean() -> bool:
                return not list((state_dir / "builds").iterdir())

            await until(is_clean)
    finally:  # the program of the killed comet is nobody's child any more; a real builder's dies with its sandbox
        with suppress(ProcessLookupError, FileNotFoundError):
            os.killpg(int(mark.read_text()), 9)
