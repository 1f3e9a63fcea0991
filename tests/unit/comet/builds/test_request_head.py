"""What the proxy of builds reads as a request, and what it does not."""

from __future__ import annotations

import pytest

from constellation.comet.builds.request_head import HeadRefused, read_head


def test_a_tunnel():
    wanted = read_head(b"CONNECT PyPI.org:443 HTTP/1.1\r\nHost: pypi.org:443\r\nUser-Agent: pip")
    assert (wanted.host, wanted.port, wanted.is_tunnel) == ("pypi.org", 443, True)


def test_a_get_is_said_anew_to_the_server():
    wanted = read_head(
        b"GET http://Mirror.local:8080/simple/x?y=z HTTP/1.1\r\nHost: evil\r\nAccept: */*\r\n"
        b"Proxy-Authorization: Basic eA==\r\nConnection: keep-alive"
    )
    assert (wanted.host, wanted.port, wanted.is_tunnel) == ("mirror.local", 8080, False)
    assert wanted.opening == (
        b"GET /simple/x?y=z HTTP/1.1\r\nHost: Mirror.local:8080\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST http://a/ HTTP/1.1", 405),
        (b"GET /x HTTP/1.1", 405),
        (b"GET https://a/ HTTP/1.1", 405),
        (b"GET http://a/\x01 HTTP/1.1", 405),
        (b"CONNECT a HTTP/1.1", 405),
        (b"CONNECT a:443 HTTP/2", 405),
        (b"CONNECT user@a:443 HTTP/1.1", 405),
        (b"CONNECT a:0 HTTP/1.1", 400),
        (b"CONNECT a:70000 HTTP/1.1", 400),
        (b"GET http://user:word@a/ HTTP/1.1", 400),
        (b"GET http://a:99999/ HTTP/1.1", 400),
        (b"GET http://a/ HTTP/1.1\r\nContent-Length: 3", 400),
        (b"GET http://a/ HTTP/1.1\r\nTransfer-Encoding: chunked", 400),
        (b"GET http://a/ HTTP/1.1\r\n folded", 400),
        (b"GET http://a/ HTTP/1.1\r\nName : x", 400),
        (b"GET http://a/ HTTP/1.1\r\nX: a\nY: b", 400),
        (b"", 405),
    ],
)
def test_anything_else_is_refused(head, status):
    with pytest.raises(HeadRefused) as caught:
        read_head(head)
    assert caught.value.status == status
