"""What there is outside to be found from inside, and whether it is all still there afterwards."""

from __future__ import annotations

import os
import shutil
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

SECRET_NAME = "CONSTELLATION_ESCAPE_SECRET"
SYSTEM_MOUNTS = ("/", "/proc", "/sys", "/dev")
SWITCHES = ("kernel/core_pattern", "kernel/hostname", "kernel/domainname", "kernel/sysrq", "net/ipv4/ip_forward")


def executable_of_sleep() -> bytes:
    return Path("/bin/sleep").read_bytes()


class Host:
    """A host with a secret file, services, a platform's directories, and code with traps in it."""

    def __init__(self, root: Path, run_dir: Path) -> None:
        self._open = ExitStack()
        self.root, self.code = root, root / "code"
        root.chmod(0o755)
        for name in ("code", "code/aside", "scratch", "open"):
            (root / name).mkdir()
            (root / name).chmod(0o755)
        self.secret = root / "secret"
        self.secret.write_text("the host's own")
        server = self._open.enter_context(socket.create_server(("127.0.0.1", 0)))
        abstract = self._open.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind(f"\0constellation-host-{os.getpid()}")
        named = self._open.enter_context(socket.socket(socket.AF_UNIX))
        named.bind(str(root / "open" / "socket"))
        for each in (abstract, named):
            each.listen(16)
        self.values: dict[str, Any] = {
            "host_pid": os.getpid(),
            "host_uid": os.geteuid(),
            "host_file": str(self.secret),
            "host_dir": str(root),
            "host_port": server.getsockname()[1],
            "host_abstract": abstract.getsockname()[1:].decode(),
            "host_socket": named.getsockname(),
            "run_dir": str(run_dir),
            "shared_file": os.__file__,
            "handle": (b"\x08\0\0\0\x01\0\0\0\x02\0\0\0" + bytes(124)).hex(),
            "group_root": "/sys/fs/cgroup/memory/tasks",
            "own_limit": "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        }
        self._before = self.state()

    def lay_traps(self, source: str) -> None:
        """Write the function's code, with what a tenant or a careless builder may have put beside it."""
        (self.code / "main.py").write_text(source)
        (self.code / "other.py").write_text("")
        (self.code / "way-out").symlink_to(self.secret)
        (self.code / "private").write_text("root only")
        (self.code / "private").chmod(0o600)
        for name in ("becomes-root", "has-power", "other-program"):
            (self.code / name).write_bytes(executable_of_sleep())
            (self.code / name).chmod(0o755)
        if os.geteuid() == 0:
            (self.code / "becomes-root").chmod(0o4755)
            # VFS_CAP_REVISION_2, effective; cap_net_raw permitted
            os.setxattr(self.code / "has-power", "security.capability", b"\1\0\0\2\0\x20\0\0" + bytes(12))

    def seen_from_inside(self) -> dict[str, Any]:
        return {
            **self.values,
            "scratch": "/tmp",
            "code_scratch": "/tmp",
            "code": "/code",
            "program": "/code/other-program",
        }

    def seen_from_outside(self) -> dict[str, Any]:
        scratch = self.root / "scratch"
        shutil.rmtree(scratch)
        scratch.mkdir()
        scratch.chmod(0o777)
        return {
            **self.values,
            "scratch": str(scratch),
            "code_scratch": str(self.code / "aside"),
            "code": str(self.code),
            "program": "/bin/sleep",
        }

    def state(self) -> dict[str, Any]:
        """Return what no function and no control run may change."""
        mounts = [line.split(" - ") for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        return {
            "hostname": os.uname().nodename,
            "clock": round((time.time() - time.monotonic()) / 5),  # 5 s: a host's own clock is steered a little
            "mounts": [head.split()[4:6] for head, _ in mounts if head.split()[4] in SYSTEM_MOUNTS],
            "swaps": Path("/proc/swaps").read_text(),
            "switches": {name: _text(Path("/proc/sys", name)) for name in SWITCHES},
            "secret": self.secret.read_text(),
            "code": sorted(os.listdir(self.code / "aside")),
            "niceness": os.getpriority(os.PRIO_PROCESS, 0),
            "score": Path("/proc/self/oom_score_adj").read_text(),
            "files": Path("/bin/sleep").stat().st_mtime_ns,
        }

    def unharmed(self) -> None:
        assert self.state() == self._before

    def close(self) -> None:
        self._open.close()


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def processes_of(uid: int) -> list[str]:
    """Return the commands of a user's processes."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        fields = dict(line.partition(":\t")[::2] for line in _text(process / "status").splitlines())
        if fields.get("Uid", "").split("\t")[1:2] == [str(uid)]:
            found.append(fields["Name"])
    return found
