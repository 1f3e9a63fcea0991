"""What the tools of a build say: passed on as it comes, up to a bound, and the end of it kept for the reason of a failure."""

from __future__ import annotations

from collections.abc import Callable

from constellation.comet.strangers import GuestPipe

_LIMIT_BYTES = 4 << 20  # chosen: a failing build of a thousand files; whoever reads more does not read it
_TAIL_BYTES = 16 << 10
_READ_BYTES = 64 << 10
_REASON_CHARS = 4000
_CUT = b"\n[the rest of the output is left out]\n"

# What programs say of the limits that the kernel keeps without saying who met them, and what the user can do.
_HINTS = (
    (b"No space left on device", "its files need more than the {disk_mb} MiB that a build may write"),
    (b"Disk quota exceeded", "its files need more than the {disk_mb} MiB that a build may write"),
    (
        b"Resource temporarily unavailable",
        "it has more than the {processes} processes and threads that a build may have",
    ),
    (b"Cannot fork", "it has more than the {processes} processes and threads that a build may have"),
    (b"Cannot allocate memory", "it needs more than the {memory_mb} MiB of memory that a build may use"),
)


class Output:
    """Reads a pipe to its end."""

    def __init__(self, log: Callable[[bytes], None]) -> None:
        self._log = log
        self._left = _LIMIT_BYTES
        self._tail = bytearray()

    def say(self, text: str) -> None:
        """Add a line of the platform's own."""
        self._take(f"constellation: {text}\n".encode())

    async def listen(self, fd: int) -> None:
        """Pass on what comes, until every writer has ended."""
        pipe = GuestPipe(fd)
        try:
            while data := await pipe.read(_READ_BYTES):
                self._take(data)
        finally:
            pipe.close_nowait()

    def _take(self, data: bytes) -> None:
        self._tail += data
        del self._tail[:-_TAIL_BYTES]
        if self._left <= 0:
            return
        passed = data[: self._left]
        self._left -= len(passed)
        self._log(passed)
        if self._left <= 0:
            self._log(_CUT)

    def reason(self, status: str, **limits: int) -> str:
        """Return why the build failed: the limit that a program speaks of, or else its last words."""
        for words, hint in _HINTS:
            if words in self._tail:
                return f"{hint.format(**limits)} ({words.decode()})"
        end = self._tail.decode("utf-8", "replace").strip()[-_REASON_CHARS:]
        return f"{status}: {end}" if end else status
