"""Published test programs of WASI preview 1: those of Node.js, compiled, from Debian's source package of it.

They are fetched when they are first wanted, by apt with directories of its own, and never become a part of the repository.
"""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path

_PACKAGE = "nodejs"
_FETCH_S = 300
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_SOURCE = "http://deb.debian.org/debian"


class ProgramsUnreachable(Exception):
    """They are not here and can not be had; the text says why."""


def programs_in(directory: Path) -> Path:
    """Return the directory with wasi/wasm/*.wasm and the files that they read, below fixtures/wasi. Blocks.

    Raises:
        ProgramsUnreachable
    """
    place = directory / "preview1"
    if (place / "wasi").is_dir():
        return place
    if shutil.which("apt-get") is None or not _KEYRING.is_file():
        raise ProgramsUnreachable("they come in a source package of Debian, and this is another system")
    work = directory / "preview1.partial"
    shutil.rmtree(work, ignore_errors=True)
    for name in ("lists/partial", "cache/archives/partial", "tree"):
        (work / name).mkdir(parents=True)
    (work / "sources.list").write_text(f"deb-src [signed-by={_KEYRING}] {_SOURCE} {_codename()} main\n")
    for act in (("update",), ("source", "--download-only", _PACKAGE)):
        _apt(work, *act)
    archive = next(work.glob(f"{_PACKAGE}_*.orig.tar.*"), None)
    if archive is None:
        raise ProgramsUnreachable(f"the source package {_PACKAGE} has no sources")
    with tarfile.open(archive) as tar:
        for member in tar:
            _, _, path = member.name.partition("/test/")
            if path.startswith(("wasi/wasm/", "fixtures/wasi/")) and member.isfile():
                file = work / "tree" / path
                file.parent.mkdir(parents=True, exist_ok=True)
                content = tar.extractfile(member)
                assert content is not None
                file.write_bytes(content.read())
    if not (work / "tree" / "wasi").is_dir():
        raise ProgramsUnreachable(f"{archive.name} has none")
    (work / "tree").rename(place)
    shutil.rmtree(work, ignore_errors=True)
    return place


def _codename() -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    raise ProgramsUnreachable("/etc/os-release names no release of Debian")


def _apt(work: Path, *act: str) -> None:
    options = {
        "Dir::Etc::sourcelist": work / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": work / "lists",
        "Dir::Cache": work / "cache",
    }
    flags = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    try:
        subprocess.run(
            ["apt-get", "-q", *flags, *act], cwd=work, check=True, capture_output=True, text=True, timeout=_FETCH_S
        )
    except subprocess.TimeoutExpired as error:
        raise ProgramsUnreachable(f"apt-get {act[0]} took longer than {_FETCH_S} s") from error
    except subprocess.CalledProcessError as error:
        raise ProgramsUnreachable(f"apt-get {act[0]}: {error.stderr.strip()[-300:]}") from error
