from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.base.errors import InvalidRequest
from constellation.nova.domain.host import check_host, cover_of, function_domain_in, host_in


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("shop.example.org", "shop.example.org"),
        (" Shop.Example.ORG. ", "shop.example.org"),
        ("*.example.org", "*.example.org"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("1.2.3.org", "1.2.3.org"),
    ],
)
def test_a_host_has_one_form(text: str, host: str) -> None:
    assert check_host(text) == host


@pytest.mark.parametrize(
    "text",
    [
        "", "localhost", "zenith", "*", "*.org", "*.*.example.org", "a.*.org", "127.0.0.1", "10.1", "[::1]", "a..org", "-a.org",
        "a-.org", "a.org:80", "http://a.org", "a_b.org", "b\u00fccher.example", "a." * 127 + "org", "a" * 64 + ".org",
        "app.localhost", "nova.internal", "printer.local", "a.org/x",
    ],
)  # fmt: skip
def test_what_is_no_public_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_host(text)
    assert caught.value.field == "host"


@pytest.mark.parametrize("host", ["api.example.org", "*.example.org", "x.platform.example"])
def test_names_of_the_platform_are_nobodys(host: str) -> None:
    with pytest.raises(InvalidRequest, match="own"):
        check_host(host, own=["api.example.org", "*.platform.example"])
    assert check_host("y.example.org", own=["api.example.org"]) == "y.example.org"


@pytest.mark.parametrize(
    "host", ["fn.example.org", "acme.fn.example.org", "*.fn.example.org", "a.b.fn.example.org", "*.example.org"]
)
def test_hosts_of_functions_are_nobodys_to_claim(host: str) -> None:
    with pytest.raises(InvalidRequest, match="without claiming it"):
        check_host(host, functions="fn.example.org")
    assert check_host(host) == host


@pytest.mark.parametrize("host", ["example.org", "xfn.example.org", "fn.example.org.uk", "*.shop.example.org"])
def test_hosts_beside_those_of_functions_can_be_claimed(host: str) -> None:
    assert check_host(host, functions="fn.example.org") == host


@pytest.mark.parametrize("setting", ["fn.example.org", " FN.Example.org. ", ".fn.example.org"])
def test_the_domain_of_functions_has_one_form(setting: str) -> None:
    assert function_domain_in(setting) == "fn.example.org"


@given(
    st.from_regex(r"[a-z0-9]{1,10}(\.[a-z0-9]{1,10}){1,4}\.org", fullmatch=True),
    st.sampled_from(["", ":8080", ".", ".:1"]),
)
def test_a_header_names_its_host_however_it_is_written(host: str, behind: str) -> None:
    assert host_in((host.upper() + behind).encode()) == host
    assert cover_of(host) == "*." + host.partition(".")[2]
    assert cover_of(cover_of(host)) == cover_of(host)


@given(st.binary(max_size=300))
def test_any_header_is_read(header: bytes) -> None:
    host = host_in(header)
    assert ":" not in host
    assert cover_of(host) == "" or cover_of(host).startswith("*.")
