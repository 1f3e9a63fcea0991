"""What this host can do for the network of sandboxes, told once by each backend that wants to know."""

from __future__ import annotations

import anyio
import anyio.to_thread
import structlog

from constellation.comet.network import probe

_log = structlog.get_logger()


async def egress(backend: str) -> tuple[str, str]:
    """Return, and log, how policies are enforced, with what of the host's own may be in their way, and why they are not."""
    reason = await anyio.to_thread.run_sync(probe.missing)
    if reason:
        _log.warning("backend.egress", backend=backend, means="none", reason=reason, effect="functions have no network")
        return "none", reason
    drops = await anyio.to_thread.run_sync(probe.forward_drops)
    if not drops:
        return "nftables", ""
    _log.warning(
        "backend.forward_drops", backend=backend, chains=drops, advice="have them accept what devices cst* send and get"
    )
    return f"nftables; what passes {', '.join(drops)}", ""
