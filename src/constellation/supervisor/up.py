"""`constellation up`: in the foreground this process becomes the supervisor, with --detach it starts one."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import anyio
import structlog

from constellation.base.statedir import make_private
from constellation.nova.config.load import ConfigInvalid, Loaded
from constellation.supervisor.errors import HostUnfit, PlaneFailed, StartFailed, StillStarting
from constellation.supervisor.output import show_on_stdout
from constellation.supervisor.plan import PlanePlan, Wishes, plan
from constellation.supervisor.ports import Addresses, Reservations, choose
from constellation.supervisor.record import PlatformRecord, read_record
from constellation.supervisor.stop import clear_leftovers
from constellation.supervisor.supervise import Started, Supervisor, sole_supervisor

log = structlog.get_logger()

_OTHERS_START_S = 180.0  # a first start makes a database, on a slow disk
_POLL_S = 0.1
_WORDS_BYTES = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    listen: list[str]
    data_dir: Path
    is_default_place: bool
    config: Path | None
    pg_dsn: str | None
    auth: str | None  # None: loopback where only this host can call
    native_lane: bool | None = None  # None: as configured


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How `up` went: ready, found a platform that runs already, or failed and says why."""

    urls: list[str]
    auth: str
    admin_key: str | None = None  # of the very first start; a failed one has made it all the same
    was_running: bool = False
    failure: str | None = None


class Planner(Protocol):
    """Says what is started; `plan.plan` but in tests of the supervisor alone."""

    def __call__(
        self, wishes: Wishes, addresses: Addresses, /, *, env: Mapping[str, str], supervisor_pid: int
    ) -> list[PlanePlan]: ...


async def up(
    options: UpOptions,
    loaded: Loaded,
    *,
    env: Mapping[str, str],
    announce: Callable[[Outcome], None],
    is_shown: bool,
    planner: Planner = plan,
) -> None:
    """Run the platform until a signal; `announce` is told once it is ready, or found to run already.

    Raises:
        HostUnfit, AddressTaken, PlaneFailed, ConfigInvalid, StillStarting, WillNotDie.
    """
    make_private(options.data_dir)
    with contextlib.ExitStack() as stack:
        if not stack.enter_context(sole_supervisor(options.data_dir)):
            announce(_running(await _until_running(options.data_dir)))
            return
        for name in await clear_leftovers(options.data_dir):
            log.warning("leftover.ended", process=name)
        reservations = stack.enter_context(contextlib.closing(Reservations()))
        addresses = choose(
            loaded, listen=options.listen, is_default_place=options.is_default_place, reservations=reservations
        )
        if options.auth == "loopback" and not addresses.is_loopback_only:
            raise ConfigInvalid("zenith.auth", "can not be loopback on an address that other hosts can reach")
        auth = options.auth or ("loopback" if addresses.is_loopback_only else "required")
        wishes = Wishes(
            data_dir=options.data_dir,
            config=options.config,
            pg_dsn=options.pg_dsn,
            auth=auth,
            trusted_uid=os.getuid(),
            native_lane=options.native_lane,
        )
        supervisor = Supervisor(
            planner(wishes, addresses, env=env, supervisor_pid=os.getpid()),
            data_dir=options.data_dir,
            urls=addresses.urls,
            auth=auth,
            has_embedded_postgres=options.pg_dsn is None and not loaded.settings.postgres.dsn,
            show=show_on_stdout if is_shown else None,
        )

        def tell(started: Started) -> None:
            key = None if is_shown else started.admin_key  # what nova printed was seen
            announce(Outcome(urls=list(started.urls), auth=auth, admin_key=key))

        try:
            await supervisor.run(tell)
        except PlaneFailed as error:
            announce(Outcome(urls=[], auth=auth, admin_key=supervisor.admin_key, failure=str(error)))
            raise


def check_host() -> None:
    """Raise `HostUnfit` with advice unless this user can make sandboxes here. Blocks for some milliseconds."""
    from constellation.native.probe import probe  # noqa: PLC0415  # the native core, for this one question

    found = probe()
    if not found.is_able:
        raise HostUnfit(found.reason, advice=found.advice)


def detach(words: list[str], *, data_dir: Path) -> Outcome:
    """Start a supervisor in the background and wait for its word. Blocks.

    Args:
        words: the command line of the foreground form; the descriptor to announce on is appended.

    Raises:
        StartFailed: it ended without being ready; its own words are in the message.
    """
    log_path = make_private(make_private(data_dir) / "logs") / "supervisor.log"
    read_fd, write_fd = os.pipe()
    try:
        # Until this user's next `up` it keeps what the supervisor itself says, which is little.
        error_fd = os.open(log_path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            child = subprocess.Popen(
                [*words, "--announce-fd", str(write_fd)],
                stdin=subprocess.DEVNULL,
                stdout=error_fd,
                stderr=error_fd,
                pass_fds=(write_fd,),
                start_new_session=True,
                cwd="/",
            )
        finally:
            os.close(write_fd)
            os.close(error_fd)
        with os.fdopen(read_fd, "rb", closefd=False) as pipe:
            line = pipe.readline()  # ends with the child's word or with the child, whose start has its own limits
    finally:
        os.close(read_fd)
    if line:
        return Outcome(**json.loads(line))
    child.wait(timeout=60)
    said = log_path.read_text(errors="replace")[-_WORDS_BYTES:].strip().removeprefix("constellation: ")
    raise StartFailed(said or f"the supervisor ended with status {child.returncode} and said nothing")


def announce_on(fd: int) -> Callable[[Outcome], None]:
    """Return how a background supervisor tells whoever started it."""

    def announce(outcome: Outcome) -> None:
        data = {
            "urls": outcome.urls,
            "auth": outcome.auth,
            "admin_key": outcome.admin_key,
            "was_running": outcome.was_running,
            "failure": outcome.failure,
        }
        with contextlib.suppress(BrokenPipeError):  # it did not wait; the platform runs all the same
            os.write(fd, json.dumps(data).encode() + b"\n")
        os.close(fd)

    return announce


def describe(outcome: Outcome) -> str:
    """Return what a person reads when the platform is up."""
    lines = []
    if outcome.failure is None:
        state = "is running already" if outcome.was_running else "is ready"
        lines.append(f"Constellation {state} at {' and '.join(outcome.urls)}")
    if outcome.admin_key is not None:
        lines.append(f"The administrator's API key, shown this once and stored nowhere: {outcome.admin_key}")
    if outcome.failure is None and not outcome.was_running:
        key = " -H 'X-API-Key: ...'" if outcome.auth == "required" else ""
        url = f"{outcome.urls[0]}/functions/hello-python/invoke"
        lines.append(f"""Try: curl -X POST {url}{key} -d '{{"name":"Ada"}}'""")
    return "".join(line + "\n" for line in lines)


def foreground_words(options: UpOptions) -> list[str]:
    """Return the command line that runs these options in the foreground."""
    words = [sys.executable, "-m", "constellation.supervisor.main", "up", "--data-dir", str(options.data_dir)]
    for address in options.listen:
        words += ["--listen", address]
    if options.is_default_place:
        words.append("--default-ports")
    if options.config is not None:
        words += ["--config", str(options.config.absolute())]
    if options.auth is not None:
        words += ["--auth", options.auth]
    if options.native_lane is not None:
        words.append("--native-lane" if options.native_lane else "--no-native-lane")
    return words  # the database's address travels in the environment


async def _until_running(data_dir: Path) -> PlatformRecord:
    """Wait for another supervisor's platform to be ready."""
    with anyio.move_on_after(_OTHERS_START_S):
        while True:
            record = read_record(data_dir)
            if record is not None and record.state == "running" and record.supervisor.is_alive:
                return record
            await anyio.sleep(_POLL_S)
    raise StillStarting(data_dir, waited_s=_OTHERS_START_S)


def _running(record: PlatformRecord) -> Outcome:
    return Outcome(urls=record.urls, auth=record.auth, was_running=True)
