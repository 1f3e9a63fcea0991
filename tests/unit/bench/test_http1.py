"""The lean HTTP client reads what it must and refuses the rest."""

from __future__ import annotations

import http1
import pytest
from http1 import Answer, AnswerReader, BadAnswer, request_bytes, target_of
from hypothesis import given
from hypothesis import strategies as st

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Y: z\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0A\r\n0123456789\r\n0\r\n\r\n"
EMPTY = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"
CONTINUED = b"HTTP/1.1 100 Continue\r\n\r\n" + PLAIN
ANSWERS = {
    PLAIN: Answer(200, b"hello", True),
    CHUNKED: Answer(404, b"abc0123456789", True),
    EMPTY: Answer(204, b"", False),
    CONTINUED: Answer(200, b"hello", True),
}


@given(st.sampled_from(sorted(ANSWERS)), st.integers(min_value=1, max_value=7))
def test_answer_is_the_same_however_it_is_cut(raw, step):
    reader = AnswerReader()
    found = [reader.feed(raw[at : at + step]) for at in range(0, len(raw), step)]
    assert found[-1] == ANSWERS[raw]
    assert not any(found[:-1])


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 abc\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1_0\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\ntrailer: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x" * (http1.MAX_HEAD_BYTES + 1),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"1" * 2000,
    ],
)
def test_rubbish_is_refused(raw):
    with pytest.raises(BadAnswer):
        AnswerReader().feed(raw)


def test_request_is_whole():
    raw = request_bytes(target_of("http://h:9000/base/"), "POST", "/x", body=b"{}", headers={"x-api-key": "k"})
    head, _, body = raw.partition(b"\r\n\r\n")
    assert body == b"{}"
    assert head.split(b"\r\n") == [
        b"POST /base/x HTTP/1.1",
        b"host: h:9000",
        b"content-type: application/json",
        b"x-api-key: k",
        b"content-length: 2",
    ]


@pytest.mark.parametrize("url", ["h:9000", "ftp://h", "http://", ""])
def test_address_that_is_none_is_refused(url):
    with pytest.raises(ValueError, match="is not"):
        target_of(url)
