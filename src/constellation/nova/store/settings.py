"""What was set while the planes run, what it was before, and how a plane follows it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import asyncpg
import structlog
from anyio import TASK_STATUS_IGNORED, to_thread
from anyio.abc import TaskStatus

from constellation.base.errors import ConstellationError, NotFound, PreconditionFailed
from constellation.nova.config.live import InForce
from constellation.nova.store.listen import Wakeup
from constellation.nova.store.page import Page
from constellation.nova.store.pool import Database, connect
from constellation.nova.store.queries import load

log = structlog.get_logger()

SQL = load("settings")

CHANNEL = "settings"  # notified at each commit that changed one
KEPT_CHANGES = 200  # chosen: of one setting; nobody goes back further
SAFETY_POLL_S = 30.0  # chosen: finds what a lost notification hid
RETRY_S = 0.5  # chosen: the database is away
SHOWN_WITHIN_S = 2.0  # chosen: who asks for the configuration of a platform that is down does not wait


@dataclass(frozen=True, slots=True, kw_only=True)
class SetValue:
    """One row of `settings`."""

    tenant: str  # "": the platform's
    key: str
    value: str | None  # None: it was taken back
    version: int
    updated_by: str
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingChange:
    """One row of `setting_changes`."""

    tenant: str
    key: str
    version: int  # of the setting, after it
    was: str | None
    value: str | None
    note: str
    actor: str
    at: datetime


class SetValues:
    """The tables settings and setting_changes."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def values(self) -> Mapping[str, Mapping[str, str]]:
        """Return what is set: by tenant ("" for the platform) and key."""
        found: dict[str, dict[str, str]] = {}
        for row in await self._db.fetch(SQL["values"]):
            found.setdefault(row["tenant"], {})[row["key"]] = row["value"]
        return found

    async def try_get(self, tenant: str, key: str) -> SetValue | None:
        """Return a setting that was ever set."""
        row = await self._db.fetch_row(SQL["get"], tenant, key)
        return None if row is None else SetValue(**row)

    async def all_of(self, tenant: str) -> Mapping[str, SetValue]:
        """Return what was ever set of a tenant, or ("") of the platform, by key; taken back or not."""
        return {row["key"]: SetValue(**row) for row in await self._db.fetch(SQL["list"], tenant)}

    async def put(
        self,
        tenant: str,
        key: str,
        value: str | None,
        *,
        actor: str,
        note: str = "",
        version: int | None = None,
        told: str | None = None,
    ) -> None:
        """Set a value, or (None) take it back, and write down what it was; what is so already stays as it is.

        Args:
            version: it must be at this one; 0: never set. None: at any.
            told: what the history has instead of values that are not to be told.

        Raises:
            PreconditionFailed: it is at another version.
            NotFound: there is no such tenant.
        """
        try:
            async with self._db.transaction() as tx:
                await tx.fetch_value(SQL["serialize"])  # before any row is held, as every change of configuration does
                row = await tx.fetch_row(SQL["get"], tenant, key)
                was, at = (None, 0) if row is None else (row["value"], row["version"])
                if version is not None and version != at:
                    raise PreconditionFailed("setting", key)
                if was == value:
                    return
                await tx.execute(SQL["put"], tenant, key, value, actor, at + 1)
                shown = [each if each is None or told is None else told for each in (was, value)]
                await tx.execute(SQL["insert_change"], tenant, key, at + 1, *shown, note, actor)
                await tx.execute(SQL["trim_changes"], tenant, key, KEPT_CHANGES)
        except asyncpg.ForeignKeyViolationError as error:
            raise NotFound("tenant", tenant) from error

    async def changes(self, tenant: str, key: str, *, limit: int = 100, offset: int = 0) -> Page[SettingChange]:
        """Return the changes of a setting, newest first."""
        rows = await self._db.fetch(SQL["changes"], tenant, key, limit, offset)
        total: int = await self._db.fetch_value(SQL["count_changes"], tenant, key)
        return Page(items=tuple(SettingChange(**row) for row in rows), total=total, has_more=offset + len(rows) < total)

    async def value_at(self, tenant: str, key: str, version: int) -> str | None:
        """Return what a setting was at a version; 0 is before the first change. Raises `NotFound`: it is not kept."""
        after = version == 0
        row = await self._db.fetch_row(SQL["change"], tenant, key, max(version, 1))
        if row is None:
            raise NotFound("version of the setting", str(version))
        found: str | None = row["was" if after else "value"]
        return found


class SettingsFollower:
    """Keeps a process's settings as they are set."""

    def __init__(self, values: SetValues, in_force: InForce) -> None:
        self._values, self._in_force = values, in_force

    async def run(
        self, subscription: AbstractContextManager[Wakeup], *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED
    ) -> None:
        """Follow until cancelled, through any failure of the database; started means read once."""
        is_first = True
        with subscription as wakeup:
            while True:
                try:
                    self._in_force.take(await self._values.values())
                    wait_s = SAFETY_POLL_S
                except ConstellationError as error:  # the supervision point: what was read last goes on holding
                    log.warning("settings.not_read", reason=str(error))
                    wait_s = RETRY_S
                if is_first:
                    task_status.started()
                    is_first = False
                await wakeup.wait(within_s=wait_s)


async def values_of(state_dir: Path) -> Mapping[str, Mapping[str, str]] | None:
    """Return what is set on the platform of a state directory; None: its database does not answer."""

    def dsn() -> str | None:
        try:
            return (state_dir / "nova.dsn").read_text().strip()
        except OSError:
            return None

    found = await to_thread.run_sync(dsn)
    if not found:
        return None
    try:
        async with connect(found, application="config show", max_size=1, wait_s=SHOWN_WITHIN_S) as db:
            return await SetValues(db).values()
    except ConstellationError:
        return None
