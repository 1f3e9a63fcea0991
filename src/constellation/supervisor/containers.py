"""Interactive sandboxes in containers: Docker holds them, so they outlive comet, and the platform has to end them."""

from __future__ import annotations

from pathlib import Path

import anyio
import msgspec

# As comet writes it when it makes the first; beside the sandboxes' own directories.
RECORD = Path("run", "sandbox-containers", "daemon.json")
_WITHIN_S = 30.0  # chosen: a removal takes a tenth of a second


class Daemon(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to ask, and for which containers."""

    socket: str
    label: str  # name=value


async def stop_containers(data_dir: Path) -> bool:
    """End them all; return whether there were any. A daemon that is not there, or is silent, has its own way with them."""
    try:
        told = msgspec.json.decode((data_dir / RECORD).read_bytes(), type=Daemon)
    except (OSError, msgspec.DecodeError):
        return False
    import httpx  # noqa: PLC0415  # here, so that a platform without them does not carry it through its life

    transport = httpx.AsyncHTTPTransport(uds=told.socket)
    filters = msgspec.json.encode({"label": [told.label]}).decode()
    ids: list[str] = []
    with anyio.move_on_after(_WITHIN_S):
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://docker", timeout=_WITHIN_S) as client:
                listed = await client.get("/containers/json", params={"all": "true", "filters": filters})
                ids = [str(each["Id"]) for each in listed.raise_for_status().json()]
                for each in ids:
                    await client.delete(f"/containers/{each}", params={"force": "true", "v": "true"})
        except httpx.HTTPError:
            return bool(ids)
    return bool(ids)
