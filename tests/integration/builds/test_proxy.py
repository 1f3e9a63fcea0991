"""The bounds of a build's way out."""

from __future__ import annotations

import socket
import threading

import anyio
import pytest

from constellation.comet.builds.proxy import Allowance, Proxy

pytestmark = pytest.mark.anyio


@pytest.fixture
def source():
    """A server that sends a MiB to whoever comes, and takes what it is sent."""
    listener = socket.create_server(("127.0.0.1", 0))
    taken = []

    def serve(client):
        with client:
            client.sendall(bytes(1 << 20))
            client.shutdown(socket.SHUT_WR)
            while piece := client.recv(65536):
                taken.append(len(piece))

    def accept():
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=_quietly, args=(serve, client), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield listener.getsockname()[1], taken
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def _quietly(serve, client):
    try:
        serve(client)
    except OSError:
        return


async def _through(path, port, *, upload=b""):
    """Return how many bytes came through a tunnel."""
    async with await anyio.connect_unix(path) as client:
        await client.send(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % port + upload)
        count = 0
        try:
            with anyio.fail_after(20):
                while True:
                    count += len(await client.receive())
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return count


@pytest.mark.parametrize(
    ("allowance", "upload", "least", "most"),
    [
        (Allowance(), 0, 1 << 20, (1 << 20) + 100),
        (Allowance(down_bytes=200_000), 0, 0, 200_100),
        (Allowance(up_bytes=1000), 100_000, 0, (1 << 20) + 100),
    ],
)
async def test_what_comes_and_goes_is_bounded(tmp_path, source, allowance, upload, least, most):
    port, taken = source
    said = []
    proxy = Proxy(frozenset({("127.0.0.1", port)}), say=said.append, allowance=allowance)
    async with proxy.serving(tmp_path / "s"):
        count = await _through(tmp_path / "s", port, upload=bytes(upload))
        assert least <= count <= most
        assert sum(taken) <= (1000 if upload else 0)
    over = bool(upload) or allowance.down_bytes < 1 << 20
    assert said == (["the build has transferred more than it may"] if over else [])


async def test_too_many_connections_are_refused(tmp_path, source, monkeypatch):
    port, _ = source
    monkeypatch.setattr("constellation.comet.builds.proxy._CONNECTIONS", 2)
    async with Proxy(frozenset({("127.0.0.1", port)}), say=lambda _: None).serving(tmp_path / "s"):
        idle = [await anyio.connect_unix(tmp_path / "s") for _ in range(2)]
        async with await anyio.connect_unix(tmp_path / "s") as third:
            assert (await third.receive()).startswith(b"HTTP/1.1 429 ")
        for each in idle:
            await each.aclose()


async def test_a_silent_client_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("constellation.comet.builds.proxy._HEAD_S", 0.05)
    async with Proxy(frozenset(), say=lambda _: None).serving(tmp_path / "s"):
        client = await anyio.connect_unix(tmp_path / "s")
        with anyio.fail_after(20), pytest.raises(anyio.EndOfStream):
            await client.receive()
        await client.aclose()
        async with await anyio.connect_unix(tmp_path / "s") as client:  # and it still serves
            await client.send(b"nonsense\r\n\r\n")
            assert (await client.receive()).startswith(b"HTTP/1.1 405 ")


async def test_a_source_that_is_away_is_told(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    said = []
    proxy = Proxy(frozenset({("127.0.0.1", port)}), say=said.append)
    async with proxy.serving(tmp_path / "s"), await anyio.connect_unix(tmp_path / "s") as client:
        await client.send(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % port)
        assert (await client.receive()).startswith(b"HTTP/1.1 502 ")
    assert f"127.0.0.1:{port} can not be reached now" in said[0]
