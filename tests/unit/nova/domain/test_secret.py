"""What secrets are called, hold, and how functions refer to them."""

from __future__ import annotations

import pytest

from constellation.base.errors import InvalidRequest
from constellation.nova.domain.deploy import check_sockets_and_files
from constellation.nova.domain.secret import (
    MAX_RESOLVED,
    MAX_VALUE_BYTES,
    check_references,
    check_secret_name,
    check_value,
    file_names,
    references,
    resolved,
)


def test_only_a_whole_value_is_a_reference():
    env = {"A": "$SECRET:db.password", "B": "x$SECRET:db", "C": "plain", "D": "$SECRET"}
    assert references(env) == {"A": "db.password"}
    assert resolved(env, {"db.password": "p"}) == {**env, "A": "p"}


def test_a_file_is_named_by_its_path_and_its_value_is_nowhere_in_the_variables():
    env = {"A": "$SECRET_FILE:tls.pem", "B": "$SECRET:tls.pem", "C": "$SECRET_FILES:x", "D": "$SECRET_FILE:key"}
    assert references(env) == {"A": "tls.pem", "B": "tls.pem", "D": "key"}
    assert file_names(env) == ["key", "tls.pem"]
    filled = resolved(env, {"tls.pem": "v", "key": "k"})
    assert filled == {"A": "/run/secrets/tls.pem", "B": "v", "C": "$SECRET_FILES:x", "D": "/run/secrets/key"}


@pytest.mark.parametrize(
    ("backend", "runtime"), [("docker", "python"), ("auto", "wasm"), ("wasm", "wasm"), ("auto", "image")]
)
def test_files_are_refused_where_there_can_be_none(backend, runtime):
    check_sockets_and_files({"A": "$SECRET:a"}, backend=backend, runtime=runtime)
    check_sockets_and_files({"A": "$SECRET_FILE:a"}, backend="auto", runtime="python")
    with pytest.raises(InvalidRequest, match="can not show secrets as files"):
        check_sockets_and_files({"A": "$SECRET_FILE:a"}, backend=backend, runtime=runtime)


def test_a_value_that_looks_like_a_reference_is_not_followed():
    assert resolved({"A": "$SECRET:a"}, {"a": "$SECRET:b", "b": "no"}) == {"A": "$SECRET:b"}


@pytest.mark.parametrize(
    "value",
    [
        "$SECRET:",
        "$SECRET: a",
        "$SECRET:a/b",
        "$SECRET:-a",
        "$SECRET:a b",
        "$SECRET:" + "a" * 65,
        "$SECRET_FILE:",
        "$SECRET_FILE:../x",
    ],
)
def test_a_reference_that_can_name_nothing_is_refused(value):
    with pytest.raises(InvalidRequest, match="env KEY"):
        check_references({"KEY": value})


def test_a_function_has_a_bounded_number_of_secrets():
    check_references({f"V{n}": f"$SECRET:s{n}" for n in range(MAX_RESOLVED)})
    with pytest.raises(InvalidRequest, match="more than"):
        check_references({f"V{n}": f"$SECRET:s{n}" for n in range(MAX_RESOLVED + 1)})


@pytest.mark.parametrize("name", ["", ".a", "-a", "a/b", "ä", "a" * 65])
def test_bad_names_are_refused(name):
    with pytest.raises(InvalidRequest):
        check_secret_name(name)


def test_values_are_bounded_text_and_never_repeated():
    assert check_value("ü" * (MAX_VALUE_BYTES // 2)) == "ü".encode() * (MAX_VALUE_BYTES // 2)
    for bad in ("", "ü" * (MAX_VALUE_BYTES // 2) + "x", "hidden\0", "hidden\ud800"):
        with pytest.raises(InvalidRequest) as caught:
            check_value(bad)
        assert "hidden" not in str(caught.value)
