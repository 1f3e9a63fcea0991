"""Where a language's interpreter or compiler lies on this host: nova tells of it, comet runs it, and both look in the same places."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from constellation.nova.config.sections import RuntimesSettings
from constellation.nova.domain.runtimes import Program, RuntimeInfo

SEARCH = "/usr/local/bin:/usr/bin:/bin"  # and no $PATH, which differs between the planes

PROBE_S = 10.0  # chosen: an interpreter answers within 50 ms on an idle machine, R within 300


class InterpreterMissing(Exception):
    """No interpreter of a language, or not all that builds it, is on this host; the text says what to do about it."""


def configured_in(settings: RuntimesSettings) -> Mapping[str, Path]:
    """Return the interpreters that the settings name, by runtime id."""
    named = {
        "node": settings.node,
        "deno": settings.deno,
        "bun": settings.bun,
        "ruby": settings.ruby,
        "php": settings.php,
        "lua": settings.lua,
        "perl": settings.perl,
        "r": settings.r,
        "elixir": settings.elixir,
        "julia": settings.julia,
    }
    return {runtime: Path(path) for runtime, path in named.items() if path}


def locate(info: RuntimeInfo, configured: Path | None) -> Path:
    """Return the path of a language's interpreter, without running it. Touches the disk.

    Args:
        configured: what the setting `runtimes.<id>` names; nothing else is looked at then.

    Raises:
        InterpreterMissing
    """
    if configured is not None:
        if not configured.is_file():
            raise InterpreterMissing(f"{configured}, which runtimes.{info.id} names, does not exist")
        return configured.resolve()
    wheel = importlib.util.find_spec(info.wheel) if info.wheel else None
    for place in (wheel.submodule_search_locations or ()) if wheel is not None else ():
        path = Path(place, "bin", info.programs[0])
        if path.is_file():
            return path
    for name in info.programs:
        found = shutil.which(name, path=SEARCH)
        if found is not None:
            return Path(found).resolve()
    raise InterpreterMissing(
        f"there is no {info.programs[0]} in {SEARCH}: install {info.source}, or set runtimes.{info.id} to its path"
    )


def refuse_incomplete(info: RuntimeInfo, path: Path) -> None:
    """Run an interpreter to see whether it has the libraries that its worker needs. Blocks; call it in a thread.

    Raises:
        InterpreterMissing
    """
    if not info.check:
        return
    try:
        done = subprocess.run(
            [str(path), *info.check],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROBE_S,
            env={},
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InterpreterMissing(f"{path} can not be run: {error}") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().partition("\n")[0][-200:]
        raise InterpreterMissing(
            f"{path} {' '.join(info.check)} failed with {done.returncode}: {said}; install {info.source}"
        )


def locate_tool(program: Program) -> Path:
    """Return where a program is that builds need, without running it. Touches the disk.

    Raises:
        InterpreterMissing
    """
    beside = (str(Path(place).expanduser()) for place in program.beside)
    found = shutil.which(program.name, path=":".join((SEARCH, *beside)))
    if found is None:
        raise InterpreterMissing(f"there is no {program.name}: install {program.package}")
    return Path(found)
