"""Why a platform does not start, or not stop."""

from __future__ import annotations

from pathlib import Path

from constellation.base.errors import ConstellationError


class HostUnfit(ConstellationError):
    """The host, or this user on it, can not make sandboxes."""

    code, http_status = "host_unfit", 503

    def __init__(self, reason: str, *, advice: str) -> None:
        super().__init__(f"this host refuses sandboxes ({reason}).\nTo change that: {advice}")


class PlaneFailed(ConstellationError):
    """A plane did not become ready; its last words say why."""

    code, http_status = "plane_failed", 503

    def __init__(self, plane: str, reason: str, *, said: list[str], log: Path) -> None:
        words = "".join(f"\n    {line}" for line in said) or " nothing"
        super().__init__(f"{plane} {reason}. It said:{words}\n(all of it: {log})")
        self.plane = plane


class AddressTaken(ConstellationError):
    """Somebody else listens where a plane should."""

    code, http_status = "address_taken", 409

    def __init__(self, plane: str, address: str, *, reason: str) -> None:
        super().__init__(f"{plane} can not listen on {address}: {reason}")


class StillStarting(ConstellationError):
    """Another `up` of this platform does not come to its end."""

    code, http_status = "still_starting", 503

    def __init__(self, data_dir: Path, *, waited_s: float) -> None:
        super().__init__(f"another `up` has held {data_dir} for {waited_s:g} s without becoming ready")


class StartFailed(ConstellationError):
    """The supervisor that was put in the background gave up."""

    code, http_status = "start_failed", 503

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


class WillNotDie(ConstellationError):
    """Processes outlived SIGKILL; only the kernel can be holding them."""

    code, http_status = "will_not_die", 503

    def __init__(self, names: list[str]) -> None:
        super().__init__(f"still there after SIGKILL: {', '.join(names)}")


class NoSuchPlane(ConstellationError):
    """A name that is no plane's."""

    code, http_status = "no_such_plane", 404

    def __init__(self, name: str, *, known: list[str]) -> None:
        super().__init__(f"{name!r} is no plane; there are {', '.join(known)}")
