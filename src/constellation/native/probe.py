"""Can this host and user make sandboxes? Tried for real: some distributions allow the namespace, refuse the mount."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from constellation.native import _core, libexec_path
from constellation.native.errors import describe

_lib, _ffi = _core.lib, _core.ffi

_PROBE_S = 10.0  # chosen: a probe takes 2 ms
_PROBE_UID = 1_000_000  # first of the range that instances get when comet runs as root

_SYSCTLS = (
    ("/proc/sys/user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"),
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for ct-zygote with `userns,`",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Whether sandboxes work here; if not, `reason` says what failed and `advice` what to change."""

    is_able: bool
    reason: str = ""
    advice: str = ""


def probe() -> Probe:
    """Make one whole sandbox and end it. Blocks for some milliseconds: call it in a thread.

    Raises:
        FileNotFoundError: ct-zygote was not built.
    """
    uid, gid = (_PROBE_UID, _PROBE_UID) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    done = subprocess.run(
        [str(libexec_path("ct-zygote")), "--probe", str(uid), str(gid)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_PROBE_S,
        env={},
        check=False,
    )
    if done.returncode == 0:
        return Probe(is_able=True)
    told = done.stdout.rstrip("\n").split(" ", 2)
    step, number, path = told if len(told) == 3 else ("start", "-5", f"ct-zygote ended with {done.returncode}")
    reason = f"{step}: {describe(int(number))}" + (f" ({path})" if path else "")
    return Probe(is_able=False, reason=reason, advice=_advice(step))


def _advice(step: str) -> str:
    for file, refusing, change in _SYSCTLS:
        try:
            value = Path(file).read_text().strip()
        except OSError:
            continue
        if value == refusing:
            return change
    if step == "clone":
        return "the kernel needs user namespaces (CONFIG_USER_NS, Linux 5.12 or newer); in a chroot they are refused"
    if step == "idmap":
        return f"as root of a container: map the uids from {_PROBE_UID} on into it, or run as an ordinary user"
    if step in {"root", "entry", "source"}:
        return "in a container: allow unconfined mounts and an unmasked /proc (systempaths=unconfined)"
    return "see the reason; the step names what the kernel refused"
