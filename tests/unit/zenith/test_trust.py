from __future__ import annotations

import pytest

from constellation.zenith.trust import is_local_request


def headers(**changes: str) -> list[tuple[bytes, bytes]]:
    plain = {"host": "localhost:9000", "user-agent": "curl/8", "accept": "*/*"} | changes
    return [(name.replace("_", "-").encode(), value.encode()) for name, value in plain.items() if value]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"host": "localhost"},
        {"host": "LOCALHOST:9000"},
        {"host": "127.0.0.1:9000"},
        {"host": "127.8.9.1"},
        {"host": "[::1]:9000"},
        {"host": "[::1]"},
        {"origin": "http://localhost:9000"},
        {"origin": "http://localhost:9000", "sec_fetch_site": "same-origin"},
        {"sec_fetch_site": "none"},
        {"x_request_id": "1"},
    ],
)
def test_a_local_program_is_trusted(changes):
    assert is_local_request(headers(**changes), scheme="http")


@pytest.mark.parametrize(
    "changes",
    [
        {"forwarded": "for=127.0.0.1"},
        {"x_forwarded_for": "127.0.0.1"},
        {"x_forwarded_host": "localhost"},
        {"x_forwarded_anything": "1"},
        {"via": "1.1 nginx"},
        {"host": ""},
        {"host": "evil.example"},
        {"host": "localhost.evil.example"},
        {"host": "127.0.0.1.evil.example:9000"},
        {"host": "127.0.0.1@evil.example"},
        {"host": "localhost:9000@evil.example"},
        {"host": "0.0.0.0:9000"},
        {"host": "[::]:9000"},
        {"host": "[::1].evil.example"},
        {"host": "::1:9000"},
        {"host": "[::1"},
        {"host": "192.168.1.5:9000"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:3000"},
        {"origin": "https://localhost:9000"},
        {"origin": "http://127.0.0.1:9000"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "Cross-Site"},
    ],
)
def test_each_sign_of_another_hand_disqualifies(changes):
    assert not is_local_request(headers(**changes), scheme="http")


def test_two_hosts_are_no_host():
    assert not is_local_request([*headers(), (b"host", b"localhost:9000")], scheme="http")
    twice = [*headers(origin="http://localhost:9000"), (b"origin", b"http://localhost:9000")]
    assert not is_local_request(twice, scheme="http")


@pytest.mark.parametrize("host", ["localhost:9000", "127.0.0.1:9000", "[::1]:9000", "localhost"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_our_own_origin_is_that_of_the_connection(host, scheme):
    other = {"http": "https", "https": "http"}[scheme]
    assert is_local_request(headers(host=host, origin=f"{scheme}://{host}"), scheme=scheme)
    for origin in (
        f"{other}://{host}", f"{scheme}://{host}:1", f"{scheme}://{host}.evil.example", f"{scheme}://evil.example", host, "null",
    ):  # fmt: skip
        assert not is_local_request(headers(host=host, origin=origin), scheme=scheme), origin
