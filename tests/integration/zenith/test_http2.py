"""HTTP/2 on the gateway's TLS port: the same answers and the same verdicts, and a client that misbehaves harms itself alone."""

from __future__ import annotations

import os
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from subprocess import PIPE
from typing import Any

import anyio
import h2.config
import h2.connection
import h2.events
import httpx
import pytest
from h2.errors import ErrorCodes

from constellation.nova.config.sections import ZenithSettings
from constellation.nova.config.tls import PublicTlsSettings
from constellation.rpc.tls import public_tls
from constellation.testing.gateway import GatewayRig, gateway_rig
from constellation.wire.gen import nova_pb2
from tests.certificates import Authority
from tests.integration.zenith.conftest import ADMIN, KEYS, echo, problem

pytestmark = pytest.mark.anyio
INVOKE = "/functions/echo/invoke"
DATA, GOAWAY = 0x0, 0x7


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def own(authority):
    return authority.issue("local", "IP:127.0.0.1", "DNS:localhost").settings()


@pytest.fixture
def limits() -> dict[str, Any]:
    return {}


@pytest.fixture
async def rig(limits, native_lane, own, tmp_path) -> AsyncIterator[GatewayRig]:
    settings = ZenithSettings(auth="loopback", trusted_uid=os.getuid(), read_timeout_s=5.0, **limits)
    tls = await public_tls(PublicTlsSettings(**own))
    async with gateway_rig(settings, state_dir=tmp_path, tls=tls, is_native=native_lane) as rig:
        rig.nova.keys.update(KEYS)
        rig.comet.functions["echo"] = echo
        yield rig


def trust(authority: Authority) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.cert)
    context.set_alpn_protocols(["h2"])
    return context


@pytest.fixture
async def http(rig, authority) -> AsyncIterator[httpx.AsyncClient]:
    context = ssl.create_default_context(cafile=authority.cert)
    async with httpx.AsyncClient(
        base_url=f"https://{rig.address}", verify=context, trust_env=False, timeout=20, http2=True
    ) as client:
        yield client


async def until(check) -> None:
    with anyio.fail_after(10):
        while not check():
            await anyio.sleep(0.02)


@dataclass
class Client:
    """A client that says what the test wants, frame by frame."""

    stream: anyio.abc.ByteStream
    authority: str
    h2: h2.connection.H2Connection
    events: list[h2.events.Event] = field(default_factory=list)
    is_over: bool = False

    async def flush(self) -> None:
        await self.stream.send(self.h2.data_to_send())

    def head(self, method: str = "POST", path: str = INVOKE, **headers: str) -> list[tuple[str, str]]:
        said = [(name.replace("_", "-"), value) for name, value in headers.items()]
        return [(":method", method), (":path", path), (":scheme", "https"), (":authority", self.authority), *said]

    async def hear(self, is_enough) -> None:
        """Read until `is_enough` holds, or the server closes."""
        with anyio.fail_after(20):
            while not self.is_over and not is_enough(self):
                try:
                    data = await self.stream.receive()
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    self.is_over = True
                    return
                self.events += self.h2.receive_data(data)
                for event in self.events:
                    if isinstance(event, h2.events.ConnectionTerminated):
                        return
                await self.flush()

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def goodbyes(self) -> list[ErrorCodes]:
        return [event.error_code for event in self.of(h2.events.ConnectionTerminated)]


async def connect(rig: GatewayRig, authority: Authority) -> Client:
    stream = await anyio.connect_tcp(
        rig.address.host, rig.address.port, ssl_context=trust(authority), tls_standard_compatible=False
    )
    client = Client(
        stream, str(rig.address), h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    )
    client.h2.initiate_connection()
    await client.flush()
    return client


@pytest.fixture
async def connected(rig, authority):
    made: list[Client] = []

    async def one() -> Client:
        made.append(await connect(rig, authority))
        return made[-1]

    yield one
    for client in made:
        await anyio.aclose_forcefully(client.stream)


async def test_calls_bodies_and_refusals(rig, http, native_lane):
    big = {"text": "x" * (4 << 20)}
    for body in ({"n": 1}, big, {"n": 2}):
        answer = await http.post(INVOKE, json=body, headers=ADMIN)
        assert answer.status_code == 200, answer.text
        assert (answer.http_version, answer.json()["output"]) == ("HTTP/2", body)
    problem(await http.get("/nowhere"), 404, "route_not_found")
    problem(await http.post(INVOKE, content=b"{", headers=ADMIN), 400, "invalid_request")
    problem(await http.get("/health/live", headers={"x-long": "x" * (40 << 10)}), 431, "headers_too_large")
    if native_lane:
        assert rig.parts.lane.edge.counts.tunnels == 1  # a refusal ends its own stream only
        await until(lambda: rig.parts.lane.edge.counts.inflight == 0)
        assert rig.parts.lane.edge.counts.held_bytes == 0


async def test_a_body_without_a_length_is_read(http):
    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"a":'
        yield b" 1}"

    answer = await http.post(INVOKE, content=pieces(), headers=ADMIN)
    assert answer.json()["output"] == {"a": 1}


async def test_a_stream_comes_as_it_is_made(rig, http):
    go_on = anyio.Event()

    async def slow(_, stream) -> None:
        await stream.send_message(nova_pb2.ProxyHTTPResponse(status=200, body=b"first"))
        await go_on.wait()
        await stream.send_message(nova_pb2.ProxyHTTPResponse(body=b"second"))

    rig.comet.proxied = slow
    async with http.stream("GET", "/functions/echo/logs", headers=ADMIN) as answer:
        pieces = answer.aiter_bytes()
        assert await anext(pieces) == b"first"
        go_on.set()
        assert await anext(pieces) == b"second"


async def test_many_streams_at_once(rig, http, native_lane):
    gate, count = anyio.Event(), 0

    async def waits(payload: bytes) -> bytes:
        nonlocal count
        count += 1
        await gate.wait()
        return payload

    rig.comet.functions["waits"] = waits
    answers = []

    async def one(n: int) -> None:
        answers.append((n, await http.post("/functions/waits/invoke", json=n, headers=ADMIN)))

    async with anyio.create_task_group() as tasks:
        for n in range(60):
            tasks.start_soon(one, n)
        await until(lambda: count == 60)
        assert rig.parts.gate.inflight == 60  # each counts, as over HTTP/1.1
        if native_lane:
            assert rig.parts.lane.edge.counts.connections == 1
        gate.set()
    assert all(answer.json()["output"] == n for n, answer in answers)
    await until(lambda: rig.parts.gate.inflight == 0)


@pytest.mark.parametrize("limits", [{"max_inflight": 1}])
async def test_what_is_over_the_gateways_bound_is_refused(rig, http):
    gate, begun = anyio.Event(), anyio.Event()

    async def waits(payload: bytes) -> bytes:
        begun.set()
        await gate.wait()
        return payload

    rig.comet.functions["waits"] = waits
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: http.post("/functions/waits/invoke", json=1, headers=ADMIN))
        await begun.wait()
        problem(await http.get("/health/live"), 503, "overloaded")
        gate.set()
    await until(lambda: rig.parts.gate.inflight == 0)
    assert (await http.get("/health/live")).status_code == 200


@pytest.mark.parametrize("is_http2", [True, False])
async def test_local_trust_is_decided_as_over_http_1(rig, authority, is_http2):
    context = ssl.create_default_context(cafile=authority.cert)
    own = f"https://{rig.address}"
    async with httpx.AsyncClient(base_url=own, verify=context, trust_env=False, timeout=20, http2=is_http2) as http:
        for headers in (
            {},
            {"Origin": own},
            {"Origin": own, "Sec-Fetch-Site": "same-origin"},
            {"Constellation-Peer": "x"},
        ):
            answer = await http.post(INVOKE, json=1, headers=headers)
            assert answer.status_code == 200, (headers, answer.text)
            assert answer.http_version == ("HTTP/2" if is_http2 else "HTTP/1.1")
        for headers in (
            {"X-Forwarded-For": "127.0.0.1"},
            {"Forwarded": "for=127.0.0.1"},
            {"Via": "2 proxy"},
            {"Host": "evil.example"},
            {"Origin": own.replace("https", "http")},
            {"Origin": "https://evil.example"},
            {"Origin": f"{own}0"},
            {"Sec-Fetch-Site": "cross-site"},
        ):
            problem(await http.post(INVOKE, json=1, headers=headers), 401, "unauthenticated")


@pytest.mark.parametrize("limits", [{"trusted_uid": os.getuid() + 1}], ids=["another user's platform"])
async def test_nobody_becomes_the_peer_that_they_name(limits, own, native_lane, http_of, tmp_path):
    async with http_of(ZenithSettings(auth="loopback", **limits)) as (rig, http):
        for peer in (
            f"127.0.0.1 1 127.0.0.1 {rig.address.port} 4294967296 tls direct",
            f"127.0.0.1 1 127.0.0.1 {rig.address.port} 4294967296 direct",
        ):
            answer = await http.post(INVOKE, json=1, headers={"constellation-peer": peer})
            problem(answer, 401, "unauthenticated")


@pytest.fixture
def http_of(own, authority, native_lane, tmp_path):
    @asynccontextmanager
    async def serve(settings: ZenithSettings):
        tls = await public_tls(PublicTlsSettings(**own))
        context = ssl.create_default_context(cafile=authority.cert)
        async with (
            gateway_rig(settings, state_dir=tmp_path, tls=tls, is_native=native_lane) as rig,
            httpx.AsyncClient(
                base_url=f"https://{rig.address}", verify=context, trust_env=False, timeout=20, http2=True
            ) as http,
        ):
            yield rig, http

    return serve


async def test_what_a_client_says_of_itself_reaches_no_function(rig, http):
    rig.nova.scopes["default", "default"] = "active"
    seen: list[Any] = []

    async def shows(request, stream) -> None:
        seen.append(request)
        await stream.send_message(nova_pb2.ProxyHTTPResponse(status=200, body=b"{}"))

    rig.comet.proxied = shows
    headers = {"constellation-peer": "a", "Constellation-Other": "b", "x-forwarded-for": "c", "forwarded": "for=d"}
    await http.get("/functions/echo/logs", headers=ADMIN | headers)
    names = {header.name.lower() for header in seen[0].headers}
    assert not {name for name in names if name.startswith(("constellation-", "x-forwarded", "forwarded"))}


async def test_reset_streams_are_given_up_and_the_connection_goes_on(rig, connected):
    begun = 0

    async def waits(payload: bytes) -> bytes:
        nonlocal begun
        begun += 1
        await anyio.sleep_forever()
        return payload

    rig.comet.functions["waits"] = waits
    client = await connected()
    for stream in range(1, 101, 2):
        client.h2.send_headers(
            stream, client.head(path="/functions/waits/invoke", x_api_key="sk_admin"), end_stream=True
        )
    await client.flush()
    await until(lambda: begun == 50)
    for stream in range(1, 101, 2):
        client.h2.reset_stream(stream, ErrorCodes.CANCEL)
    await client.flush()
    await until(lambda: rig.comet.cancelled == 50)
    await until(lambda: rig.parts.gate.inflight == 0)
    client.h2.send_headers(101, client.head("GET", "/health/live"), end_stream=True)
    await client.flush()
    await client.hear(lambda c: c.of(h2.events.StreamEnded))
    assert dict(client.of(h2.events.ResponseReceived)[0].headers)[":status"] == "200"


async def test_rapid_resets_cost_their_connection_and_no_more_than_its_share(rig, connected, http):
    most = 0

    async def waits(payload: bytes) -> bytes:
        nonlocal most
        most = max(most, rig.parts.gate.inflight)
        await anyio.sleep_forever()
        return payload

    rig.comet.functions["waits"] = waits
    client = await connected()
    try:
        for stream in range(1, 6000, 2):
            client.h2.send_headers(
                stream, client.head(path="/functions/waits/invoke", x_api_key="sk_admin"), end_stream=True
            )
            client.h2.reset_stream(stream, ErrorCodes.CANCEL)
            if stream % 400 == 1:
                await client.flush()
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        pass
    await client.hear(lambda c: c.goodbyes)
    assert client.is_over or client.goodbyes == [ErrorCodes.ENHANCE_YOUR_CALM]
    assert most <= 100
    assert (await http.get("/health/live")).status_code == 200
    await until(lambda: rig.parts.gate.inflight == 0)


@pytest.mark.parametrize(
    ("junk", "error"),
    [
        (b"\x00\x00\x08\x06\x00\x00\x00\x00\x0112345678", ErrorCodes.PROTOCOL_ERROR),  # PING on a stream
        (b"\x00\x00\x03\x06\x00\x00\x00\x00\x00123", ErrorCodes.FRAME_SIZE_ERROR),
        (b"\x00\x00\x01\x01\x05\x00\x00\x00\x01\xff", ErrorCodes.PROTOCOL_ERROR),
        (b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00", ErrorCodes.PROTOCOL_ERROR),  # no window's increment
        (b"\xff\xff\xff\x00\x00\x00\x00\x00\x01", ErrorCodes.FRAME_SIZE_ERROR),
        (b"\x00\x00\x01\x01\x00\x00\x00\x00\x01\x82" + b"\x00\x00\x01\x09\x00\x00\x00\x00\x01\x82" * 100, None),
        (b"\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678" * 20_000, ErrorCodes.ENHANCE_YOUR_CALM),
        (b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" * 20_000, ErrorCodes.ENHANCE_YOUR_CALM),
    ],
)
async def test_a_malformed_or_useless_connection_ends_alone(rig, connected, http, junk, error):
    assert (await http.get("/health/live")).status_code == 200
    client = await connected()
    await client.hear(lambda c: c.of(h2.events.RemoteSettingsChanged))
    with anyio.move_on_after(10):
        try:
            for at in range(0, len(junk), 4096):
                await client.stream.send(junk[at : at + 4096])
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
    await client.hear(lambda c: c.goodbyes)
    assert client.is_over or client.goodbyes
    if error is not None and client.goodbyes:
        assert client.goodbyes == [error]
    assert (await http.get("/health/live")).status_code == 200


@pytest.mark.parametrize(
    "head",
    [
        {"path": "/caf\u00e9"},
        {"path": "/a b"},
        {"path": "functions"},
        {"method": "GE T"},
        {"method": "G\u00c9T"},
    ],
)
async def test_a_malformed_request_ends_its_stream_alone(connected, head):
    client = await connected()
    said = dict(client.head("GET", "/health/live")) | {f":{name}": value for name, value in head.items()}
    client.h2.config.validate_outbound_headers = client.h2.config.normalize_outbound_headers = False
    client.h2.send_headers(1, list(said.items()), end_stream=True)
    client.h2.send_headers(3, client.head("GET", "/health/live"), end_stream=True)
    await client.flush()
    await client.hear(lambda c: c.of(h2.events.StreamEnded))
    assert [(event.stream_id, event.error_code) for event in client.of(h2.events.StreamReset)] == [
        (1, ErrorCodes.PROTOCOL_ERROR)
    ]
    assert [event.stream_id for event in client.of(h2.events.StreamEnded)] == [3]


async def test_priorities_are_passed_over(connected):
    client = await connected()
    for stream in range(1, 2401, 2):
        client.h2.prioritize(stream, weight=7)
    client.h2.send_headers(2401, client.head("GET", "/health/live"), end_stream=True)
    await client.flush()
    await client.hear(lambda c: c.of(h2.events.StreamEnded))
    assert [event.stream_id for event in client.of(h2.events.StreamEnded)] == [2401]


async def test_an_answer_that_breaks_off_is_reset(rig, connected):
    async def breaks(_, stream) -> None:
        await stream.send_message(nova_pb2.ProxyHTTPResponse(status=200, body=b"first"))
        raise RuntimeError("on purpose")

    rig.comet.proxied = breaks
    client = await connected()
    client.h2.send_headers(1, client.head("GET", "/functions/echo/logs", x_api_key="sk_admin"), end_stream=True)
    await client.flush()
    await client.hear(lambda c: c.of(h2.events.StreamReset) or c.of(h2.events.StreamEnded))
    assert [event.error_code for event in client.of(h2.events.StreamReset)] == [ErrorCodes.INTERNAL_ERROR]


async def test_data_behind_an_early_answer_costs_nothing(rig, connected):
    client = await connected()
    client.h2.send_headers(1, client.head(content_length="1000"))  # given up before its body came
    client.h2.reset_stream(1)
    client.h2.send_headers(3, client.head(x_api_key="sk_admin", content_length="80000000"))
    await client.flush()
    await client.hear(lambda c: c.of(h2.events.StreamReset))
    assert dict(client.of(h2.events.ResponseReceived)[0].headers)[":status"] == "413"
    assert [event.error_code for event in client.of(h2.events.StreamReset)] == [ErrorCodes.NO_ERROR]
    assert [event.stream_id for event in client.of(h2.events.StreamEnded)] == [3]
    await client.stream.send(b"\x00\x00\x05\x00\x00\x00\x00\x00\x03hello")  # it was under way
    client.h2.send_headers(5, client.head("GET", "/health/live"), end_stream=True)
    await client.flush()
    await client.hear(lambda c: len(c.of(h2.events.StreamEnded)) == 2)
    assert client.of(h2.events.StreamEnded)[1].stream_id == 5


async def test_an_app_waits_for_a_client_that_takes_nothing(rig, connected):
    sent = 0

    async def endless(_, stream) -> None:
        nonlocal sent
        await stream.send_message(nova_pb2.ProxyHTTPResponse(status=200))
        while True:
            await stream.send_message(nova_pb2.ProxyHTTPResponse(body=b"x" * 10_000))
            sent += 1

    rig.comet.proxied = endless
    client = await connected()
    client.h2.send_headers(1, client.head("GET", "/functions/echo/logs", x_api_key="sk_admin"), end_stream=True)
    await client.flush()
    seen = -1
    with anyio.fail_after(20):
        while sent != seen or not seen:  # until it stands still
            seen = sent
            await anyio.sleep(0.5)
    await anyio.aclose_forcefully(client.stream)
    await until(lambda: rig.comet.cancelled == 1)
    await until(lambda: rig.parts.gate.inflight == 0)


async def test_a_stop_says_goodbye_and_lets_what_is_in_hand_end(own, authority, native_lane, tmp_path):
    go_on, begun = anyio.Event(), anyio.Event()

    async def waits(payload: bytes) -> bytes:
        begun.set()
        await go_on.wait()
        return payload

    async def listen(client: Client) -> None:
        with anyio.fail_after(20):
            try:
                while True:
                    raw.extend(await client.stream.receive())
                    if any(kind == GOAWAY for kind, _ in parsed(bytes(raw))):
                        go_on.set()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return

    tls = await public_tls(PublicTlsSettings(**own))
    settings = ZenithSettings(auth="loopback", trusted_uid=os.getuid())
    raw = bytearray()
    async with anyio.create_task_group() as tasks:
        async with gateway_rig(settings, state_dir=tmp_path, tls=tls, is_native=native_lane, cuts_off=False) as rig:
            rig.comet.functions["waits"] = waits
            busy, idle = await connect(rig, authority), await connect(rig, authority)
            busy.h2.send_headers(1, busy.head(path="/functions/waits/invoke"))
            busy.h2.send_data(1, b"17", end_stream=True)
            idle.h2.send_headers(1, idle.head("GET", "/health/live"), end_stream=True)
            await busy.flush()
            await idle.flush()
            await idle.hear(lambda c: c.of(h2.events.StreamEnded))
            await begun.wait()
            tasks.start_soon(listen, busy)
        await idle.hear(lambda c: c.goodbyes)
    for client in (busy, idle):
        await anyio.aclose_forcefully(client.stream)
    assert idle.goodbyes == [ErrorCodes.NO_ERROR]
    frames = parsed(bytes(raw))
    behind = frames[[kind for kind, _ in frames].index(GOAWAY) :]
    assert any(kind == DATA and b'"output":17' in body for kind, body in behind)


def parsed(raw: bytes) -> list[tuple[int, bytes]]:
    frames = []
    while len(raw) >= 9:
        end = 9 + int.from_bytes(raw[:3], "big")
        frames.append((raw[3], raw[9:end]))
        raw = raw[end:]
    return frames


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl_just_works(rig, authority):
    done = await anyio.run_process(
        ["curl", "-sS", "--http2", "--cacert", str(authority.cert), "-w", "\n%{http_version} %{http_code}", "-d", '{"n":1}',
         f"https://{rig.address}{INVOKE}"], stdout=PIPE, stderr=PIPE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    body, _, told = done.stdout.decode().rpartition("\n")
    assert told == "2 200"
    assert '"output":{"n":1}' in body


@pytest.mark.skipif(shutil.which("h2load") is None, reason="nghttp2-client is not installed")
async def test_another_client_finds_no_fault(rig):
    done = await anyio.run_process(
        ["h2load", "-n", "300", "-c", "3", "-m", "20", f"https://{rig.address}/health/live"],
        stdout=PIPE,
        stderr=PIPE,
        check=False,
    )
    text = done.stdout.decode()
    assert "300 succeeded, 0 failed, 0 errored" in text, text + done.stderr.decode()
