"""The C check agrees with a strict reading by Python's own parser."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies

from constellation.native.json_check import DEPTH_MAX, is_json

DOCUMENTS = strategies.recursive(
    strategies.none()
    | strategies.booleans()
    | strategies.integers()
    | strategies.floats(allow_nan=False, allow_infinity=False)
    | strategies.text(),
    lambda inner: strategies.lists(inner) | strategies.dictionaries(strategies.text(), inner),
    max_leaves=30,
)


def reference(data: bytes) -> bool:
    def refuse(name: str) -> None:
        raise ValueError(name)

    try:
        json.loads(data.decode("utf-8", "strict"), parse_constant=refuse)
    except (ValueError, RecursionError):
        return False
    return not data.startswith(b"\xef\xbb\xbf")


@given(DOCUMENTS, strategies.booleans(), strategies.sampled_from([None, 2]))
def test_documents_pass(document, is_ascii, indent):
    assert is_json(json.dumps(document, ensure_ascii=is_ascii, indent=indent).encode())


@given(DOCUMENTS, strategies.data())
def test_a_damaged_document_is_judged_as_python_judges_it(document, data):
    text = bytearray(json.dumps(document, ensure_ascii=False).encode())
    at = data.draw(strategies.integers(0, max(0, len(text) - 1)))
    text[at : at + data.draw(strategies.integers(0, 2))] = data.draw(strategies.binary(max_size=2))
    assert is_json(bytes(text)) == reference(bytes(text))


@given(strategies.text(alphabet='{}[]",:0123456789.eE+-truefalsn\\u \n\t\x00é', max_size=24))
def test_token_soup_is_judged_as_python_judges_it(soup):
    assert is_json(soup.encode()) == reference(soup.encode())


@pytest.mark.parametrize(
    "bad",
    [
        b"", b" ", b"nul", b"nullx", b"01", b"-", b"1.", b".5", b"1e", b"+1", b"NaN", b"Infinity", b"'a'", b'"a', b'"\\x"',
        b'"\\u12g4"', b'"\t"', b'"\x7f\x1f"', b"[1,]", b"[,1]", b"{,}", b'{"a"}', b'{"a":}', b'{"a":1,}', b"{1:2}",
        b"[1 2]", b"[1]]", b"{}{}", b"[}", b"{]", b"\xef\xbb\xbf{}", b'"\xc0\x80"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"',
        b'"\xe2\x82"', b'"\x80"', b'"\xff"', b"/**/1", b"1 //", b"\x0b1", b'"abcdefg\x01hijklmnop"',
    ],
)  # fmt: skip
def test_refused(bad):
    assert not is_json(bad)


@pytest.mark.parametrize("good", [b"0", b"-0", b"1e5", b"1E+5", b"1.5e-7", b' \n\t\r"x" ', b"[]", b"{ }", b'"\\ud800"'])
def test_passed(good):
    assert is_json(good)


def test_depth_is_bounded():
    assert is_json(b"[" * DEPTH_MAX + b"]" * DEPTH_MAX)
    assert not is_json(b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1))
    assert not is_json(b"[" * 1_000_000)
    assert is_json(b'{"a":[' * 100 + b"]}" * 100)


def test_strings_at_every_offset():
    for pad in range(24):
        assert is_json(b'"' + b"a" * pad + b'\\n"')
        assert is_json(b'"' + b"a" * pad + 'é€😀"'.encode())
        assert not is_json(b'"' + b"a" * pad + b"\n" + b"b" * 16 + b'"')
        assert not is_json(b'"' + b"a" * pad + b"\xff" + b"b" * 16 + b'"')
