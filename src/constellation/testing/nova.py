"""A nova without a database: callers, scopes and changes are what the test says; the wire is real HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import anyio

from constellation.base.address import Address
from constellation.base.ids import uuid7
from constellation.base.sockets import listen_tcp
from constellation.nova.domain.access import ROLE_PERMISSIONS, Role
from constellation.rpc.http import serving_asgi

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
URL = {
    "tenant_status": "active", "enabled": True, "auth": "key", "invoke_mode": "buffered",
    "cors": {
        "allow_origins": [], "allow_methods": ["*"], "allow_headers": [], "expose_headers": [],
        "allow_credentials": False, "max_age_s": 0,
    },
}  # fmt: skip
_PING_S = 0.2  # nova's is 5 s


@dataclass(slots=True)
class FakeNova:
    """`keys`: credential -> {"subject", "tenant", "namespace", "role" or "grants"}; `scopes`: (tenant, namespace) -> status."""

    service_token: str
    keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    scopes: dict[tuple[str, str], str] = field(default_factory=lambda: {("default", "default"): "active"})
    domains: dict[str, dict[str, Any]] = field(default_factory=dict)  # by host, as gateways read them
    settings: dict[str, str] = field(default_factory=dict)  # the platform's, by key
    public: App | None = None  # answers what is not /internal
    asked: list[str] = field(default_factory=list)  # the credentials of each question, in order
    seq: int = 0
    changes: list[dict[str, Any]] = field(default_factory=list)
    followed_after: list[int | None] = field(default_factory=list)
    is_mute: bool = False  # the change stream says nothing more
    answer_delay_s: float = 0.0
    is_closed: bool = False  # followers are sent away
    # How functions are reached by their URLs, where not by the defaults; None: there is no such function.
    urls: dict[tuple[str, str, str], dict[str, object] | None] = field(default_factory=dict)
    asked_urls: list[tuple[str, str, str]] = field(default_factory=list)
    _bell: anyio.Event = field(default_factory=anyio.Event)

    def change(self, kind: str, tenant: str, namespace: str = "", name: str = "") -> None:
        """Record a change and wake the followers."""
        self.seq += 1
        self.changes.append({"seq": self.seq, "kind": kind, "tenant": tenant, "namespace": namespace, "name": name})
        self._bell.set()
        self._bell = anyio.Event()

    def serve(self, host: str, *routes: dict[str, Any], tenant: str = "default", is_suspended: bool = False) -> None:
        """Let a tenant have a host with these routes, each of which needs a path only, and say so."""
        whole = {"methods": [], "function": "echo", "auth": "none", "version": 1}
        self.domains[host] = {
            "host": host, "tenant": tenant, "namespace": "default" if tenant == "default" else "prod",
            "is_suspended": is_suspended,
            "routes": [{**whole, "id": str(uuid7()), **route} for route in routes],
        }  # fmt: skip
        self.change("domain", tenant, name=host)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        path = scope["raw_path"].decode()
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        if headers.get("authorization") != f"Bearer {self.service_token}":
            await _answer(send, 401, {"code": "unauthenticated"})
        elif path == "/internal/authenticate":
            await self._authenticate(receive, send)
        elif path == "/internal/scope":
            query = parse_qs(scope["query_string"].decode())
            status = self.scopes.get((query["tenant"][0], query["namespace"][0]))
            body = {"tenant": query["tenant"][0], "namespace": query["namespace"][0], "status": status}
            await (_answer(send, 200, body) if status else _answer(send, 404, {"code": "not_found"}))
        elif path == "/internal/function-url":
            query = parse_qs(scope["query_string"].decode())
            key = (query["tenant"][0], query["namespace"][0], query["name"][0])
            self.asked_urls.append(key)
            found = self.urls.get(key, {})
            await (_answer(send, 404, {"code": "not_found"}) if found is None else _answer(send, 200, URL | found))
        elif path == "/internal/domains":
            query = parse_qs(scope["query_string"].decode())
            host = query["host"][0] if "host" in query else None
            domains = [domain for name, domain in sorted(self.domains.items()) if host in (None, name)]
            await _answer(send, 200, {"items": domains, "is_last": True})
        elif path == "/internal/settings":
            await _answer(send, 200, {"values": self.settings})
        elif path == "/internal/changes":
            await self._stream(scope, receive, send)
        elif self.public is not None:
            await self.public(scope, receive, send)
        else:
            await _answer(send, 404, {"code": "not_found"})

    async def _authenticate(self, receive: Receive, send: Send) -> None:
        body = json.loads(await read_body(receive))
        self.asked.append(body.get("credential", body["kind"]))
        await anyio.sleep(self.answer_delay_s)
        if body["kind"] == "loopback":
            admin = {"subject": "local:admin", "tenant": "*", "namespace": "*", "role": "admin"}
            await _answer(send, 200, _granted(admin))
            return
        known = self.keys.get(body["credential"])
        await (_answer(send, 200, _granted(known)) if known else _answer(send, 401, {"code": "unauthenticated"}))

    async def _stream(self, scope: Message, receive: Receive, send: Send) -> None:
        query = parse_qs(scope["query_string"].decode())
        after = int(query["after"][0]) if "after" in query else None
        self.followed_after.append(after)
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/x-ndjson")]}
        )
        seen = self.seq if after is None else after

        async def until_gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                continue
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(until_gone)
            await _line(send, {"seq": self.seq, "kind": "hello"})
            while not self.is_closed:
                bell = self._bell
                for change in self.changes:
                    if change["seq"] > seen:
                        seen = change["seq"]
                        await _line(send, change)
                with anyio.move_on_after(_PING_S):
                    await bell.wait()
                    continue
                if not self.is_mute:
                    await _line(send, {"seq": self.seq, "kind": "ping"})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            tasks.cancel_scope.cancel()

    @asynccontextmanager
    async def serving(self, *, port: int = 0) -> AsyncIterator[Address]:
        """Serve on loopback for the length of the block, and lend the address."""
        listener, address = listen_tcp(Address("127.0.0.1", port))
        async with serving_asgi(self, listeners=[listener], drain_s=2.0):
            try:
                yield address
            finally:
                self.is_closed = True  # the followers' answers would never end by themselves
                self._bell.set()


async def read_body(receive: Receive) -> bytes:
    """Return a request's whole body."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return bytes(body)
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body)


def _granted(known: Mapping[str, Any]) -> dict[str, Any]:
    """Return a principal as nova tells of it; a test says its role, or its grants themselves."""
    told = {name: value for name, value in known.items() if name != "role"}
    if "role" in known:
        permissions = sorted(ROLE_PERMISSIONS[Role(known["role"])])
        told["grants"] = [{"permissions": permissions, "effect": "allow", "namespace": "*", "functions": []}]
    return told


async def _answer(send: Send, status: int, body: object) -> None:
    data = json.dumps(body).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data, "more_body": False})


async def _line(send: Send, value: object) -> None:
    await send({"type": "http.response.body", "body": json.dumps(value).encode() + b"\n", "more_body": True})
