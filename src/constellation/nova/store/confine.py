"""How the embedded server is started: detached, and for root as a user of its own in a mount namespace of its own.

PostgreSQL refuses to run as root, and another user can reach neither a 0700 state directory nor a wheel below a
0700 home. So root gives the server a private view: its base directory and the wheel are bound under
/run/constellation/<id>, where every parent is open, and no mode of any parent is changed. The user exists in that
view's /etc/passwd only, because initdb wants a name for its number.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from constellation.nova.store.binaries import Installation

SERVER_USER = "constellation"
VIEWS = Path("/run/constellation")

# Mounts are slaves: what the host unmounts later goes away here too, and nothing of this view is seen outside.
_AS_ROOT = """
umask 077
base=$1 view=$2 server=$3 libraries=$4 uid=$5 pid_file=$6
shift 6
mount --bind "$base" "$view"
mount --bind "$server" "$view/wheel/package/server"
mount --bind "$libraries" "$view/wheel/${libraries##*/}"
mount --bind "$view/passwd" /etc/passwd
echo $$ > "$view/$pid_file"
exec setpriv --reuid="$uid" --regid="$uid" --clear-groups --no-new-privs --inh-caps=-all -- "$@"
"""
_AS_USER = """
umask 077
pid_file=$1
shift
echo $$ > "$pid_file"
exec "$@"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """Where the server finds its files, and under whom it runs."""

    base: Path  # on the host
    installation: Installation
    view: Path  # of `base` for the server; the same as `base` without root
    uid: int | None  # None: as ourselves

    def path(self, *parts: str) -> str:
        """Return a path below the base directory as the server sees it."""
        return str(self.view.joinpath(*parts))

    def command(self, program: str, *args: str, pid_file: str) -> list[str]:
        """Return the command that becomes a program of the installation.

        Its process id is written to `pid_file` below the base directory before the program begins.
        """
        if self.uid is None:
            binary = str(self.installation.binary(program))
            return ["sh", "-euc", _AS_USER, "sh", str(self.base / pid_file), binary, *args]
        inside = ["sh", "-euc", _AS_ROOT, "sh", str(self.base), str(self.view), str(self.installation.root)]
        inside += [str(self.installation.libraries), str(self.uid), pid_file]
        inside += [self.path("wheel", "package", "server", "bin", program), *args]
        return ["unshare", "--mount", "--propagation", "slave", "--", *inside]

    def prepare(self) -> None:
        """Make what the view is mounted on. Needs root when the server has a user of its own."""
        if self.uid is None:
            return
        VIEWS.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.view.mkdir(mode=0o755, exist_ok=True)
        # RPATH of initdb: $ORIGIN/../../../<package>.libs
        (self.base / "wheel" / "package" / "server").mkdir(mode=0o755, parents=True, exist_ok=True)
        (self.base / "wheel" / self.installation.libraries.name).mkdir(mode=0o755, exist_ok=True)
        for directory in ("wheel", "wheel/package"):
            (self.base / directory).chmod(0o755)  # whatever umask we were started with
        passwd = self.base / "passwd"
        passwd.write_text(
            "root:x:0:0:root:/:/usr/sbin/nologin\n"
            f"{SERVER_USER}:x:{self.uid}:{self.uid}:PostgreSQL of Constellation:/:/usr/sbin/nologin\n"
        )
        passwd.chmod(0o644)

    def clear(self) -> None:
        """Remove the empty directory that the view was mounted on."""
        if self.uid is not None and self.view.is_dir() and not any(self.view.iterdir()):
            self.view.rmdir()
