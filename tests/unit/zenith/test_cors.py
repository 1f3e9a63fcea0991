from __future__ import annotations

import pytest

from constellation.base.errors import InvalidRequest
from constellation.nova.domain.function_url import Cors, check_cors
from constellation.zenith.cors import answer_headers, preflight_headers
from constellation.zenith.errors import OriginRefused

PAGE = b"https://page.example"
ONE = Cors(allow_origins=("https://page.example", "null"))
ANY = Cors(allow_origins=("*",))


@pytest.mark.parametrize(
    ("cors", "origin", "told"),
    [
        (Cors(), PAGE, {}),
        (ANY, None, {}),
        (ANY, PAGE, {b"access-control-allow-origin": b"*"}),
        (ONE, None, {b"vary": b"Origin"}),
        (ONE, b"https://evil.example", {b"vary": b"Origin"}),
        (ONE, PAGE, {b"vary": b"Origin", b"access-control-allow-origin": PAGE}),
        (ONE, b"null", {b"vary": b"Origin", b"access-control-allow-origin": b"null"}),
    ],
)
def test_an_answer_names_the_origin_that_may_read_it(cors, origin, told):
    assert dict(answer_headers(cors, origin)) == told


def test_a_preflight_says_what_may_come_and_refuses_strangers():
    cors = Cors(allow_origins=("*",), allow_methods=("GET", "PUT"), allow_headers=("X-A", "X-B"), max_age_s=5)
    assert dict(preflight_headers(cors, PAGE)) == {
        b"access-control-allow-methods": b"GET, PUT",
        b"access-control-allow-headers": b"X-A, X-B",
        b"access-control-max-age": b"5",
    }
    with pytest.raises(OriginRefused):
        preflight_headers(ONE, b"https://evil.example")


@pytest.mark.parametrize("origin", ["*", "null", "https://a.example", "http://localhost:3000", "http://[::1]:80"])
def test_origins_that_are_some(origin):
    check_cors(Cors(allow_origins=(origin,)))


@pytest.mark.parametrize(
    "cors",
    [
        Cors(allow_origins=("a.example",)),
        Cors(allow_origins=("https://a.example/",)),
        Cors(allow_origins=("https://*.example",)),
        Cors(allow_origins=("http://[::zz]",)),
        Cors(allow_methods=("GET\r\nX: y",)),
        Cors(expose_headers=("a b",)),
        Cors(allow_origins=("*",), allow_credentials=True),
        Cors(allow_origins=("https://a.example",), allow_methods=("*",), allow_credentials=True),
    ],
)
def test_what_browsers_do_not_understand_is_refused(cors):
    with pytest.raises(InvalidRequest):
        check_cors(cors)
