"""Our end of unary calls, with h2 at the other end."""

from __future__ import annotations

import base64
import struct

import pytest
from grpclib.const import Status
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes
from hypothesis import given
from hypothesis import strategies as st

from constellation.rpc import unary_wire
from constellation.rpc.unary_wire import Answer, Broken, Fields, Gone, UnaryWire

PATH, TOKEN = "/nova.v1.NovaService/Invoke", "Bearer secret"
OPENING = [(":status", "200"), ("content-type", "application/grpc+proto")]


class Server:
    """h2, which checks what it is sent, and what it was told of each call."""

    def __init__(self, settings: dict[SettingCodes, int] | None = None) -> None:
        # Strict: what is no valid request is an error here.
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="ascii"))
        self.h2.initiate_connection()
        if settings:
            self.h2.update_settings(settings)
        self.wire = UnaryWire(Fields(scheme="http", authority="comet:1", authorization=TOKEN))
        self.headers: dict[int, dict[str, str]] = {}
        self.order: dict[int, list[str]] = {}
        self.bodies: dict[int, bytes] = {}
        self.whole: set[int] = set()
        self.resets: dict[int, int] = {}
        self.acknowledges = True
        self.turn()

    def turn(self) -> list[tuple[int, Answer | Gone]]:
        """Carry bytes both ways until nobody has more to say."""
        ended = []
        while True:
            to_server, to_client = self.wire.take(), self.h2.data_to_send()
            if not to_server and not to_client:
                return ended
            ended += self.wire.receive(to_client)
            for event in self.h2.receive_data(to_server):
                if isinstance(event, RequestReceived):
                    self.headers[event.stream_id] = dict(event.headers)
                    self.order[event.stream_id] = [name for name, _ in event.headers]
                    self.bodies[event.stream_id] = b""
                elif isinstance(event, DataReceived):
                    self.bodies[event.stream_id] += event.data
                    if self.acknowledges:
                        self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, StreamEnded):
                    self.whole.add(event.stream_id)
                elif isinstance(event, StreamReset):
                    self.resets[event.stream_id] = int(event.error_code)

    def call(self, message: bytes = b"ask", *, timeout_ms: int = 1000, **metadata: str) -> int:
        fields = {"authorization": TOKEN, **{name.replace("_", "-"): value for name, value in metadata.items()}}
        return self.wire.begin(PATH, fields, message, timeout_ms=timeout_ms)

    def answer(self, number: int, message: bytes, *trailers: tuple[str, str]) -> None:
        self.h2.send_headers(number, OPENING)
        body = b"\0" + struct.pack(">I", len(message)) + message
        for at in range(0, len(body), 16384):
            self.h2.send_data(number, body[at : at + 16384])
        self.h2.send_headers(number, trailers or [("grpc-status", "0")], end_stream=True)


def test_a_call_says_what_grpc_asks_for_and_is_answered():
    server = Server()
    number = server.call(b"ask", timeout_ms=2500, nova_identity="t" * 300, x_request_id="one")
    server.turn()
    assert server.headers[number] == {
        ":method": "POST", ":scheme": "http", ":authority": "comet:1", ":path": PATH, "te": "trailers",
        "content-type": "application/grpc", "grpc-timeout": "2500m", "authorization": TOKEN,
        "nova-identity": "t" * 300, "x-request-id": "one",
    }  # fmt: skip
    assert server.bodies[number] == b"\0\0\0\0\x03ask"
    assert number in server.whole
    server.answer(number, b"reply")
    assert server.turn() == [(number, Answer(Status.OK, body=b"reply"))]
    assert server.wire.calls == 0


def test_later_calls_say_the_same_in_fewer_bytes():
    server = Server()
    sizes = []
    for _ in range(4):
        number = server.call(nova_identity="t")
        out = server.wire.take()
        sizes.append(len(out))
        server.h2.receive_data(out)
    assert sizes[1] < sizes[0] - len(TOKEN)
    assert sizes[1] == sizes[2] == sizes[3]
    assert number == 7


def test_the_credential_is_told_late_and_another_one_is_never_kept():
    server = Server()
    for credential in (None, TOKEN, "Bearer other", TOKEN):
        fields = {} if credential is None else {"authorization": credential}
        number = server.wire.begin(PATH, fields, b"", timeout_ms=1)
        server.turn()
        assert server.headers[number].get("authorization") == credential
        assert server.headers[number][":authority"] == "comet:1"


@pytest.mark.parametrize("size_bytes", [0, 64, 200, 4096, 1 << 20])
def test_the_other_sides_table_may_have_any_size(size_bytes):
    server = Server({SettingCodes.HEADER_TABLE_SIZE: size_bytes})
    for _ in range(3):
        number = server.call(x_request_id="one")
        server.turn()
        assert server.headers[number]["authorization"] == TOKEN


def test_the_other_sides_table_may_change_in_between():
    server = Server()
    for size_bytes in (4096, 0, 4096, 100, 1000):
        server.h2.update_settings({SettingCodes.HEADER_TABLE_SIZE: size_bytes})
        server.turn()
        for _ in range(2):
            number = server.call(x_request_id="one")
            server.turn()
            assert server.headers[number]["authorization"] == TOKEN
            assert server.headers[number]["x-request-id"] == "one"


@pytest.mark.parametrize("size_bytes", [126, 127, 128, 254, 255, 5000, 70_000])
def test_metadata_of_any_length(size_bytes):
    server = Server({SettingCodes.MAX_HEADER_LIST_SIZE: 1 << 20})
    number = server.call(nova_call_chain="c" * size_bytes)
    server.turn()
    assert server.headers[number]["nova-call-chain"] == "c" * size_bytes


@pytest.mark.parametrize("value", ["caf\u00e9", "a\r\nb", "\0"])
def test_metadata_that_can_not_be_sent_costs_its_call_only(value):
    server = Server()
    with pytest.raises(ValueError, match="x-request-id"):
        server.call(x_request_id=value)
    assert server.wire.calls == 0
    for _ in range(2):
        number = server.call(x_request_id="one")
        server.turn()
        assert server.headers[number]["authorization"] == TOKEN


def test_a_message_waits_for_the_windows():
    server = Server()
    server.acknowledges = False
    message = bytes(range(256)) * 1024
    first, second = server.call(message), server.call(b"later")
    server.turn()
    assert len(server.bodies[first]) == 65535
    assert not server.bodies[second]
    server.h2.increment_flow_control_window(1 << 20)
    server.turn()
    assert second in server.whole
    assert first not in server.whole
    server.h2.increment_flow_control_window(1 << 20, first)
    server.turn()
    assert server.bodies[first][5:] == message
    assert first in server.whole


def test_a_window_that_shrinks_is_kept():
    server = Server()
    server.acknowledges = False
    number = server.call(b"x" * 100_000)
    server.turn()
    server.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 10})
    server.h2.increment_flow_control_window(1 << 20)
    server.turn()
    assert len(server.bodies[number]) == 65535
    server.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20})
    server.turn()
    assert number in server.whole


def test_an_answer_before_the_message_is_sent_ends_the_call():
    server = Server()
    server.acknowledges = False
    number = server.call(b"x" * 100_000)
    server.turn()
    server.answer(number, b"", ("grpc-status", "8"), ("grpc-message", "too%20much"))
    assert server.turn() == [(number, Answer(Status.RESOURCE_EXHAUSTED, "too much"))]
    assert number in server.resets
    assert server.wire.calls == 0


def test_a_refusal_carries_its_problem():
    server = Server()
    number = server.call()
    server.turn()
    problem = base64.b64encode(b'{"code":"x"}').decode().rstrip("=")
    status = [("grpc-status", "5"), ("grpc-message", "caf%C3%A9"), ("nova-problem-bin", problem)]
    server.h2.send_headers(number, OPENING + status, end_stream=True)
    assert server.turn() == [(number, Answer(Status.NOT_FOUND, "café", problem=b'{"code":"x"}'))]


@pytest.mark.parametrize(
    ("code", "status"), [("503", Status.UNAVAILABLE), ("404", Status.UNIMPLEMENTED), ("302", Status.UNKNOWN)]
)
def test_what_is_no_grpc_server_is_told_by_its_status(code, status):
    server = Server()
    number = server.call()
    server.turn()
    server.h2.send_headers(number, [(":status", code)], end_stream=True)
    [(_, answer)] = server.turn()
    assert isinstance(answer, Answer)
    assert answer.status is status


def test_an_answer_that_ends_without_a_status_was_cut_off():
    server = Server()
    number = server.call()
    server.turn()
    server.answer(number, b"reply", ("x", "y"))
    [(_, answer)] = server.turn()
    assert isinstance(answer, Gone)
    assert answer.may_have_begun


@pytest.mark.parametrize("trailers", [[("grpc-status", "one")], [("grpc-status", "99")]])
def test_an_answer_of_an_unknown_status_is_none(trailers):
    server = Server()
    number = server.call()
    server.turn()
    server.answer(number, b"reply", *trailers)
    [(_, answer)] = server.turn()
    assert isinstance(answer, Answer)
    assert answer.status is Status.UNKNOWN


@pytest.mark.parametrize("body", [b"", b"\0\0\0\0", b"\0\0\0\0\x02x", b"\0\0\0\0\x00x", b"\x01\0\0\0\x01x"])
def test_an_answer_that_is_not_one_message_is_none(body):
    server = Server()
    number = server.call()
    server.turn()
    server.h2.send_headers(number, OPENING)
    server.h2.send_data(number, body)
    server.h2.send_headers(number, [("grpc-status", "0")], end_stream=True)
    [(_, gone)] = server.turn()
    assert isinstance(gone, Gone)
    assert gone.may_have_begun


def test_an_answer_over_the_bound_costs_its_call_only(monkeypatch):
    monkeypatch.setattr(unary_wire, "MAX_ANSWER_BYTES", 1000)
    server = Server()
    first, second = server.call(), server.call()
    server.turn()
    server.answer(first, b"x" * 2000)
    server.answer(second, b"fits")
    ended = dict(server.turn())
    assert isinstance(ended[first], Gone)
    assert ended[second] == Answer(Status.OK, body=b"fits")


@pytest.mark.parametrize(("code", "may_have_begun"), [(7, False), (8, True), (2, True)])
def test_a_reset_says_whether_the_call_may_have_begun(code, may_have_begun):
    server = Server()
    number = server.call()
    server.turn()
    server.h2.reset_stream(number, code)
    [(_, gone)] = server.turn()
    assert isinstance(gone, Gone)
    assert gone.may_have_begun is may_have_begun


def test_a_goodbye_lets_known_calls_end_and_says_that_others_never_began():
    server = Server()
    first = server.call()
    server.turn()
    second = server.call()
    server.wire.take()  # never arrives
    server.h2.close_connection(last_stream_id=first)
    [(number, gone)] = server.wire.receive(server.h2.data_to_send())
    assert number == second
    assert isinstance(gone, Gone)
    assert not gone.may_have_begun
    assert server.wire.is_ending
    assert server.wire.calls == 1


def test_a_call_that_is_given_up_is_reset_and_its_answer_ignored():
    server = Server()
    number = server.call()
    server.turn()
    server.answer(number, b"late")
    late = server.h2.data_to_send()
    server.wire.cancel(number)
    assert server.wire.receive(late) == []
    assert server.wire.calls == 0
    assert server.wire.take() == unary_wire._frame(3, 0, number, b"\0\0\0\x08")


def test_it_is_said_how_many_calls_the_other_side_takes():
    assert Server({SettingCodes.MAX_CONCURRENT_STREAMS: 3}).wire.max_calls == 3
    assert UnaryWire(Fields(scheme="http", authority="a", authorization="b")).max_calls == 0


def test_a_ping_is_answered():
    server = Server()
    server.h2.ping(b"12345678")
    server.wire.receive(server.h2.data_to_send())
    assert b"12345678" in server.wire.take()


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=30))
def test_it_does_not_matter_where_the_bytes_are_cut(sizes):
    server = Server()
    numbers = [server.call(), server.call(), server.call()]
    server.turn()
    for number in numbers:
        server.answer(number, bytes([number]) * 50)
    data, ended, turn = server.h2.data_to_send(), [], 0
    while data:
        size_bytes = sizes[turn % len(sizes)]
        ended += server.wire.receive(data[:size_bytes])
        data, turn = data[size_bytes:], turn + 1
    assert ended == [(number, Answer(Status.OK, body=bytes([number]) * 50)) for number in numbers]


def test_padded_frames_and_blocks_in_pieces_are_read():
    server = Server()
    number = server.call()
    server.turn()
    encoder = server.h2.encoder
    block = encoder.encode([(b":status", b"200"), (b"x", b"y" * 100)])
    head = unary_wire._frame(1, 0x8 | 0x20, number, b"\x03" + b"\0\0\0\0\x10" + block[:20] + b"\0\0\0")
    rest = unary_wire._frame(9, 0, number, block[20:30]) + unary_wire._frame(9, 0x4, number, block[30:])
    data = unary_wire._frame(0, 0x8, number, b"\x02" + b"\0\0\0\0\x01x" + b"\0\0")
    trailers = unary_wire._frame(1, 0x5, number, encoder.encode([(b"grpc-status", b"0")]))
    assert server.wire.receive(head + rest + data + trailers) == [(number, Answer(Status.OK, body=b"x"))]


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(b"\xff\xff\xff\0\0\0\0\0\1", id="too long"),
        pytest.param(unary_wire._frame(1, 0x4, 1, b"\x80"), id="no such header"),
        pytest.param(unary_wire._frame(1, 0x0, 1, b"\x88") + unary_wire._frame(0, 0, 1, b"x"), id="torn block"),
        pytest.param(unary_wire._frame(9, 0x4, 1, b"\x88"), id="a continuation of nothing"),
        pytest.param(unary_wire._frame(0, 0x8, 1, b"\x05x"), id="padding"),
        pytest.param(unary_wire._frame(4, 0, 0, b"12345"), id="settings"),
        pytest.param(unary_wire._frame(8, 0, 0, b"1"), id="window"),
        pytest.param(unary_wire._frame(5, 0x4, 1, b"\0\0\0\2\x82"), id="push"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="another protocol"),
    ],
)
def test_what_is_no_http2_is_noticed(frame):
    server = Server()
    server.call()
    server.turn()
    with pytest.raises(Broken):
        server.wire.receive(frame)


def test_a_block_without_an_end_is_bounded():
    server = Server()
    number = server.call()
    server.turn()
    server.wire.receive(unary_wire._frame(1, 0, number, b"\0" * 16000))
    more = b"".join(unary_wire._frame(9, 0, number, b"\0" * 16000) for _ in range(10))
    with pytest.raises(Broken):
        server.wire.receive(more)
