"""A root for containers made of this host's own interpreters, where no registry can be asked for one."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

_TOOLS = ("sh", "sleep", "setsid", "cat", "id")
_UNWANTED = {"site-packages", "dist-packages", "test", "idlelib"}


def python_program() -> Path:
    """Return the interpreter outside of any virtual environment."""
    return Path(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}")


def write_root(archive: BinaryIO, *, node: Path | None = None) -> None:
    """Write a tar of this interpreter, its library, a few tools, maybe a node, and what they are linked with. Blocks."""
    library = Path(sysconfig.get_paths()["stdlib"])
    programs = {"python3": python_program()}
    programs |= {
        name: Path(found) for name in _TOOLS if (found := shutil.which(name, path="/usr/bin:/bin")) is not None
    }
    alone = () if node is None else (node,)
    linked = _linked([*programs.values(), *alone, *library.glob("lib-dynload/*.so")])
    names = [str(library), "/etc/ld.so.cache", *map(str, programs.values()), *linked]
    with tarfile.open(fileobj=archive, mode="w", dereference=True) as tar:  # a name may lead through other links
        paths = dict.fromkeys([*names, *(str(Path(name).resolve()) for name in names)])
        for parent in sorted({parent for path in paths for parent in Path(path).parents}):
            tar.addfile(_directory(parent))  # the interpreter may lie in a home that is its owner's alone
        for path in paths:
            if Path(path).exists():
                tar.add(path, filter=_wanted)
        for (
            program
        ) in alone:  # needs no neighbours, and lies where no container has a file system of its own, as in /tmp
            tar.add(program.resolve(), f"usr/local/bin/{program.name}")
        for name, program in programs.items():
            if str(program) not in (f"/usr/bin/{name}", f"/bin/{name}", f"/usr/local/bin/{name}"):
                link = tarfile.TarInfo(f"usr/bin/{name}")
                link.type, link.linkname = tarfile.SYMTYPE, str(program)
                tar.addfile(link)
        if "/bin/sh" not in paths:
            link = tarfile.TarInfo("bin/sh")
            link.type, link.linkname = tarfile.SYMTYPE, "/usr/bin/sh"
            tar.addfile(link)


def _linked(programs: Iterable[Path]) -> list[str]:
    """Return shared objects by the names under which the loader looks for them."""
    said = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=False).stdout
    # "libm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x...)"; the loader's line has no arrow
    return [word for line in said.splitlines() for word in line.split() if word.startswith("/") and ":" not in word]


def _directory(path: Path) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(str(path).lstrip("/") or ".")
    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
    return entry


def _wanted(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if Path(entry.name).name in _UNWANTED else entry
