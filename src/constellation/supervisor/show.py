"""`constellation status`: what the record says, held against the process table."""

from __future__ import annotations

from pathlib import Path

import msgspec

from constellation.supervisor.record import read_record


class PlaneStatus(msgspec.Struct, kw_only=True, frozen=True):
    name: str
    pid: int | None
    state: str
    address: str


def statuses(data_dir: Path) -> list[PlaneStatus]:
    """Return the planes in the order of starting, Postgres first when it is ours; nothing when no platform is there."""
    record = read_record(data_dir)
    found: list[PlaneStatus] = []
    if record is None:
        return found
    if record.has_embedded_postgres:
        from constellation.nova.store.postmaster import running  # noqa: PLC0415  # the store, for this one question

        server = running(data_dir / "postgres" / "data")
        state = "stopped" if server is None else "running" if server.is_ready else "starting"
        found.append(
            PlaneStatus(
                name="postgres",
                pid=None if server is None else server.pid,
                state=state,
                address=str(data_dir / "postgres" / "socket"),
            )
        )
    for plane in record.planes:
        is_alive = plane.process is not None and plane.process.is_alive
        state = plane.state if is_alive or plane.state in ("restarting", "stopped", "starting") else "stopped"
        if not record.supervisor.is_alive and not is_alive:
            state = "stopped"
        pid = plane.process.pid if plane.process is not None and is_alive else None
        found.append(PlaneStatus(name=plane.name, pid=pid, state=state, address=plane.address))
    return found


def as_json(planes: list[PlaneStatus]) -> str:
    return msgspec.json.encode({"planes": planes}).decode()


def as_table(planes: list[PlaneStatus]) -> str:
    rows = [("PLANE", "STATE", "PID", "ADDRESS")]
    rows += [(plane.name, plane.state, str(plane.pid or "-"), plane.address or "-") for plane in planes]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)), row[3]]) for row in rows
    )
