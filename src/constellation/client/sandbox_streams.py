"""What comes in pieces from a sandbox: a program's output, a file's bytes; no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from constellation.client.sse import MalformedEvent
from constellation.client.streams import Reader

_LINE_BYTES = 1 << 20


class ExecEnd(msgspec.Struct, kw_only=True, frozen=True):
    exit_code: int
    signal: str | None = None
    timed_out: bool = False


class ExecPiece(msgspec.Struct, kw_only=True, frozen=True):
    """One of these is set; the last one is `exit`."""

    pid: int | None = None
    stdout: str | None = None
    stderr: str | None = None
    exit: ExecEnd | None = None


class ExecReading:
    """Lines of JSON, one a piece."""

    def __init__(self, _headers: Mapping[str, str]) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterable[ExecPiece]:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > _LINE_BYTES:
            raise MalformedEvent("a line does not end")
        for line in lines:
            try:
                yield msgspec.json.decode(line, type=ExecPiece)
            except msgspec.MsgspecError as error:
                raise MalformedEvent(str(error)) from error

    def end(self) -> Iterable[ExecPiece]:
        return ()


class BytesReading:
    """The bytes as they are."""

    def __init__(self, _headers: Mapping[str, str]) -> None:
        pass

    def feed(self, chunk: bytes) -> Iterable[bytes]:
        return (chunk,)

    def end(self) -> Iterable[bytes]:
        return ()


exec_reader: Reader[ExecPiece] = ExecReading
bytes_reader: Reader[bytes] = BytesReading
