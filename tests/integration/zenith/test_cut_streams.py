"""A streamed call whose answer ends at comet without a status is told as what it is: comet is not there, and may be again."""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import httpx
import pytest
from anyio.abc import SocketAttribute, SocketStream

from constellation.base.address import Address
from constellation.testing.gateway import gateway_rig
from constellation.wire.gen import nova_pb2
from tests.integration.rpc.peer import Peer
from tests.integration.zenith.conftest import problem

pytestmark = pytest.mark.anyio

PIECE = nova_pb2.InvokeChunk(data=b"piece" * 100).SerializeToString()
FRAMED = struct.pack(">BI", 0, len(PIECE)) + PIECE
EVENTS = {"accept": "text/event-stream"}


@asynccontextmanager
async def cut_after(sent: bytes, settings, state_dir, *, is_native: bool) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway before a comet that says so much in answer to every call, and ends it there."""

    async def serve(stream: SocketStream) -> None:
        peer = Peer(stream)
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            async with stream:
                await peer.greet()
                while True:
                    await peer.asked()
                    await peer.head()
                    if sent:
                        await peer.data(sent)
                    await peer.cut()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    comet = Address("127.0.0.1", listener.extra(SocketAttribute.local_port))
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        async with (
            gateway_rig(settings, state_dir=state_dir, comet_at=comet, is_native=is_native) as rig,
            httpx.AsyncClient(base_url=rig.url, trust_env=False, timeout=20) as http,
        ):
            yield http
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("cut_at", [0, 3, 5, 200])
async def test_an_answer_that_ends_before_its_first_piece_may_be_asked_for_again(
    settings, native_lane, tmp_path, cut_at
):
    async with cut_after(FRAMED[:cut_at], settings, tmp_path, is_native=native_lane) as http:
        for headers in ({}, EVENTS):
            answer = await http.post("/functions/f/invoke-stream", json=1, headers=headers)
            assert problem(answer, 503, "unavailable")["retryable"] is True


@pytest.mark.parametrize("more", [b"", FRAMED[:200]])
async def test_one_that_ends_behind_a_piece_is_never_taken_for_the_whole(settings, native_lane, tmp_path, more):
    async with cut_after(FRAMED + more, settings, tmp_path, is_native=native_lane) as http:
        with pytest.raises(httpx.RemoteProtocolError):
            await http.post("/functions/f/invoke-stream", json=1)
        answer = await http.post("/functions/f/invoke-stream", json=1, headers=EVENTS)
        last = answer.text.split("event: error\ndata: ")[1]
        told = json.loads(last)
        assert (told["code"], told["retryable"]) == ("unavailable", True)
