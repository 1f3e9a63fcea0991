"""A WebSocket to a program in a sandbox, or to a server behind one of its ports; blocking."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from types import TracebackType
from typing import Self
from urllib.parse import urlencode, urlsplit

import msgspec
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from wsproto.utilities import ProtocolError

from constellation.client.failures import BadReply, NoAnswer, Unreachable
from constellation.client.http import CONNECT_S, Connection
from constellation.client.replies import problem_of

_READ_BYTES = 64 << 10
_PROBLEM_BYTES = 1 << 20
OPERATION = "sandbox_terminal"


class Terminal:
    """Messages both ways. One thread may read while another writes."""

    def __init__(self, connection: Connection, path: str, query: dict[str, str] | None = None) -> None:
        """Open it.

        Raises:
            Unreachable, NoAnswer: the gateway.
            ApiProblem: it refuses.
        """
        self._connection, self._parts = connection, list[bytes | str]()
        url = urlsplit(connection.server)
        target = url.path.rstrip("/") + path + (f"?{urlencode(query)}" if query else "")
        self._ws = WSConnection(ConnectionType.CLIENT)
        self._socket = self._dial(url.scheme, url.hostname or "", url.port)
        try:
            headers = [(name.encode(), value.encode()) for name, value in connection.headers().items()]
            self._write(self._ws.send(Request(host=url.netloc, target=target, extra_headers=headers)))
            self._wait_for_acceptance()
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, data: bytes) -> None:
        """Write to the program."""
        self._write(self._ws.send(BytesMessage(data=data)))

    def order(self, **order: object) -> None:
        """`size=(rows, columns)`, `signal=2`, `end=True`."""
        self._write(self._ws.send(TextMessage(data=msgspec.json.encode(order).decode())))

    def receive(self) -> bytes | str | None:
        """Return the next message, None once the other side has closed."""
        while True:
            for event in self._events():
                match event:
                    case BytesMessage() | TextMessage():
                        self._parts.append(bytes(event.data) if isinstance(event, BytesMessage) else event.data)
                        if event.message_finished:
                            parts, self._parts = self._parts, []
                            return parts[0] if len(parts) == 1 else _joined(parts)
                    case Ping():
                        self._write(self._ws.send(event.response()))
                    case CloseConnection():
                        self.reason = event.reason or ""
                        return None
                    case _:
                        pass
            data = self._read()
            if not data:
                return None
            self._ws.receive_data(data)

    reason = ""  # why the other side has closed

    def close(self) -> None:
        self._socket.close()

    def _dial(self, scheme: str, host: str, port: int | None) -> socket.socket:
        try:
            found = socket.create_connection((host, port or (443 if scheme == "https" else 80)), timeout=CONNECT_S)
            if scheme == "https":
                found = ssl.create_default_context().wrap_socket(found, server_hostname=host)
        except OSError as error:
            raise Unreachable(self._connection.server, reason=str(error), is_sent=False) from error
        found.settimeout(self._connection.timeout_s)
        return found

    def _wait_for_acceptance(self) -> None:
        refused: RejectConnection | None = None
        body = b""
        while True:
            for event in self._events():  # what came with the acceptance stays for `receive`
                match event:
                    case AcceptConnection():
                        self._socket.settimeout(None)
                        return
                    case RejectConnection():
                        refused = event
                    case RejectData():
                        body = (body + bytes(event.data))[:_PROBLEM_BYTES]
                        if event.body_finished and refused is not None:
                            raise problem_of(refused.status_code, body, {})
                    case _:
                        pass
            data = self._read()
            if not data:
                raise Unreachable(self._connection.server, reason="it hung up", is_sent=True)
            try:
                self._ws.receive_data(data)
            except ProtocolError as error:
                raise BadReply(self._connection.server, OPERATION, reason=str(error)) from error

    def _events(self) -> Iterator[Event]:
        try:
            yield from self._ws.events()
        except ProtocolError as error:
            raise BadReply(self._connection.server, OPERATION, reason=str(error)) from error

    def _read(self) -> bytes:
        try:
            return self._socket.recv(_READ_BYTES)
        except TimeoutError as error:
            raise NoAnswer(self._connection.server, after_s=self._connection.timeout_s) from error
        except OSError as error:
            raise Unreachable(self._connection.server, reason=str(error), is_sent=True) from error

    def _write(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise Unreachable(self._connection.server, reason=str(error), is_sent=True) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _joined(parts: list[bytes | str]) -> bytes | str:
    texts = [part for part in parts if isinstance(part, str)]
    return "".join(texts) if texts else b"".join(part for part in parts if isinstance(part, bytes))
