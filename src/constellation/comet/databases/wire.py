"""PostgreSQL's protocol, version 3, as bytes: split into messages, and made. No I/O, and nothing is trusted.

A short message comes as one piece; of a long one pieces are passed on as they arrive, so that nothing is held but its
beginning.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

HEAD_BYTES = 5  # a letter, and a length that counts itself and not the letter
WHOLE_BYTES = 16 << 10  # chosen: messages up to here come in one piece
BEGINNING_BYTES = 4 << 10  # chosen: what is seen at least of a longer one
STARTUP_BYTES = 10_000  # the server's own bound of a first packet
PROTOCOL = 3 << 16
CANCEL, TLS, GSS = 80877102, 80877103, 80877104  # what first packets have in the place of a version
_NUMBER = struct.Struct("!I")
_HEAD = struct.Struct("!BI")

FROM_GUEST = frozenset(b"QPBDECSHXdcf")
FROM_SERVER = frozenset(b"RKSZTDCIENAGHWdc123nstv")
SYNTAX, TOO_LARGE = "08P01", "54000"  # SQLSTATE: protocol violation, program limit exceeded


class Refused(Exception):
    """The session can not go on; `code` (SQLSTATE) and `text` are what the guest is told."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code, self.text = code, text


@dataclass(frozen=True, slots=True)
class Piece:
    """A message, or a part of a long one."""

    kind: int
    raw: bytes  # as it came, and as it is passed on
    is_first: bool = True
    is_last: bool = True

    @property
    def body(self) -> bytes:
        """What is after letter and length; of a first piece."""
        return self.raw[HEAD_BYTES:]

    @property
    def size(self) -> int:
        """Of the whole message; of a first piece."""
        return 1 + int(_HEAD.unpack_from(self.raw)[1])


class Splitter:
    """Cuts one direction of a session into messages."""

    def __init__(self, kinds: frozenset[int], *, max_bytes: int) -> None:
        """Take messages of these letters, with bodies of at most `max_bytes`."""
        self._kinds, self._max_bytes = kinds, max_bytes
        self._held = b""
        self._kind, self._left = 0, 0  # of a long message that is passing

    @property
    def held(self) -> bytes:
        """What is not complete yet, unless it is of a long message."""
        return self._held

    def feed(self, data: bytes) -> list[Piece]:
        """Return what is complete of these bytes and those before.

        Raises:
            Refused: they are no such messages; nothing may be fed any more.
        """
        return list(self._pieces(self._held + data if self._held else data))

    def _pieces(self, data: bytes) -> Iterator[Piece]:
        at, end = 0, len(data)
        while at < end:
            if self._left:
                taken = min(self._left, end - at)
                self._left -= taken
                yield Piece(self._kind, data[at : at + taken], is_first=False, is_last=not self._left)
                at += taken
                continue
            if data[at] not in self._kinds:
                raise Refused(SYNTAX, f"message type {data[at]:#04x} has no place here")
            if end - at < HEAD_BYTES:
                break
            kind, length = _HEAD.unpack_from(data, at)
            if length < 4:
                raise Refused(SYNTAX, f"a message of length {length}")
            if length - 4 > self._max_bytes:
                raise Refused(TOO_LARGE, f"a message of {length - 4} bytes; {self._max_bytes} is the most")
            size = 1 + length
            if end - at >= size:
                yield Piece(kind, data[at : at + size])
                at += size
            elif size <= WHOLE_BYTES or end - at < BEGINNING_BYTES:
                break
            else:
                self._kind, self._left = kind, size - (end - at)
                yield Piece(kind, data[at:], is_last=False)
                at = end
        self._held = data[at:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Startup:
    """The wish to begin a session."""

    minor: int  # of the version
    options: tuple[str, ...]  # of the protocol, which names begin with _pq_.
    parameters: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequest:
    pid: int
    key: bytes


@dataclass(frozen=True, slots=True)
class EncryptionRequest:
    """TLS or GSSAPI is wished for; one byte answers, and another first packet follows."""


First = Startup | CancelRequest | EncryptionRequest


def split_first(data: bytes) -> tuple[First, bytes] | None:
    """Return the first packet and what is behind it; None when more is needed.

    Raises:
        Refused: it is none.
    """
    if len(data) < 4:
        return None
    (length,) = _NUMBER.unpack_from(data)
    if not 8 <= length <= STARTUP_BYTES:
        raise Refused(SYNTAX, f"a first packet of length {length}")
    if len(data) < length:
        return None
    (code,) = _NUMBER.unpack_from(data, 4)
    body, rest = data[8:length], data[length:]
    if code == CANCEL:
        if not 5 <= len(body) <= 4 + 256:
            raise Refused(SYNTAX, "a cancel request of another length")
        return CancelRequest(pid=_NUMBER.unpack_from(body)[0], key=body[4:]), rest
    if code in (TLS, GSS):
        if body or rest:  # what comes before the answer could not be told from what comes inside TLS
            raise Refused(SYNTAX, "bytes behind a wish for encryption")
        return EncryptionRequest(), b""
    if code >> 16 != PROTOCOL >> 16:
        raise Refused("0A000", f"protocol {code >> 16}.{code & 0xFFFF} is not spoken here; 3.0 is")
    return _startup(code & 0xFFFF, body), rest


def _startup(minor: int, body: bytes) -> Startup:
    words = body.split(b"\0")
    if len(words) < 2 or words[-1] or words[-2]:
        raise Refused(SYNTAX, "the parameters do not end with a zero")
    words = words[:-2]
    if len(words) % 2 or b"" in words[::2]:
        raise Refused(SYNTAX, "a parameter without a name, or without a value")
    try:
        texts = [word.decode() for word in words]
    except UnicodeDecodeError:
        raise Refused(SYNTAX, "a parameter that is not UTF-8") from None
    given = dict(zip(texts[::2], texts[1::2], strict=True))
    options = tuple(name for name in given if name.startswith("_pq_."))
    return Startup(minor=minor, options=options, parameters={k: v for k, v in given.items() if k not in options})


def message(kind: str, body: bytes = b"") -> bytes:
    """Return a message."""
    return _HEAD.pack(ord(kind), len(body) + 4) + body


def startup(parameters: dict[str, str]) -> bytes:
    """Return the first packet of a session of ours."""
    body = b"".join(word.encode() + b"\0" for pair in parameters.items() for word in pair) + b"\0"
    return _NUMBER.pack(len(body) + 8) + _NUMBER.pack(PROTOCOL) + body


def cancel_request(pid: int, key: bytes) -> bytes:
    """Return the first packet that ends the statement of another session."""
    body = _NUMBER.pack(CANCEL) + _NUMBER.pack(pid) + key
    return _NUMBER.pack(len(body) + 4) + body


def tls_request() -> bytes:
    return _NUMBER.pack(8) + _NUMBER.pack(TLS)


def older_protocol(unknown: tuple[str, ...]) -> bytes:
    """Return what tells a client of version 3.2, or with options of the protocol, that 3.0 is spoken."""
    names = b"".join(name.encode() + b"\0" for name in unknown)
    return message("v", _NUMBER.pack(0) + _NUMBER.pack(len(unknown)) + names)


def error(code: str, text: str, *, severity: str = "ERROR", detail: str = "", hint: str = "") -> bytes:
    """Return an ErrorResponse; FATAL ends the session."""
    fields = (("S", severity), ("V", severity), ("C", code), ("M", text), ("D", detail), ("H", hint))
    said = (f"{name}{value.replace(chr(0), ' ')}\0".encode() for name, value in fields if value)
    return message("E", b"".join(said) + b"\0")


def error_fields(body: bytes) -> dict[str, str]:
    """Return the fields of an ErrorResponse by their letters, as far as there are any."""
    return {chr(part[0]): part[1:].decode(errors="replace") for part in body.split(b"\0") if part}


def text_at(body: bytes, at: int = 0) -> tuple[str, int]:
    """Return a text that ends with a zero, or with what is there, and where what follows begins."""
    end = body.find(b"\0", at)
    if end < 0:
        end = len(body)
    return body[at:end].decode(errors="replace"), end + 1
