"""As much of a PostgreSQL client as this example needs: statements with parameters, rows of text."""

import socket
import struct
from urllib.parse import parse_qs, urlsplit


class DatabaseError(Exception):
    """What the server says no to; `fields["C"]` is the SQLSTATE, `fields["M"]` the message."""

    def __init__(self, fields):
        super().__init__(f"{fields.get('C')}: {fields.get('M')}")
        self.fields = fields


class Connection:
    def __init__(self, url):
        directory = parse_qs(urlsplit(url).query)["host"][0]
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(f"{directory}/.s.PGSQL.5432")
        self._read = self._socket.makefile("rb").read
        packet = struct.pack("!I", 3 << 16) + b"client_encoding\0UTF8\0\0"
        self._socket.sendall(struct.pack("!I", len(packet) + 4) + packet)
        self._rows()

    def run(self, sql, *values):
        """Return the rows of a statement; $1 stands for the first value."""
        texts = [None if value is None else str(value).encode() for value in values]
        bound = b"".join(
            struct.pack("!i", -1) if text is None else struct.pack("!I", len(text)) + text for text in texts
        )
        self._socket.sendall(
            _message(b"P", b"\0" + sql.encode() + b"\0" + bytes(2))
            + _message(b"B", bytes(4) + struct.pack("!H", len(texts)) + bound + bytes(2))
            + _message(b"E", bytes(5))
            + _message(b"S", b"")
        )
        return self._rows()

    def _rows(self):
        rows, error = [], None
        while True:
            kind, length = struct.unpack("!cI", self._read(5))
            body = self._read(length - 4)
            if kind == b"D":
                rows.append(_row(body))
            elif kind == b"E":
                error = DatabaseError({chr(part[0]): part[1:].decode() for part in body.split(b"\0") if part})
            if kind == b"Z" or (error and error.fields.get("S") == "FATAL"):
                if error:
                    raise error
                return rows


def _message(kind, body):
    return kind + struct.pack("!I", len(body) + 4) + body


def _row(body):
    row, at = [], 2
    for _ in range(struct.unpack_from("!H", body)[0]):
        (size,) = struct.unpack_from("!i", body, at)
        at += 4
        row.append(None if size < 0 else body[at : at + size].decode())
        at += max(size, 0)
    return row
