"""What a worker's process printed, collected within a bound."""

from __future__ import annotations

from constellation.comet.backend.contract import CallLog

_NOTHING = CallLog()


class LogBuffer:
    """Bytes up to `limit_bytes`; what comes after is dropped and the log marked as cut."""

    __slots__ = ("_left", "_parts", "is_cut")

    def __init__(self, limit_bytes: int) -> None:
        self._parts: list[bytes] = []
        self._left = limit_bytes
        self.is_cut = False

    @property
    def is_empty(self) -> bool:
        return not self._parts and not self.is_cut

    def add(self, raw: bytes, *, is_cut: bool = False) -> None:
        if is_cut:
            self.is_cut = True
        if not raw:
            return
        if len(raw) > self._left:
            self.is_cut = True
            raw = raw[: self._left]
            if not raw:
                return
        self._left -= len(raw)
        self._parts.append(raw)

    def freeze(self) -> CallLog:
        """Return what was collected as text; bytes that are not UTF-8 are replaced."""
        if not self._parts and not self.is_cut:
            return _NOTHING
        return CallLog(text=b"".join(self._parts).decode("utf-8", "replace"), truncated=self.is_cut)

    def tail(self, count_bytes: int) -> bytes:
        return b"".join(self._parts[-64:])[-count_bytes:]
