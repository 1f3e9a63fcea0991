"""Embedded PostgreSQL: one server a state directory, started when needed, outliving every plane.

It listens on a unix socket only, asks everybody for a password, and belongs to no process of ours: a plane that
dies takes nothing along, and the next one finds the server by its pid file.

    <state>/postgres/          0755, ours: lock, settings, pid
    <state>/postgres/data      0700, the server's
    <state>/postgres/socket    0700, the server's, unless its path is too long for a unix socket
    <state>/postgres/log       0700, the server's
    <state>/postgres.password  0600, the superuser's password; used to make the owner role, then not again
"""

from __future__ import annotations

import fcntl
import os
import secrets
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

import anyio
import structlog
from anyio import to_thread
from anyio.abc import TaskStatus

from constellation.base.errors import ConstellationError
from constellation.base.statedir import make_private, write_private
from constellation.nova.store import postmaster
from constellation.nova.store.binaries import installation_for
from constellation.nova.store.configuration import SETTINGS, render
from constellation.nova.store.confine import VIEWS, Confinement

log = structlog.get_logger()

SERVER_UID = 999_999  # chosen: below the sandboxes' first uid (1,000,000) and above what distributions hand out
SUPERUSER = "postgres"
PORT = 5432  # names the socket only
SOCKET_PATH_LIMIT_BYTES = 107  # unix(7): sun_path, less its final zero
START_LIMIT_S = 60.0  # chosen: recovery after a crash reads at most max_wal_size
STOP_LIMIT_S = 10.0  # chosen: a fast shutdown writes one checkpoint
_POLL_S = 0.02
_ORPHAN_GRACE_S = 0.3  # chosen: sessions notice the server's death at once unless they compute
_RESTART_PAUSE_S = 0.5
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "TZ": "UTC"}


class PostgresFailed(ConstellationError):
    """The embedded PostgreSQL does not start or stop; its own words are in the message."""

    code, http_status = "postgres_failed", 503

    def __init__(self, doing: str, *, said: str) -> None:
        super().__init__(f"the embedded PostgreSQL failed to {doing}: {said.strip() or 'it said nothing'}")


class EmbeddedPostgres:
    """The server of one state directory. Any process of its user (or root) may hold one of these."""

    def __init__(
        self,
        state_dir: Path,
        *,
        uid: int = SERVER_UID,
        runtime_dir: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Touch nothing yet.

        Args:
            uid: whom the server runs as when we are root; without root it runs as ourselves.
            runtime_dir: where a short socket directory can be made, usually $XDG_RUNTIME_DIR; /tmp when None or too long.
            settings: PostgreSQL settings over our own.
        """
        self._state_dir = state_dir.absolute()
        self._base = self._state_dir / "postgres"
        self._data = self._base / "data"
        self._uid = uid if os.geteuid() == 0 else None
        self._id = sha256(os.fsencode(self._state_dir)).hexdigest()[:12]
        self._view = self._base if self._uid is None else VIEWS / self._id
        self._settings = dict(settings or {})
        self.socket_dir, self._socket_view = self._choose_socket_dir(runtime_dir)

    def dsn(self, role: str, password: str, *, database: str) -> str:
        """Return the address of a database here for one role."""
        return (
            f"postgresql://{quote(role, safe='')}:{quote(password, safe='')}@/{quote(database, safe='')}"
            f"?host={quote(str(self.socket_dir), safe='/')}&port={PORT}"
        )

    def superuser_dsn(self, *, database: str = "postgres") -> str:
        """Return the superuser's address. Blocks for a read; the server has been started once."""
        password = (self._state_dir / "postgres.password").read_text().strip()
        return self.dsn(SUPERUSER, password, database=database)

    @property
    def pid(self) -> int | None:
        """The live server's process id."""
        found = postmaster.running(self._data)
        return None if found is None else found.pid

    async def start(self) -> None:
        """Have a server that lets clients in: find it running, or make its data directory and start it.

        Raises:
            PostgresFailed: it does not start, or not within `START_LIMIT_S` seconds.
            BinariesMissing: the wheel with PostgreSQL is not installed.
            DataVersionMismatch: the data directory belongs to another major version.
        """
        try:
            with anyio.fail_after(START_LIMIT_S):
                async with self._alone():
                    await self._start()
        except (TimeoutError, subprocess.TimeoutExpired) as error:
            said = await to_thread.run_sync(self._last_words)
            raise PostgresFailed("start in time", said=said) from error

    async def stop(self) -> None:
        """Shut the server down without waiting for its clients; do nothing when it is not running.

        Raises:
            PostgresFailed: it is still there after `STOP_LIMIT_S` seconds and a SIGKILL.
        """
        if not self._base.exists():
            return
        try:
            with anyio.fail_after(STOP_LIMIT_S * 2):
                async with self._alone():
                    await self._stop()
        except TimeoutError as error:
            said = await to_thread.run_sync(self._last_words)
            raise PostgresFailed("stop in time", said=said) from error

    async def watch(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep the server running until cancelled; started means that it lets clients in. It stays when we leave."""
        await self.start()
        task_status.started()
        while True:
            await self._until_dead()
            log.warning("postgres.died", state_dir=str(self._state_dir))
            try:
                await self.start()
            except (ConstellationError, OSError) as error:
                log.exception("postgres.restart_failed", reason=str(error))
                await anyio.sleep(_RESTART_PAUSE_S)
            else:
                log.info("postgres.restarted", pid=self.pid)

    def _choose_socket_dir(self, runtime_dir: Path | None) -> tuple[Path, str]:
        """Where clients find the socket, and what the server calls that place."""
        own = self._base / "socket"
        if _fits_socket(own):
            return own, str(self._view / "socket")
        if self._uid is not None:
            short = VIEWS / f"{self._id}.socket"
        else:
            name = f"constellation-{os.geteuid()}-{self._id}"
            short = Path("/tmp") / name  # noqa: S108  0700, owner checked
            if runtime_dir is not None and _fits_socket(runtime_dir / name):
                short = runtime_dir / name
        return short, str(short)

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Hold the lock of this state directory against other processes that start or stop the server."""
        await to_thread.run_sync(self._make_base)
        fd = os.open(self._base / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            while True:
                with suppress(BlockingIOError):
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                await anyio.sleep(_POLL_S)
            yield
        finally:
            os.close(fd)

    def _make_base(self) -> None:
        make_private(self._state_dir)
        self._base.mkdir(mode=0o755, exist_ok=True)
        self._base.chmod(0o755)  # its parent is closed; in the server's view this is the door

    async def _start(self) -> None:
        while (found := await to_thread.run_sync(postmaster.running, self._data)) is None:
            await self._clear_leftovers()
            confinement = await to_thread.run_sync(self._prepare)
            if not (self._data / "PG_VERSION").exists():
                await self._make_data(confinement)
            pid = await self._launch(confinement)
            while not await to_thread.run_sync(self._is_ready, pid):
                if not await to_thread.run_sync(os.path.exists, f"/proc/{pid}/cwd"):
                    said = await to_thread.run_sync(self._last_words)
                    if "pre-existing shared memory block" not in said:
                        raise PostgresFailed("start", said=said)
                    break  # a session of the dead server is still attached; look again
                await anyio.sleep(_POLL_S)
        while not await to_thread.run_sync(self._is_ready, found.pid):
            if await to_thread.run_sync(postmaster.running, self._data) is None:
                raise PostgresFailed("start", said=await to_thread.run_sync(self._last_words))
            await anyio.sleep(_POLL_S)

    def _is_ready(self, pid: int) -> bool:
        found = postmaster.running(self._data)
        return found is not None and found.pid == pid and found.is_ready

    def _prepare(self) -> Confinement:
        confinement = Confinement(
            base=self._base, installation=installation_for(self._data), view=self._view, uid=self._uid
        )
        confinement.prepare()
        for directory in (self._base / "log", self.socket_dir):
            self._make_for_server(directory)
        settings = dict(SETTINGS) | {
            "unix_socket_directories": self._socket_view,
            "port": str(PORT),
            "log_directory": confinement.path("log"),
        }
        (self._base / "postgresql.conf").write_text(render(settings | self._settings))
        (self._base / "postgresql.conf").chmod(0o644)
        return confinement

    def _make_for_server(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, exist_ok=True)
        owner = os.geteuid() if self._uid is None else self._uid
        stat = directory.lstat()
        if stat.st_uid not in (owner, os.geteuid()):
            raise PostgresFailed("start", said=f"{directory} belongs to user {stat.st_uid}, not to {owner}")
        if stat.st_uid != owner:
            os.chown(directory, owner, owner, follow_symlinks=False)
        if stat.st_mode & 0o077:
            directory.chmod(0o700)

    async def _make_data(self, confinement: Confinement) -> None:
        """Run initdb beside the data directory and move the result into place, so that half of one is never used.

        Each try has a directory of its own: the initdb of a starter that was killed may still be writing.
        """
        partial = self._base / f"data.{secrets.token_hex(4)}"
        secret = self._base / "password"
        password = secrets.token_urlsafe(32)

        def prepare() -> None:
            abandoned = [path for path in self._base.glob("data.*") if path.is_dir()]
            subprocess.run(["rm", "-rf", "--", *abandoned], check=False)
            self._make_for_server(partial)
            write_private(secret, password)
            if self._uid is not None:
                os.chown(secret, self._uid, self._uid)
            write_private(self._state_dir / "postgres.password", password)

        await to_thread.run_sync(prepare)
        command = confinement.command(
            "initdb",
            f"--pgdata={confinement.path(partial.name)}",
            f"--pwfile={confinement.path('password')}",
            f"--username={SUPERUSER}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale-provider=builtin",  # the same order of text on every host, whatever its C library
            "--builtin-locale=C.UTF-8",
            "--locale=C",
            "--no-instructions",
            *(("--no-sync",) if self._settings.get("fsync") == "off" else ()),
            pid_file="initdb.pid",
        )
        try:
            done = await to_thread.run_sync(_run, command)
        finally:
            secret.unlink(missing_ok=True)
        if done.returncode != 0:
            raise PostgresFailed("make its data directory", said=done.stdout)
        await to_thread.run_sync(partial.rename, self._data)

    async def _launch(self, confinement: Confinement) -> int:
        """Start the server as nobody's child and return its process id."""
        pid_file = self._base / "launched.pid"
        pid_file.unlink(missing_ok=True)
        command = confinement.command(
            "postgres",
            "-D",
            confinement.path("data"),
            "-c",
            f"config_file={confinement.path('postgresql.conf')}",
            pid_file=pid_file.name,
        )
        # setsid --fork: the server is init's child from birth, so we have no zombie of it to bury.
        await to_thread.run_sync(_run, ["setsid", "--fork", *command], self._base / "start.log")
        with anyio.move_on_after(STOP_LIMIT_S):
            while True:
                with suppress(FileNotFoundError):
                    text = pid_file.read_text().strip()
                    if text:
                        return int(text)
                if self._last_words() and not pid_file.exists():  # the launcher complained and is gone
                    break
                await anyio.sleep(_POLL_S)
        raise PostgresFailed("start", said=await to_thread.run_sync(self._last_words))

    def _last_words(self) -> str:
        try:
            return (self._base / "start.log").read_text(errors="replace")[-2000:]
        except FileNotFoundError:
            return ""

    async def _clear_leftovers(self) -> None:
        """End the sessions of a server that is dead, and remove its lock files."""
        for kill in (None, signal.SIGQUIT, signal.SIGKILL):
            orphans = await to_thread.run_sync(postmaster.leftovers, self._data)
            for pid in orphans:
                if kill is not None:
                    with suppress(ProcessLookupError):
                        os.kill(pid, kill)
            with anyio.move_on_after(_ORPHAN_GRACE_S):
                while await to_thread.run_sync(postmaster.leftovers, self._data):  # noqa: ASYNC110  others end, not we
                    await anyio.sleep(_POLL_S)
                break
        await to_thread.run_sync(postmaster.forget, self._data, self.socket_dir)

    async def _stop(self) -> None:
        for end, limit_s in ((signal.SIGINT, STOP_LIMIT_S), (signal.SIGQUIT, 2.0), (signal.SIGKILL, 2.0)):
            found = await to_thread.run_sync(postmaster.running, self._data)
            if found is None:
                break
            with suppress(ProcessLookupError):
                os.kill(found.pid, end)
            with anyio.move_on_after(limit_s):
                await self._until_dead()
        if self._data.exists():
            await self._clear_leftovers()
        await to_thread.run_sync(self._remove_outside)

    def _remove_outside(self) -> None:
        """Remove what the server had outside the state directory: its view of it, and a short place for its socket."""
        for directory in {self._view, self.socket_dir} - {self._base, self._base / "socket"}:
            with suppress(OSError):  # not there, or somebody put something in it
                directory.rmdir()

    async def _until_dead(self) -> None:
        """Wait for the live server's end through its pidfd; return at once when there is none."""
        found = await to_thread.run_sync(postmaster.running, self._data)
        if found is None:
            return
        try:
            fd = os.pidfd_open(found.pid)
        except ProcessLookupError:
            return
        try:
            if await to_thread.run_sync(postmaster.works_in, found.pid, self._data):  # still it, so the fd is its
                await anyio.wait_readable(fd)
        finally:
            os.close(fd)


def _run(command: list[str], output: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return what it said, or write that to a file. Blocks.

    Not through the loop: uvloop hands its own descriptors on to what it starts, and a server that outlives us would
    hold our standard output open.
    """
    fd = None
    if output is not None:
        fd = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        return subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if fd is None else fd,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=_ENVIRONMENT,
            cwd="/",
            timeout=START_LIMIT_S,
        )
    finally:
        if fd is not None:
            os.close(fd)


def _fits_socket(directory: Path) -> bool:
    return len(os.fsencode(directory / f".s.PGSQL.{PORT}")) <= SOCKET_PATH_LIMIT_BYTES
