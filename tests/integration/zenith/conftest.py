"""A real gateway on a real socket, over a fake nova and a fake comet."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import anyio
import httpx
import pytest

from constellation.nova.config.sections import ZenithSettings
from constellation.testing.gateway import GatewayRig, gateway_rig

KEYS = {
    "sk_admin": {"subject": "apikey:admin", "tenant": "*", "namespace": "*", "role": "admin"},
    "sk_acme": {"subject": "apikey:acme", "tenant": "acme", "namespace": "prod", "role": "operator"},
    "sk_viewer": {"subject": "apikey:viewer", "tenant": "default", "namespace": "default", "role": "viewer"},
}
ADMIN = {"X-API-Key": "sk_admin"}


async def echo(payload: bytes) -> bytes:
    return payload


@pytest.fixture(params=[True, False], ids=["native", "python"])
def native_lane(request) -> bool:
    """Whether C owns the port: everything holds either way."""
    return bool(request.param)


@pytest.fixture
def settings() -> ZenithSettings:
    return ZenithSettings(auth="loopback", trusted_uid=os.getuid(), read_timeout_s=1.0)


@pytest.fixture
async def rig(settings: ZenithSettings, native_lane: bool, tmp_path) -> AsyncIterator[GatewayRig]:
    async with gateway_rig(settings, state_dir=tmp_path, is_native=native_lane) as rig:
        rig.nova.keys.update(KEYS)
        rig.nova.scopes["acme", "prod"] = "active"
        rig.comet.functions["echo"] = echo
        yield rig


@pytest.fixture
async def http(rig: GatewayRig) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=rig.url, trust_env=False, timeout=20) as client:
        yield client


async def raw(rig: GatewayRig, data: bytes, *, half_close: bool = False, patience_s: float = 5.0) -> bytes:
    """Send bytes as they are; return all that comes back until the server closes or says nothing more."""
    async with await anyio.connect_tcp(rig.address.host, rig.address.port) as stream:
        await stream.send(data)
        if half_close:
            await stream.send_eof()
        return await received(stream, patience_s=patience_s)


async def received(stream: anyio.abc.ByteStream, *, patience_s: float = 5.0) -> bytes:
    got = b""
    with anyio.move_on_after(patience_s):
        try:
            while not complete(got):
                got += await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return got
    return got


def complete(answer: bytes) -> bool:
    """Whether an answer with a Content-Length, or in chunks, is there to its end."""
    head, found, body = answer.partition(b"\r\n\r\n")
    if b"\r\ntransfer-encoding: chunked" in head.lower():
        return body.endswith(b"0\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return bool(found) and len(body) >= int(line[15:])
    return False


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, object]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["status"], body["code"]) == (status, code)
    assert body["request_id"] == answer.headers["x-request-id"]
    return body
