"""Numbered migrations: each applied once, in order, in a transaction of its own, by one process at a time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib import resources

from constellation.base.errors import ConstellationError
from constellation.nova.store.pool import Database, Record
from constellation.nova.store.queries import load

SQL = load("migrate")

_FILE = re.compile(r"(?P<version>\d{4})_(?P<name>[a-z0-9_]+)\.sql")


class MigrationRefused(ConstellationError):
    """The database's history is not the beginning of ours."""

    code, http_status = "migration_refused", 500

    def __init__(self, version: int, *, reason: str) -> None:
        super().__init__(f"migration {version:04}: {reason}", extras={"version": version})
        self.version = version


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One file `NNNN_words.sql`."""

    version: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return sha256(self.sql.encode()).hexdigest()


def shipped() -> tuple[Migration, ...]:
    """Return the migrations of this release, in order.

    Raises:
        MigrationRefused: a number is there twice, or one is left out.
    """
    found = []
    for file in resources.files(__package__).joinpath("sql", "migrations").iterdir():
        match = _FILE.fullmatch(file.name)
        if match is not None:
            text = file.read_text(encoding="utf-8")
            found.append(Migration(version=int(match["version"]), name=match["name"], sql=text))
    ordered = tuple(sorted(found, key=lambda migration: migration.version))
    for number, migration in enumerate(ordered, start=1):
        if migration.version != number:
            raise MigrationRefused(migration.version, reason=f"expected number {number:04}")
    return ordered


async def migrate(db: Database, migrations: Sequence[Migration] | None = None) -> tuple[int, ...]:
    """Bring a database up to date and return the versions that were applied now.

    Args:
        db: a pool of the owner role.
        migrations: instead of those shipped.

    Raises:
        MigrationRefused: a file that was applied has changed since, or the database is newer than this release.
    """
    ours = shipped() if migrations is None else tuple(migrations)
    async with db.transaction() as tx:
        await tx.fetch_value(SQL["lock"])
        await tx.execute(SQL["create_history"])
    applied = []
    for migration in ours:
        async with db.transaction() as tx:
            await tx.fetch_value(SQL["lock"])
            history = await tx.fetch(SQL["history"])
            check_history(history, ours)
            if migration.version > len(history):
                await tx.run_script(migration.sql)
                await tx.execute(SQL["record"], migration.version, migration.name, migration.sha256)
                applied.append(migration.version)
    return tuple(applied)


def check_history(history: Sequence[Record], ours: Sequence[Migration]) -> None:
    """Raise `MigrationRefused` unless what was applied is the beginning of what we have."""
    for number, row in enumerate(history, start=1):
        if row["version"] != number:
            raise MigrationRefused(number, reason="was never applied, though a later one was")
        if number > len(ours):
            raise MigrationRefused(
                number, reason=f"({row['name']}) is unknown: the database is newer than this release"
            )
        if row["sha256"] != ours[number - 1].sha256:
            raise MigrationRefused(number, reason="has changed since it was applied; add a new one instead")
