"""What programs of this host have said of themselves: one that is the same file says the same again, and is not asked."""

from __future__ import annotations

from pathlib import Path

_said: dict[tuple[object, ...], str] = {}


class Question:
    """A program and its arguments. Touches the disk.

    Raises:
        OSError: the program is not there.
    """

    def __init__(self, program: str | Path, *args: str) -> None:
        status = Path(program).stat()
        self._key = (str(program), status.st_ino, status.st_mtime_ns, status.st_size, args)

    @property
    def answer(self) -> str | None:
        """What it said before; None: it was not asked, or failed."""
        return _said.get(self._key)

    def remember(self, answer: str) -> str:
        _said[self._key] = answer
        return answer
