"""Whether the host passes on packets that are not for it.

A host that does so already is left alone. On one that does not, its devices are told to, one by one, since what sandboxes
ask for comes back by them; what others send to be passed on is dropped there still (`ruleset.host_rules`).
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

RECORD = "forwarding"  # the file in comet's own directory that names the devices which were told to
_CONF = Path("/proc/sys/net/ipv4/conf")
_OURS = "cst"  # what the uplinks of all platforms are called


def _flag(device: str) -> Path:
    return _CONF / device / "forwarding"


def _others() -> list[str]:
    return [each.name for each in _CONF.iterdir() if each.name.startswith(_OURS)]


def open_host(record: Path) -> tuple[str, ...]:
    """Let packets come back by every device; return, and record, those that did not pass any on by themselves.

    Where another platform has done it before, they count too: whoever stops last shuts them.
    """
    if _flag("all").read_text().strip() == "1":
        return ()
    devices = [each.name for each in _CONF.iterdir() if each.name not in ("all", "default", "lo")]
    closed = tuple(sorted(each for each in devices if not each.startswith(_OURS)))
    record.write_text("\n".join(closed))
    for device in closed:
        with suppress(OSError):  # it has just gone
            _flag(device).write_text("1")
    return closed


def shut_host(record: Path, *, uplink: str) -> None:
    """Take it back, unless the host was told in the meantime to pass everything on, or another platform needs it."""
    try:
        devices = record.read_text().split()
    except FileNotFoundError:
        return
    if _flag("all").read_text().strip() == "0" and not [each for each in _others() if each != uplink]:
        for device in devices:
            with suppress(OSError):
                _flag(device).write_text("0")
    record.unlink(missing_ok=True)
