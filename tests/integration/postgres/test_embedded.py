"""The embedded server: every way to start, stop, kill and find it again."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from constellation.nova.store import postmaster
from constellation.nova.store.binaries import DataVersionMismatch
from constellation.nova.store.confine import VIEWS
from constellation.nova.store.embedded import SERVER_UID, EmbeddedPostgres, PostgresFailed
from constellation.nova.store.pool import DatabaseUnavailable, connect

pytestmark = [pytest.mark.anyio, pytest.mark.postgres, pytest.mark.slow]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a user of its own needs uid 0")
FAST = {"fsync": "off"}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedPostgres]:
    # Closed to all but us, as a state directory below a home is.
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    server = EmbeddedPostgres(closed / "state", settings=FAST)
    yield server
    await server.stop()


async def answers(server: EmbeddedPostgres) -> bool:
    async with connect(server.superuser_dsn(), application="tests", max_size=1, wait_s=5) as db:
        return await db.fetch_value("SELECT 1") == 1


async def test_start_and_stop_can_be_repeated(server: EmbeddedPostgres) -> None:
    await server.stop()
    assert not server._state_dir.exists(), "stopping what never was makes nothing"
    for _ in range(2):
        await server.start()
        pid = server.pid
        await server.start()
        assert server.pid == pid
        assert await answers(server)
        await server.stop()
        await server.stop()
        assert server.pid is None


async def test_another_process_finds_the_server_by_its_directory(server: EmbeddedPostgres) -> None:
    await server.start()
    other = EmbeddedPostgres(server._state_dir)
    assert other.pid == server.pid
    await other.start()
    assert other.pid == server.pid
    await other.stop()
    assert server.pid is None


async def test_starts_at_the_same_time_make_one_server(server: EmbeddedPostgres) -> None:
    others = [EmbeddedPostgres(server._state_dir, settings=FAST) for _ in range(4)]
    async with anyio.create_task_group() as tg:
        for other in others:
            tg.start_soon(other.start)
    assert len({other.pid for other in others} - {None}) == 1
    assert await answers(server)


async def test_it_outlives_the_process_that_started_it(tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    program = (
        "import anyio, sys; from pathlib import Path\n"
        "from constellation.nova.store.embedded import EmbeddedPostgres\n"
        "anyio.run(EmbeddedPostgres(Path(sys.argv[1])).start, backend_options={'use_uvloop': True})\n"
    )
    # Waits for the end of the output, too: a server that held it open would keep us here.
    with anyio.fail_after(60):
        done = await anyio.run_process(
            [sys.executable, "-c", program, str(state_dir)], start_new_session=True, env=os.environ.copy()
        )
    assert done.returncode == 0
    server = EmbeddedPostgres(state_dir)
    try:
        assert await answers(server)
        pid = server.pid
        assert pid is not None
        assert os.getsid(pid) != os.getsid(0)
    finally:
        await server.stop()


async def test_it_listens_on_a_closed_socket_only_and_asks_for_a_password(server: EmbeddedPostgres) -> None:
    await server.start()
    assert stat.S_IMODE(server.socket_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE(server._data.stat().st_mode) == 0o700
    assert stat.S_IMODE((server._state_dir / "postgres.password").stat().st_mode) == 0o600
    async with connect(server.superuser_dsn(), application="tests", max_size=1) as db:
        rows = await db.fetch("SELECT type, auth_method FROM pg_hba_file_rules")
        assert {row["auth_method"] for row in rows} == {"scram-sha-256"}
        for name, value in {"listen_addresses": "", "jit": "off", "shared_buffers": "32MB", "fsync": "off"}.items():
            assert await db.fetch_value("SELECT current_setting($1)", name) == value
        assert await db.fetch_value("SELECT current_setting('server_version_num')::int / 10000") == 18


@needs_root
@pytest.mark.root
async def test_for_root_it_runs_as_a_user_that_exists_nowhere_else(server: EmbeddedPostgres, tmp_path: Path) -> None:
    before = (Path("/proc/self/mountinfo").read_text(), Path("/etc/passwd").read_bytes())
    await server.start()
    pid = server.pid
    assert pid is not None
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
    )
    assert set(status["Uid"].split()) == set(status["Gid"].split()) == {str(SERVER_UID)}
    assert (status["NoNewPrivs"], status["Groups"].strip(), int(status["CapEff"], 16)) == ("1", "", 0)
    assert Path(f"/proc/{pid}/ns/mnt").readlink() != Path("/proc/self/ns/mnt").readlink()
    assert (Path("/proc/self/mountinfo").read_text(), Path("/etc/passwd").read_bytes()) == before
    assert stat.S_IMODE((tmp_path / "closed").stat().st_mode) == 0o700
    assert stat.S_IMODE(server._state_dir.stat().st_mode) == 0o700
    assert (VIEWS / server._id).is_dir()
    await server.stop()
    assert not (VIEWS / server._id).exists()


@needs_root
@pytest.mark.root
async def test_an_ordinary_user_runs_it_as_themselves(tmp_path: Path) -> None:
    """The same code under setpriv, in a home of that user."""
    uid, home = 65_534, Path("/run") / f"constellation-test-{os.getpid()}"
    home.mkdir(mode=0o700)
    os.chown(home, uid, uid)
    packages = [path for path in sys.path if path]
    program = (
        "import anyio, sys, os; from pathlib import Path\n"
        "from constellation.nova.store.embedded import EmbeddedPostgres\n"
        "async def main():\n"
        "    server = EmbeddedPostgres(Path(sys.argv[1]))\n"
        "    await server.start(); await server.start()\n"
        "    print(os.stat(f'/proc/{server.pid}').st_uid)\n"
        "    await server.stop(); assert server.pid is None\n"
        "anyio.run(main)\n"
    )
    try:
        done = await anyio.run_process(
            [
                "setpriv",
                f"--reuid={uid}",
                f"--regid={uid}",
                "--clear-groups",
                sys.executable,
                "-c",
                program,
                home / "state",
            ],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": ":".join(packages), "HOME": str(home)},
            check=False,
        )
        if b"Permission denied" in done.stderr or b"ModuleNotFoundError" in done.stderr:
            pytest.skip("this Python is in a directory that is closed to other users")
        assert done.returncode == 0, done.stderr.decode()
        assert int(done.stdout) == uid
    finally:
        shutil.rmtree(home)


async def test_after_kill_9_of_everything_it_starts_again_with_what_was_committed(server: EmbeddedPostgres) -> None:
    await server.start()
    async with connect(server.superuser_dsn(), application="tests", max_size=1) as db, db.transaction() as tx:
        await tx.execute("CREATE TABLE kept AS SELECT 7 AS number")
    for pid in postmaster.leftovers(server._data):
        os.kill(pid, signal.SIGKILL)
    await server.start()
    async with connect(server.superuser_dsn(), application="tests", max_size=1) as db:
        assert await db.fetch_value("SELECT number FROM kept") == 7


async def test_sessions_of_a_dead_server_are_ended_before_the_next_starts(server: EmbeddedPostgres) -> None:
    await server.start()
    ended = anyio.Event()
    async with connect(server.superuser_dsn(), application="tests", max_size=1) as db, anyio.create_task_group() as tg:

        async def compute() -> None:
            # Never waits, so it does not notice the server's death.
            try:
                await db.fetch("SELECT count(*) FROM generate_series(1, 10000000000)")
            except DatabaseUnavailable:
                ended.set()

        tg.start_soon(compute)
        while len(postmaster.leftovers(server._data)) < 6:
            await anyio.sleep(0.01)
        old = set(postmaster.leftovers(server._data))
        assert server.pid is not None
        pid = server.pid
        os.kill(pid, signal.SIGKILL)
        while server.pid == pid:  # the kernel takes its time: until then `start` finds it well
            await anyio.sleep(0.005)
        await server.start()
        assert not old & set(postmaster.leftovers(server._data))
    assert ended.is_set()
    assert await answers(server)


async def test_a_pid_file_that_names_somebody_else_is_no_server(server: EmbeddedPostgres) -> None:
    await server.start()
    await server.stop()
    impostor = os.getpid()
    (server._data / "postmaster.pid").write_text(f"{impostor}\n{server._data}\n0\n5432\n\n\n0 0\nready   \n")
    assert server.pid is None
    await server.start()
    assert server.pid not in (None, impostor)
    assert await answers(server)


async def test_a_data_directory_that_was_half_made_is_made_anew(server: EmbeddedPostgres) -> None:
    partial = server._state_dir / "postgres" / "data.abandoned" / "base"
    partial.mkdir(parents=True)
    (partial / "rubbish").write_text("x")
    await server.start()
    assert not partial.exists()
    assert await answers(server)


async def test_data_of_another_major_version_is_refused_by_name(server: EmbeddedPostgres) -> None:
    server._data.mkdir(parents=True)
    (server._data / "PG_VERSION").write_text("11\n")
    with pytest.raises(DataVersionMismatch, match="written by PostgreSQL 11"):
        await server.start()


async def test_a_server_that_can_not_start_says_why(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "state", settings={"shared_buffers": "much"})
    with pytest.raises(PostgresFailed, match="shared_buffers"):
        await server.start()
    await server.stop()


async def test_the_watch_starts_it_again_at_once(server: EmbeddedPostgres) -> None:
    async with anyio.create_task_group() as tg:
        await tg.start(server.watch)
        for _ in range(3):
            victim = server.pid
            assert victim is not None
            os.kill(victim, signal.SIGKILL)
            with anyio.fail_after(30):
                while server.pid in (None, victim):
                    await anyio.sleep(0.01)
            assert await answers(server)
        tg.cancel_scope.cancel()
    assert server.pid is not None, "the watch ends, the server stays"


async def test_a_path_too_long_for_a_socket_gets_a_short_one(tmp_path: Path) -> None:
    state_dir = tmp_path / ("long" * 20) / "state"
    server = EmbeddedPostgres(state_dir, runtime_dir=tmp_path, settings=FAST)
    assert server._base not in server.socket_dir.parents
    await server.start()
    try:
        assert stat.S_IMODE(server.socket_dir.stat().st_mode) == 0o700
        assert await answers(server)
    finally:
        await server.stop()
    assert not server.socket_dir.exists()


def test_a_runtime_directory_that_is_no_shorter_is_passed_over(tmp_path: Path) -> None:
    state_dir = tmp_path / ("long" * 20) / "state"
    server = EmbeddedPostgres(state_dir, uid=None, runtime_dir=tmp_path / ("long" * 20), settings=FAST)
    assert len(os.fsencode(server.socket_dir / ".s.PGSQL.5432")) <= 107  # sockaddr_un, unix(7)


async def test_odd_characters_in_the_path_are_only_characters(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "a b'c%ü" / "state", settings=FAST)
    await server.start()
    try:
        assert await answers(server)
    finally:
        await server.stop()


async def test_the_idle_server_is_small(server: EmbeddedPostgres) -> None:
    """Architecture allows all planes 600 MiB; the database's part stays below a tenth when nobody is connected."""
    await server.start()
    pss_kib = 0
    for pid in postmaster.leftovers(server._data):
        rollup = subprocess.run(["cat", f"/proc/{pid}/smaps_rollup"], check=True, capture_output=True, text=True).stdout
        pss_kib += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    assert 0 < pss_kib < 60 * 1024
