"""The files of a function's directory, chosen by patterns and ready to be sent."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from constellation.orbit.failures import OrbitError
from constellation.orbit.output import size

MANIFEST_NAME = "function.yaml"
EVENT_NAME = "event.json"
MAX_BYTES = 10 << 20  # the platform's limit for the code of a function
MAX_FILES = 1000  # likewise
# What a directory of code holds that no function reads.
EXCLUDED = (MANIFEST_NAME, EVENT_NAME, "README*", "**/.*", "**/.*/**", "**/__pycache__/**", "**/*.pyc", "venv/**")


def collect(root: Path, *, include: Sequence[str] = ("**",), exclude: Sequence[str] = ()) -> dict[str, bytes]:
    """Return path -> content of the files below `root` that a pattern includes and none excludes.

    Patterns are relative to `root`: `*` and `?` stay within a name, `**` crosses directories, "dir/" is all below it.

    Raises:
        OrbitError: there is none, there are too many, they are too large, or a link leads out of `root`.
    """
    wanted, unwanted = Matcher(include), Matcher((*EXCLUDED, *exclude))
    files: dict[str, bytes] = {}
    total_bytes = 0
    home = root.resolve()
    for path in _walk(root, root, unwanted):
        name = path.relative_to(root).as_posix()
        if not wanted(name) or unwanted(name):
            continue
        if not path.resolve().is_relative_to(home):
            raise OrbitError(f"{path} is a link that leads out of {root}", hint="Copy the file, or exclude it.")
        total_bytes += path.stat().st_size
        if total_bytes > MAX_BYTES or len(files) >= MAX_FILES:
            raise OrbitError(
                f"{root} holds more than {size(MAX_BYTES)} or {MAX_FILES} files of code",
                hint=f"Exclude what the function does not read: `files: {{exclude: [...]}}` in {MANIFEST_NAME}.",
            )
        files[name] = path.read_bytes()
    if not files:
        raise OrbitError(f"{root} has no files to deploy")
    return files


def single(path: Path) -> dict[str, bytes]:
    """Return the one file of a function that has no directory of its own."""
    if path.stat().st_size > MAX_BYTES:
        raise OrbitError(f"{path} is larger than {size(MAX_BYTES)}")
    return {path.name: path.read_bytes()}


def encoded(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return the files as the API carries them: path -> base64."""
    return {name: b64encode(content).decode("ascii") for name, content in sorted(files.items())}


class Matcher:
    """Whether a relative path matches one of a set of patterns."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._expression = re.compile("|".join(map(_regex, patterns)) or r"(?!)")

    def __call__(self, name: str) -> bool:
        return self._expression.fullmatch(name) is not None


def is_part(name: str, *, include: Sequence[str] = ("**",), exclude: Sequence[str] = ()) -> bool:
    """Return whether a path relative to the function's directory would be deployed."""
    return Matcher(include)(name) and not Matcher((*EXCLUDED, *exclude))(name)


def _walk(directory: Path, root: Path, unwanted: Matcher) -> Iterator[Path]:
    for path in sorted(directory.iterdir()):
        name = path.relative_to(root).as_posix()
        if path.is_dir() and not path.is_symlink():
            # A whole tree that no pattern can reach (.git, a virtual environment) is not walked.
            if not unwanted(name) and not unwanted(f"{name}/x"):
                yield from _walk(path, root, unwanted)
        elif path.is_file():
            yield path


def _regex(pattern: str) -> str:
    text = pattern.removeprefix("./")
    if text.endswith("/"):
        text += "**"
    out, at = "", 0
    while at < len(text):
        if text.startswith("**/", at):
            out, at = out + "(?:.*/)?", at + 3
        elif text.startswith("**", at):
            out, at = out + ".*", at + 2
        elif text[at] == "*":
            out, at = out + "[^/]*", at + 1
        elif text[at] == "?":
            out, at = out + "[^/]", at + 1
        else:
            out, at = out + re.escape(text[at]), at + 1
    return f"(?:{out})"
