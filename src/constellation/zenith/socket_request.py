"""A WebSocket at the gateway: refused as any request is, or accepted and then messages both ways."""

from __future__ import annotations

from collections.abc import Sequence

from constellation.base.errors import ConstellationError
from constellation.routes.route import Route, Transport
from constellation.zenith.errors import ClientGone
from constellation.zenith.request import Message, Receive, Request, Send

NORMAL, GOING_AWAY, UNSUPPORTED, POLICY, TOO_BIG, FAILED = 1000, 1001, 1003, 1008, 1009, 1011  # RFC 6455 section 7.4.1
_REASON_BYTES = 120  # of 123 that a close may carry


class NoSocketHere(ConstellationError):
    """The route takes no WebSocket, or nothing else."""

    code, http_status = "websocket_mismatch", 426

    def __init__(self, *, wants_socket: bool, reason: str = "") -> None:
        text = "this route is a WebSocket" if wants_socket else "this route takes no WebSocket"
        super().__init__(f"{text}: {reason}" if reason else text)


def check_socket(route: Route) -> None:
    """Let a route that takes WebSockets through, or raise `NoSocketHere`."""
    if route.transport not in (Transport.TERMINAL, Transport.PORT, Transport.FUNCTION_URL):
        raise NoSocketHere(wants_socket=False)


class SocketRequest(Request):
    """Until it is accepted, a request; its answer is a refusal."""

    __slots__ = ("protocols",)

    def __init__(self, scope: Message, receive: Receive, send: Send, *, path: str) -> None:
        scheme = {"ws": "http", "wss": "https"}.get(scope["scheme"], scope["scheme"])
        super().__init__({**scope, "method": "GET", "scheme": scheme}, receive, send, path=path)
        self.protocols: Sequence[str] = scope.get("subprotocols", ())

    def read_head(self) -> None:
        super().read_head()
        self.body_done = False  # so that nobody else waits for the hang-up: `message` does

    async def answer(
        self, status: int, body: bytes, *, content_type: bytes = b"application/json",
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:  # fmt: skip
        """Refuse the socket with an HTTP answer; one that is open already is closed."""
        self.status = status
        # The server closes a connection of HTTP/1.1 that was to become a socket; unless it is told so, the client sends more.
        closing = [(b"connection", b"close")] if self.http_version == "1.1" else []
        await self._send({
            "type": "websocket.http.response.start",
            "status": status,
            "headers": [
                *closing,
                (b"content-type", content_type), (b"content-length", str(len(body)).encode()),
                (b"x-request-id", str(self.request_id).encode()),
                *((name, value) for name, value in headers if name.lower() != b"connection"),
            ],
        })  # fmt: skip
        await self._send({"type": "websocket.http.response.body", "body": body, "more_body": False})

    async def accept(self, protocol: str | None = None) -> None:
        while (await self._receive())["type"] != "websocket.connect":
            pass
        self.is_started, self.status = True, 101
        await self._send({"type": "websocket.accept", "subprotocol": protocol, "headers": [
            (b"x-request-id", str(self.request_id).encode()),
        ]})  # fmt: skip

    async def message(self) -> bytes | str:
        """Return the next message.

        Raises:
            ClientGone: it closed the socket.
        """
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                self.gone = True
                raise ClientGone
            if message["type"] == "websocket.receive":
                data: bytes | str | None = message.get("bytes")
                return data if data is not None else str(message.get("text") or "")

    async def say(self, message: bytes | str) -> None:
        """Send a message, no faster than the client takes it."""
        kind = "bytes" if isinstance(message, bytes) else "text"
        await self._send({"type": "websocket.send", kind: message})

    async def close(self, code: int = NORMAL, reason: str = "") -> None:
        if not self.gone:
            text = reason.encode()[:_REASON_BYTES].decode("utf-8", "ignore")
            await self._send({"type": "websocket.close", "code": code, "reason": text})
