"""From a deploy to code that runs: built by a real program, kept, live, and served from what was made."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from constellation.base.errors import ConstellationError
from constellation.nova.config.sections import BuildSettings, Settings
from constellation.nova.domain.build import MAX_LOG_BYTES, BuildState
from constellation.nova.store.builds import Builds
from constellation.nova.store.pool import connect
from constellation.nova.store.retention import Retention
from constellation.testing.command_builder import CommandBuilder
from constellation.testing.fake_backend import Script
from tests.integration.deploys.conftest import Deployer, until
from tests.integration.grpc.conftest import Comet, running

pytestmark = [pytest.mark.anyio, pytest.mark.postgres, pytest.mark.slow]

SETTINGS = Settings(builds=BuildSettings(concurrency=2, lease_s=5.0, safety_poll_s=1.0))


@pytest.fixture
def builder() -> CommandBuilder:
    return CommandBuilder()


@asynccontextmanager
async def comet_with(builder: CommandBuilder, database, state: Path, settings=SETTINGS, **more) -> AsyncIterator[Comet]:
    more.setdefault("script", Script())
    async with running(database, state, settings=settings, builder=builder, **more) as made:
        yield made


@pytest.fixture
async def comet(builder, database, tmp_path) -> AsyncIterator[Comet]:
    """A comet that builds; its instances are fakes."""
    async with comet_with(builder, database, tmp_path / "state") as made:
        yield made


async def refused(comet: Comet, name: str = "f") -> ConstellationError:
    with pytest.raises(ConstellationError) as caught:
        await comet.invoke(name)
    return caught.value


async def live(nova: Deployer, version: int, name: str = "f") -> None:
    async def is_live() -> bool:
        return (await nova.functions.get("default", "default", name)).code_version == version

    await until(is_live)


@pytest.mark.sandbox
async def test_what_the_build_made_is_what_runs(builder, database, tmp_path, nova):
    async with comet_with(builder, database, tmp_path / "state", script=None) as comet:
        if not comet.plane.backends[0].support().available:
            pytest.skip(comet.plane.backends[0].support().reason)
        made = "mkdir $OUTPUT/lib && sed 's/as it is/built/' $SOURCES/main.py > $OUTPUT/lib/real.py\n"
        link = "ln -s lib/real.py $OUTPUT/main.py && chmod 700 $OUTPUT/lib/real.py\n"
        function = await nova.create(script=made + link)
        assert (function.code_version, function.pending.version) == (0, 1)
        build = await nova.ended(function)
        assert (build.state, build.error, build.attempt) == (BuildState.SUCCESS, None, 1)
        assert await comet.output("f") == "built"


async def test_calls_wait_for_the_first_build_and_say_so(comet, nova, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    function = await nova.create(script=f"read line < {gate}\ncp $SOURCES/main.py $OUTPUT\n")
    error = await refused(comet)
    assert (error.code, error.http_status, error.retryable) == ("compile_pending", 409, True)
    answer = await comet.http("POST", "/functions/f/invoke-async", body={"payload": 1})
    assert (answer.status, answer.json()["code"]) == (409, "compile_pending")
    await anyio.to_thread.run_sync(gate.write_text, "go\n")
    assert (await nova.ended(function)).state is BuildState.SUCCESS
    await until(lambda: answered(comet))


async def answered(comet: Comet) -> bool:
    try:
        await comet.invoke("f")
    except ConstellationError as error:
        code = error.code
    else:
        return True
    assert code == "compile_pending"  # the change is not here yet
    return False


async def test_a_build_that_fails_says_why_to_callers_and_in_its_log(comet, nova):
    function = await nova.create(script="echo compiling main\necho 'main.py:1: no such luck' >&2\nexit 3\n")
    build = await nova.ended(function)
    assert (build.state, build.error) == (BuildState.FAILED, "build.sh ended with 3")
    assert await nova.log(build) == "compiling main\nmain.py:1: no such luck\n"

    async def is_told() -> bool:
        return (await refused(comet)).code == "compile_failed"

    await until(is_told)
    error = await refused(comet)
    assert error.http_status == 422
    assert "build.sh ended with 3" in str(error)
    row = await nova.functions.get("default", "default", "f")
    assert (row.code_version, row.pending.version, row.pending.error) == (0, 1, "build.sh ended with 3")


async def test_a_missing_toolchain_is_told_exactly(comet, nova, builder):
    builder.missing = "there is no gcc"
    build = await nova.ended(await nova.create())
    assert (build.state, build.error) == (BuildState.FAILED, "nothing can build python here: there is no gcc")


async def test_the_last_built_version_serves_while_the_next_is_built_and_after_it_failed(comet, nova, tmp_path):
    await nova.ended(await nova.create())
    await live(nova, 1)
    failing = await nova.update("f", "exit 1\n", handler="main.other")
    assert (failing.code_version, failing.handler) == (1, "main.handler")
    assert (failing.pending.version, failing.pending.handler) == (2, "main.other")
    await nova.ended(failing)
    assert (await comet.invoke("f")).version == "1"
    again = await nova.update("f", "cp $SOURCES/main.py $OUTPUT\n", handler="main.other")
    await nova.ended(again)
    row = await nova.functions.get("default", "default", "f")
    assert (row.code_version, row.handler, row.pending) == (3, "main.other", None)


async def test_a_newer_deploy_ends_the_build_before_it(comet, nova, builder, tmp_path):
    first = await nova.create(script="echo began\nsleep 600\n")

    async def began() -> bool:
        return await nova.log(await nova.build(first)) == "began\n"

    await until(began)
    old = await nova.build(first)
    second = await nova.update("f", "cp $SOURCES/main.py $OUTPUT\n")
    assert (await nova.ended(second)).code_version == 2
    await live(nova, 2)
    old = await nova.builds.get("default", "default", old.id)
    assert (old.state, old.error) == (BuildState.CANCELLED, "superseded by version 2")

    async def is_gone() -> bool:
        return not Path(f"/proc/{builder.pids[0]}").exists()

    await until(is_gone)
    assert not [path for path in (tmp_path / "state" / "builds").iterdir() if str(old.id) in path.name]


async def test_equal_sources_are_built_once_and_never_across_tenants(comet, nova, builder, db):
    async with db.transaction() as tx:
        await tx.execute("INSERT INTO tenants (id) VALUES ('acme')")
        await tx.execute("INSERT INTO namespaces (tenant, name) VALUES ('acme', 'default')")
    first = await nova.ended(await nova.create("f"))
    second = await nova.ended(await nova.create("g"))
    assert (first.is_cached, second.is_cached, len(builder.requests)) == (False, True, 1)
    assert first.artifact == second.artifact
    assert "equal build" in await nova.log(second)
    other = await nova.create("f", tenant="acme")
    theirs = await nova.ended(other)
    assert (theirs.state, theirs.is_cached, len(builder.requests)) == (BuildState.SUCCESS, False, 2)
    assert await db.fetch_value("SELECT count(*) FROM artifacts WHERE hash = $1", first.artifact) == 2
    builder.version = "sh 2"  # another toolchain makes something else of the same
    assert not (await nova.ended(await nova.create("h"))).is_cached


async def test_a_log_is_bounded_and_says_where_it_was_cut(comet, nova):
    script = "head -c 1000000 /dev/zero | tr '\\0' x\ncp $SOURCES/main.py $OUTPUT\n"
    build = await nova.ended(await nova.create(script=script))
    assert build.state is BuildState.SUCCESS
    assert build.log_truncated
    text = await nova.log(build)
    assert MAX_LOG_BYTES <= len(text) <= MAX_LOG_BYTES + 100
    assert text.endswith("[the log is cut here: it is over 256 KiB]\n")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("true", "left nothing behind"),
        ("ln -s /etc/passwd $OUTPUT/main.py", "leads out of it"),
        ("ln -s ../../../../etc/passwd $OUTPUT/main.py", "leads out of it"),
        ("mkfifo $OUTPUT/main.py", "neither file, directory nor link"),
        ("truncate -s 1T $OUTPUT/main.py", "more than 1024 MiB"),
    ],
)
async def test_a_tree_that_can_not_be_code_fails_its_build(comet, nova, script, reason):
    build = await nova.ended(await nova.create(script=script))
    assert build.state is BuildState.FAILED
    assert reason in build.error


async def test_artifacts_go_when_no_code_uses_them(comet, nova, database, db):
    await nova.ended(await nova.create("f"))
    kept = await nova.ended(await nova.create("g", "cp $SOURCES/main.py $OUTPUT/other.py\n"))
    await nova.functions.delete("default", "default", "f")
    async with connect(database.dsn("aurora"), application="tests", max_size=1) as aurora:
        await Retention(aurora).keep()
        assert await db.fetch_value("SELECT count(*) FROM artifacts") == 2  # both were used just now
        await Retention(aurora).keep(artifact_grace_s=0.0)
    rows = await db.fetch("SELECT hash FROM artifacts")
    assert [row["hash"] for row in rows] == [kept.artifact]
    assert await db.fetch_value("SELECT count(*) FROM artifact_parts WHERE hash <> $1", kept.artifact) == 0


async def test_a_comet_that_stops_puts_its_builds_back_without_an_attempt(builder, database, tmp_path, nova):
    async with comet_with(builder, database, tmp_path / "state"):
        function = await nova.create(script="echo began\nsleep 600\n")

        async def began() -> bool:
            return (await nova.log(await nova.build(function))) == "began\n"

        await until(began)
    build = await nova.build(function)
    assert (build.state, build.attempt) == (BuildState.PENDING, 0)
    assert not Path(f"/proc/{builder.pids[0]}").exists()


async def test_who_lost_its_lease_writes_nothing(nova, database):
    """Another worker took the build over; the first comes back and must not be heard."""
    await nova.create()
    async with connect(database.dsn("comet"), application="tests", max_size=2) as db:
        builds = Builds(db)
        (first,) = await builds.claim(owner="first", lease_s=0.0, limit=1)
        (second,) = await builds.claim(owner="second", lease_s=60.0, limit=1)
        assert (first.build.id, first.token + 1, second.build.attempt) == (second.build.id, second.token, 2)
        assert await builds.renew([first], lease_s=60.0) == frozenset()
        assert not await builds.append_log(first, b"late", is_cut=False)
        assert not await builds.fail(first, "late")
        assert not await builds.release(first)
        assert await builds.fail(second, "for a reason")
        build = await builds.get("default", "default", second.build.id)
        assert (build.state, build.error, build.log_bytes) == (BuildState.FAILED, "for a reason", 0)


async def test_three_dead_workers_are_enough(nova, database):
    function = await nova.create()
    async with connect(database.dsn("comet"), application="tests", max_size=2) as db:
        builds = Builds(db)
        for attempt in (1, 2, 3):
            (claim,) = await builds.claim(owner=str(attempt), lease_s=0.0, limit=1)
            assert claim.build.attempt == attempt
        assert await builds.claim(owner="4", lease_s=60.0, limit=1) == ()
    build = await nova.build(function)
    assert (build.state, build.error) == (
        BuildState.FAILED,
        "the worker that built it died, in each of its 3 attempts",
    )
    row = await nova.functions.get("default", "default", "f")
    assert row.pending.error == build.error


async def test_damaged_artifacts_are_not_run(builder, database, tmp_path, nova, db):
    async with comet_with(builder, database, tmp_path / "first"):
        await nova.ended(await nova.create())
        await live(nova, 1)
    async with db.transaction() as tx:
        await tx.execute("UPDATE artifact_parts SET content = substr(content, 1, octet_length(content) - 9)")
    async with comet_with(builder, database, tmp_path / "second") as comet:
        error = await refused(comet)
        assert (error.code, error.http_status) == ("code_corrupt", 500)
        kept = [name for _, _, names in os.walk(tmp_path / "second" / "code") for name in names]  # it is being removed
        assert "main.py" not in kept


async def test_a_tenant_with_a_long_line_does_not_keep_others_waiting(nova, database, db):
    async with db.transaction() as tx:
        await tx.execute("INSERT INTO tenants (id) VALUES ('acme')")
        await tx.execute("INSERT INTO namespaces (tenant, name) VALUES ('acme', 'default')")
    for name in ("a", "b", "c", "d"):
        await nova.create(name)
    async with connect(database.dsn("comet"), application="tests", max_size=2) as pool:
        builds = Builds(pool)
        (first,) = await builds.claim(owner="w", lease_s=60.0, limit=1)
        assert first.build.function_name == "a"  # the oldest
        await nova.create("z", tenant="acme")
        (second,) = await builds.claim(owner="w", lease_s=60.0, limit=1)
        assert second.build.tenant == "acme"  # which has none in hand
        (third,) = await builds.claim(owner="w", lease_s=60.0, limit=5)
        assert third.build.function_name == "b"
