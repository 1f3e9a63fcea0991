"""ct-guest as the server of the Lambda Runtime API, between a host that speaks frames and a program that speaks HTTP."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID

import pytest

from constellation.native import libexec_path
from constellation.wire.gen import agent_pb2

HELLO, INIT, READY, EXEC, RESULT, ERROR, CHUNK, _LOG, CANCEL, PING, PONG, STOP = range(1, 13)
MAX_BYTES = 6 << 20
ID = UUID("00112233-4455-6677-8899-aabbccddeeff")
# Tells where the API is, and stays: the test is the client.
WAITS = '#!/bin/sh\necho "$AWS_LAMBDA_RUNTIME_API"\nexec sleep 1000\n'


class Host:
    """The other end of ct-guest's channel, and the program's side of its API."""

    def __init__(self, channel: socket.socket, guest: subprocess.Popen[bytes]) -> None:
        self._channel, self._guest = channel, guest
        self._address = ""
        self._programs: list[Program] = []
        channel.settimeout(20)

    def send(self, kind: int, body: bytes = b"", *, call_id: int = 0) -> None:
        self._channel.sendall(struct.pack(">IBBHI", len(body), kind, 0, 0, call_id) + body)

    def receive(self) -> tuple[int, int, bytes]:
        length, kind, _, _, call_id = struct.unpack(">IBBHI", self._exactly(12))
        return kind, call_id, self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        parts = b""
        while len(parts) < count:
            part = self._channel.recv(count - len(parts))
            assert part, "ct-guest hung up"
            parts += part
        return parts

    def call(
        self, event: bytes = b"{}", *, call_id: int = 1, is_stream: bool = False, remaining_ms: int = 5000
    ) -> None:
        head = ID.bytes + bytes(range(16)) + bytes(range(8)) + struct.pack(">II", remaining_ms, int(is_stream))
        self.send(EXEC, head + event, call_id=call_id)

    def line(self) -> str:
        """What the program printed."""
        assert self._guest.stdout is not None
        return self._guest.stdout.readline().decode().strip()

    def program(self) -> Program:
        """Another connection, as the program might make it."""
        self._address = self._address or self.line()
        self._programs.append(Program(self._address))
        return self._programs[-1]

    def close(self) -> None:
        for program in self._programs:
            program.close()
        self.hang_up()

    def ended(self) -> int:
        return self._guest.wait(timeout=20)

    def hang_up(self) -> None:
        self._channel.close()


@contextmanager
def guest(code_dir: Path, program: str = WAITS, *, runtime: str = "provided", handler: str = "main.handler",
          env: Mapping[str, str] | None = None, file: str = "bootstrap", mode: int = 0o755) -> Iterator[Host]:  # fmt: skip
    (code_dir / file).write_text(program)
    (code_dir / file).chmod(mode)
    ours, theirs = socket.socketpair()
    # the shell moves the channel to where a worker finds it
    words = ["/bin/bash", "-c", f'exec "$0" "$@" 3<&{theirs.fileno()} {theirs.fileno()}<&-']
    started = subprocess.Popen(
        [*words, libexec_path("ct-guest"), "--runtime-api", runtime],
        stdout=subprocess.PIPE, pass_fds=[theirs.fileno()], env={"PATH": os.environ["PATH"]},
        start_new_session=True,  # outside a sandbox its program does not end with it
    )  # fmt: skip
    theirs.close()
    host = Host(ours, started)
    try:
        assert host.receive()[0] == HELLO
        init = agent_pb2.Init(
            handler=handler, function_name="greet", function_version="7", tenant="acme", namespace="prod",
            memory_limit_mb=256, concurrency=1, env=env or {}, code_dir=str(code_dir),
        )  # fmt: skip
        host.send(INIT, init.SerializeToString())
        yield host
    finally:
        host.close()
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.communicate(timeout=20)


class Program:
    """A client of the API, on one connection."""

    def __init__(self, address: str) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=20)

    def close(self) -> None:
        self._connection.close()

    @property
    def socket(self) -> socket.socket:
        """Past the client's own idea of HTTP."""
        return self._connection.sock

    def ask_next(self) -> None:
        self._connection.request("GET", "/2018-06-01/runtime/invocation/next")

    def answer(self) -> tuple[int, http.client.HTTPMessage, bytes]:
        got = self._connection.getresponse()
        return got.status, got.headers, got.read()

    def next(self) -> tuple[int, http.client.HTTPMessage, bytes]:
        self.ask_next()
        return self.answer()

    def post(self, path: str, body: bytes, **headers: str) -> tuple[int, dict[str, str]]:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request("POST", f"/2018-06-01/runtime/{path}", body, names)
        status, _, said = self.answer()
        return status, json.loads(said)


@pytest.fixture
def served(tmp_path):
    """A host and a program that has asked for its first call."""
    with guest(tmp_path) as host:
        program = host.program()
        program.ask_next()
        assert host.receive() == (READY, 0, b"\x08\x01")
        yield host, program


RESPONSE, FAILURE = f"invocation/{ID}/response", f"invocation/{ID}/error"
STREAMS = {"Lambda_Runtime_Function_Response_Mode": "streaming"}


def test_a_call_goes_to_the_program_and_its_answer_comes_back(served):
    host, program = served
    for event, answer in ((b'{"a": 1}', b'{"b":2}'), ('"\u2603"'.encode(), b"[]"), (b"", b"null")):
        host.call(event, remaining_ms=5000)
        status, headers, body = program.answer()
        assert (status, body) == (200, event or b"null")
        assert headers["Lambda-Runtime-Aws-Request-Id"] == str(ID)
        assert headers["Lambda-Runtime-Trace-Id"] == (
            "Root=1-00010203-0405060708090a0b0c0d0e0f;Parent=0001020304050607;Sampled=1"
        )
        assert headers["Lambda-Runtime-Invoked-Function-Arn"] == "arn:constellation:lambda:prod:acme:function:greet:7"
        assert 0 < int(headers["Lambda-Runtime-Deadline-Ms"]) - time.time() * 1000 <= 5000
        assert "Lambda-Runtime-Client-Context" not in headers
        assert program.post(RESPONSE, answer) == (202, {"status": "OK"})
        assert host.receive() == (RESULT, 1, answer)
        program.ask_next()


def test_the_program_finds_the_usual_environment(tmp_path):
    script = "#!/bin/sh\nenv >&2\nexit 3\n"
    env = {"GREETING": "hej\nd\u00e5", "AWS_LAMBDA_FUNCTION_NAME": "forged", "TZ": "Europe/Oslo"}
    (tmp_path / "env").touch()
    with guest(tmp_path, script.replace(">&2", f">{tmp_path}/env"), env=env) as host:
        assert host.ended() == 3
    found = (tmp_path / "env").read_text()
    for line in (
        "_HANDLER=main.handler", f"LAMBDA_TASK_ROOT={tmp_path}", "AWS_LAMBDA_FUNCTION_NAME=greet",
        "AWS_LAMBDA_FUNCTION_VERSION=7", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=256", "TZ=Europe/Oslo", f"PWD={tmp_path}",
        "AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/greet", "AWS_LAMBDA_LOG_STREAM_NAME=acme/prod/[7]", "GREETING=hej\nd\u00e5",
    ):  # fmt: skip
        assert f"{line}\n" in found
    assert "AWS_LAMBDA_RUNTIME_API=127.0.0.1:" in found


def test_an_error_is_told_in_the_words_of_the_platform(served):
    host, program = served
    said = {"errorType": "KeyError", "errorMessage": "no \u2603", "stackTrace": ["  File main.py\n", "    inner()"]}
    for body, header, told in (
        (json.dumps(said).encode(), "Unhandled",
         {"type": "KeyError", "message": "no \u2603", "stack": "KeyError: no \u2603\n  File main.py\n    inner()"}),
        (b'{"errorType":"E","errorMessage":"m","stackTrace":[{"path":"main.go","line":9,"label":"inner"}]}', "E",
         {"type": "E", "message": "m", "stack": "E: m\n    at inner (main.go:9)"}),
        (b'{"errorType":"T","errorMessage":"m","trace":["T: m","    at f (main.js:1:2)"]}', "",
         {"type": "T", "message": "m", "stack": "T: m\n    at f (main.js:1:2)"}),
        (b'{"errorMessage":"only"}', "Function.Odd", {"type": "Function.Odd", "message": "only"}),
        (b"it broke", "", {"type": "Error", "message": "it broke"}),
        (b"", "Function.Silent", {"type": "Function.Silent", "message": ""}),
    ):  # fmt: skip
        host.call()
        program.answer()
        assert program.post(FAILURE, body, Lambda_Runtime_Function_Error_Type=header) == (202, {"status": "OK"})
        kind, call_id, error = host.receive()
        assert (kind, call_id, json.loads(error)) == (ERROR, 1, told)
        program.ask_next()


def test_what_does_not_fit_the_state_is_refused_and_changes_nothing(served):
    host, program = served
    other = host.program()
    assert other.post(RESPONSE, b"1") == (
        403, {"errorMessage": "no call waits for this answer", "errorType": "InvalidStateTransition"},
    )  # fmt: skip
    assert other.next()[0] == 403  # the first one waits already
    assert other.post("init/error", b"{}")[0] == 403
    assert other.post("nonsense", b"{}")[0] == 404
    assert other.post(f"invocation/{ID}/nonsense", b"{}")[0] == 404
    assert other.post("invocation/next", b"")[0] == 405
    host.call(b"7")
    assert program.answer()[2] == b"7"
    assert other.post("invocation/another-id/response", b"1")[1]["errorType"] == "InvalidRequestID"
    assert other.post(f"invocation/{str(ID)[:-1]}/error", b"1")[0] == 400
    assert other.next()[0] == 403  # a call is in hand
    assert program.post(RESPONSE, b"8")[0] == 202
    assert program.post(RESPONSE, b"9")[0] == 403  # once
    assert host.receive() == (RESULT, 1, b"8")


def test_what_is_no_http_is_refused_by_a_message_and_the_connection_ends(served):
    host, program = served
    port = program.socket.getpeername()[1]
    for sent, status in (
        (b"\x16\x03\x01\x02\x00", 400),
        (
            b"POST /2018-06-01/runtime/init/error HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            400,
        ),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    ):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
            raw.sendall(sent)
            with raw.makefile("rb") as answer:
                said = answer.read()
        assert said.startswith(b"HTTP/1.1 %d " % status), (sent[:40], said)
        assert json.loads(said.partition(b"\r\n\r\n")[2])["errorType"] == "InvalidRequest"
    host.call(b"1")
    assert program.answer()[2] == b"1"


def test_the_longest_bodies_are_carried_and_a_longer_one_is_refused_by_name(served):
    host, program = served
    longest = b'"' + b"x" * (MAX_BYTES - 2) + b'"'
    host.call(longest)
    assert program.answer()[2] == longest
    with ThreadPoolExecutor(1) as other:  # the host must read for the program to get its answer
        answered = other.submit(program.post, RESPONSE, longest)
        assert host.receive() == (RESULT, 1, longest)
        assert answered.result(20)[0] == 202
    for is_chunked in (False, True):
        program.ask_next()
        host.call(call_id=2 + is_chunked)
        program.answer()
        body = iter([longest, b" "]) if is_chunked else longest + b" "
        status, said = program.post(RESPONSE, body)
        assert (status, said["errorType"]) == (413, "RequestEntityTooLarge")
        kind, call_id, error = host.receive()
        assert (kind, call_id, json.loads(error)["type"]) == (ERROR, 2 + is_chunked, "Function.ResponseSizeTooLarge")


def test_a_stream_goes_on_piece_by_piece_before_it_ends(served):
    host, program = served
    host.call(is_stream=True)
    program.answer()

    def pieces():
        for text in (b"one", "\u2603".encode(), b'{"n": 1}'):
            yield text
            assert host.receive() == (CHUNK, 1, text)  # before the next one is sent

    assert program.post(RESPONSE, pieces(), **STREAMS)[0] == 202
    assert host.receive() == (RESULT, 1, b"")


def test_a_plain_answer_can_be_streamed_and_a_stream_be_called(served):
    host, program = served
    bytes_ = {"Content_Type": "application/octet-stream"}
    for headers, is_stream, answer, told in (
        ({}, True, b'{"a":1}', [(CHUNK, 1, b'{"a":1}'), (RESULT, 1, b"")]),
        (STREAMS, False, b'{"a":1}', [(RESULT, 1, b'{"a":1}')]),
        (STREAMS, False, b'say "hi"\n', [(RESULT, 1, b'"say \\"hi\\"\\n"')]),
        (bytes_, False, b"text", [(RESULT, 1, b'"text"')]),
        (bytes_, True, iter([b"te", b"xt"]), [(CHUNK, 1, b"te"), (CHUNK, 1, b"xt"), (RESULT, 1, b"")]),
        ({}, False, b"no json", [(RESULT, 1, b"no json")]),  # which the host refuses
    ):
        host.call(is_stream=is_stream)
        program.answer()
        assert program.post(RESPONSE, answer, **headers)[0] == 202
        assert [host.receive() for _ in told] == told
        program.ask_next()


def test_a_stream_that_fails_in_the_middle_says_so_in_its_trailers(served):
    host, program = served
    host.call(is_stream=True)
    program.answer()
    body = base64.b64encode(b'{"errorType":"Midway","errorMessage":"no more"}')
    raw = program.socket
    raw.sendall(
        b"POST /2018-06-01/runtime/%b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        b"Lambda-Runtime-Function-Response-Mode: streaming\r\n"
        b"Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n\r\n"
        b"3\r\none\r\n0\r\nLambda-Runtime-Function-Error-Type: Unhandled\r\n"
        b"Lambda-Runtime-Function-Error-Body: %b\r\n\r\n" % (RESPONSE.encode(), body)
    )
    assert host.receive() == (CHUNK, 1, b"one")
    kind, call_id, error = host.receive()
    assert (kind, call_id, json.loads(error)) == (ERROR, 1, {"type": "Midway", "message": "no more"})
    assert raw.recv(100).startswith(b"HTTP/1.1 202 ")


def test_a_stream_that_is_broken_off_is_an_error_of_the_call(served):
    host, program = served
    host.call(is_stream=True)
    program.answer()
    program.socket.sendall(
        b"POST /2018-06-01/runtime/%b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        b"Lambda-Runtime-Function-Response-Mode: streaming\r\n\r\n3\r\none\r\n" % RESPONSE.encode()
    )
    assert host.receive() == (CHUNK, 1, b"one")
    program.close()
    kind, _, error = host.receive()
    assert (kind, json.loads(error)["type"]) == (ERROR, "Runtime.TruncatedResponse")


def test_an_answer_whose_connection_broke_can_be_given_again(served):
    host, program = served
    host.call()
    program.answer()
    program.socket.sendall(
        b"POST /2018-06-01/runtime/%b HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1234" % RESPONSE.encode()
    )
    program.close()
    again = host.program()
    while (answered := again.post(RESPONSE, b"5"))[0] == 403:
        pass  # the end of the first one has not been noticed
    assert answered[0] == 202
    assert host.receive() == (RESULT, 1, b"5")


def test_who_asked_and_went_away_gets_no_call(served):
    host, program = served
    program.close()
    again = host.program()
    host.call(b"1")  # perhaps before the end of the first one was noticed
    status, _, body = again.next()
    while status == 403:
        status, _, body = again.next()
    assert (status, body) == (200, b"1")


def test_a_body_is_awaited_where_the_program_asks_first(served):
    host, program = served
    host.call()
    program.answer()
    raw = program.socket
    raw.sendall(
        b"POST /2018-06-01/runtime/%b HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n"
        % RESPONSE.encode()
    )
    assert raw.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    raw.sendall(b"5")
    assert raw.recv(100).startswith(b"HTTP/1.1 202 ")
    assert host.receive() == (RESULT, 1, b"5")


def test_requests_that_come_together_are_answered_in_their_order(served):
    host, program = served
    host.call()
    program.answer()
    raw = program.socket
    post = b"POST /2018-06-01/runtime/%b HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n5" % RESPONSE.encode()
    raw.sendall(post + post + b"GET /2018-06-01/runtime/invocation/next HTTP/1.0\r\n\r\n")
    assert host.receive() == (RESULT, 1, b"5")
    host.call(b'"second"')
    with raw.makefile("rb") as answers:
        said = answers.read()  # to the end, which HTTP/1.0 asks for
    assert [line[9:12] for line in said.splitlines() if line.startswith(b"HTTP/1.1 ")] == [b"202", b"403", b"200"]
    assert said.endswith(b'\r\n\r\n"second"')


def test_a_program_that_can_not_start_says_why(tmp_path):
    with guest(tmp_path) as host:
        program = host.program()
        body = b'{"errorType":"ImportError","errorMessage":"no module named x","stackTrace":[]}'
        assert program.post("init/error", body)[0] == 202
        kind, _, ready = host.receive()
        error = json.loads(agent_pb2.Ready.FromString(ready).error)
        assert kind == READY
        assert error == {
            "type": "ImportError",
            "message": "no module named x",
            "stack": "ImportError: no module named x",
        }
        assert program.next()[0] == 403


@pytest.mark.parametrize(
    ("runtime", "handler", "mode", "text", "told"),
    [
        ("provided", "main.handler", 0o644, WAITS, "/bootstrap: Permission denied"),
        ("provided", "main.handler", 0o755, "\x7fELF of another kind", "another machine"),
        ("provided", "main.handler", 0o755, "#!/no/such/interpreter\n", "the interpreter or loader that it names"),
        ("custom", "no-such-program --flag", 0o755, WAITS, "no-such-program: No such file or directory"),
        ("custom", "  ", 0o755, WAITS, "No such file or directory"),
    ],
)
def test_a_program_that_can_not_be_executed_is_named(tmp_path, runtime, handler, mode, text, told):
    with guest(tmp_path, text, runtime=runtime, handler=handler, mode=mode) as host:
        kind, _, ready = host.receive()
        error = json.loads(agent_pb2.Ready.FromString(ready).error)
        assert (kind, error["type"]) == (READY, "Runtime.InvalidEntrypoint")
        assert told in error["message"]


def test_a_command_has_words(tmp_path):
    with guest(tmp_path, 'echo "$1|$2|$_HANDLER"\nexec sleep 1000\n', runtime="custom", file="main.sh", mode=0o644,
               handler="sh ./main.sh  one two") as host:  # fmt: skip
        assert host.line() == "one|two|sh ./main.sh  one two"


@pytest.mark.parametrize(("script", "status"), [("exit 9", 9), ("kill -9 $$", 137), ("(sleep 1000) & exit 0", 0)])
def test_it_ends_as_its_program_ends(tmp_path, script, status):
    with guest(tmp_path, f"#!/bin/sh\n{script}\n") as host:
        assert host.ended() == status


def test_what_a_program_answered_comes_before_its_end(tmp_path):
    script = f"""#!{sys.executable}
import http.client, os
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
api.request("GET", "/2018-06-01/runtime/invocation/next")
call = api.getresponse()
call.read()
api.request("POST", f"/2018-06-01/runtime/invocation/{{call.headers['Lambda-Runtime-Aws-Request-Id']}}/response", b"[1]")
os._exit(4)
"""
    with guest(tmp_path, script) as host:
        assert host.receive()[0] == READY
        host.call()
        assert host.receive() == (RESULT, 1, b"[1]")
        assert host.ended() == 4


def test_the_host_may_ping_cancel_and_stop(served):
    host, program = served
    host.send(PING, b"are you there", call_id=9)
    assert host.receive() == (PONG, 9, b"are you there")
    host.call()
    program.answer()
    host.send(CANCEL, call_id=1)
    host.send(STOP)
    program.socket.sendall(
        b"POST /2018-06-01/runtime/%b HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1" % RESPONSE.encode()
    )
    assert host.receive() == (RESULT, 1, b"1")  # what is in hand is finished first
    assert host.ended() == 0


def test_it_ends_with_its_host(served):
    host, _ = served
    host.hang_up()
    assert host.ended() == 0


@pytest.mark.parametrize(
    "frames", [[(99, b"")], [(INIT, b"")], [(EXEC, b"short")], [(EXEC, b"x" * 48), (EXEC, b"x" * 48)]]
)
def test_a_host_that_breaks_the_protocol_is_left(served, frames):
    host, _ = served
    for kind, body in frames:
        host.send(kind, body, call_id=1)
    assert host.ended() == 1
