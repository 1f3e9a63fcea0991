"""Ends a platform from outside, whatever is left of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import anyio
import msgspec

from constellation.supervisor.containers import stop_containers
from constellation.supervisor.errors import WillNotDie
from constellation.supervisor.record import Process, read_record, remove_record

_POLL_S = 0.05
_SUPERVISOR_S = 120.0  # six planes at up to 15 s each, and Postgres
_ORPHANS_S = 15.0  # planes whose supervisor is gone were told so by the kernel, and drain
_KILL_S = 5.0


async def stop_platform(data_dir: Path) -> bool:
    """Stop what runs in a data directory and wait until it is gone; return whether anything was there.

    The supervisor is asked first; what it leaves behind, or what was left when it was killed, is ended here.

    Raises:
        WillNotDie: a process outlived SIGKILL.
        PostgresFailed: the embedded server did.
    """
    record = read_record(data_dir)
    found = False
    if record is not None:
        if record.supervisor.is_alive:
            found = True
            await end([("supervisor", record.supervisor)], grace_s=_SUPERVISOR_S)
        record = read_record(data_dir) or record  # it may have started another plane since
    if record is not None:
        left = [(plane.name, plane.process) for plane in record.planes if plane.process and plane.process.is_alive]
        found = found or bool(left)
        await end(left, grace_s=_ORPHANS_S)
        if record.has_embedded_postgres:
            found = await stop_postgres(data_dir) or found
        found = await stop_sandboxes(data_dir) or found
        remove_record(data_dir)
    elif (data_dir / "postgres").is_dir():
        found = await stop_postgres(data_dir)
    return found


async def clear_leftovers(data_dir: Path) -> list[str]:
    """End the planes that a killed supervisor left, and return their names. Only for the sole supervisor."""
    record = read_record(data_dir)
    if record is None:
        return []
    left = [(plane.name, plane.process) for plane in record.planes if plane.process and plane.process.is_alive]
    await end(left, grace_s=_ORPHANS_S)
    remove_record(data_dir)
    return [name for name, _ in left]


async def end(processes: Sequence[tuple[str, Process]], *, grace_s: float) -> None:
    """Send SIGTERM, after `grace_s` seconds SIGKILL, and return when all are gone.

    Raises:
        WillNotDie: one is still there some seconds after SIGKILL.
    """
    for number, limit_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, _KILL_S)):
        for _, process in processes:
            if process.is_alive:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, number)
        with anyio.move_on_after(limit_s):
            while any(process.is_alive for _, process in processes):  # noqa: ASYNC110  # not our children
                await anyio.sleep(_POLL_S)
            return
    raise WillNotDie([name for name, process in processes if process.is_alive])


async def stop_sandboxes(data_dir: Path) -> bool:
    """End what holds interactive sandboxes, and them with it; return whether there was something."""
    had_containers = await stop_containers(data_dir)
    try:
        told = msgspec.json.decode((data_dir / "run" / "sandboxes" / "keeper.json").read_bytes(), type=Process)
    except (OSError, msgspec.DecodeError):
        return had_containers
    ran = told.is_alive
    await end([("keeper of sandboxes", told)], grace_s=_ORPHANS_S)
    return ran or had_containers


async def stop_postgres(data_dir: Path) -> bool:
    """Stop the embedded servers, the platform's and that of functions' databases; return whether the first ran."""
    # Here, so that the supervisor does not carry the store through its life.
    from constellation.nova.store.embedded import EmbeddedPostgres  # noqa: PLC0415

    server, databases = EmbeddedPostgres(data_dir), EmbeddedPostgres(data_dir / "databases")
    ran = server.pid is not None
    if databases.pid is not None:
        await databases.stop()
    if ran:
        await server.stop()
    return ran
