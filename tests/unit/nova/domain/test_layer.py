from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.base.errors import InvalidRequest, PayloadTooLarge
from constellation.nova.domain import layer as rules
from constellation.nova.domain.layer import Layer, check_files, check_uses, overlaid, read_reference
from constellation.nova.domain.layer_pin import LayerPin


def layer(name: str = "one", **changes: object) -> Layer:
    facts: dict[str, object] = {
        "tenant": "default", "name": name, "version": 1, "hash": "0" * 64, "description": "", "runtimes": (),
        "size_bytes": 1, "files_count": 1, "created_at": datetime.now(UTC),
    }  # fmt: skip
    return Layer(**facts | changes)


def test_a_reference_is_a_name_with_or_without_a_version() -> None:
    assert read_reference("one") == ("one", None)
    assert read_reference("a-b_c:12") == ("a-b_c", 12)
    for text in ("", "one:", "one:0", "one:01", "one:x", "../one", "one:1:2", "one@1", "one\n"):
        with pytest.raises(InvalidRequest):
            read_reference(text)


def test_a_pin_is_read_as_it_is_written() -> None:
    pin = LayerPin(name="one", version=3, hash="ab" * 32)
    assert LayerPin.parse(str(pin)) == pin
    assert pin.shown == "one:3"


@pytest.mark.parametrize(
    ("layers", "runtime", "backend", "reason"),
    [
        ([layer(str(n)) for n in range(7)], "python", "auto", "more than 6"),
        ([layer(), layer()], "python", "auto", "twice"),
        ([layer(runtimes=("node",))], "python", "auto", "for node, not for python"),
        ([layer(size_bytes=200 << 20), layer("two", size_bytes=100 << 20)], "python", "auto", "256 MiB"),
        ([layer()], "wasm", "auto", "wasm can not show layers"),
        ([layer()], "image", "docker", "image can not show layers"),
        ([layer()], "python", "wasm", "wasm can not show layers"),
    ],
)
def test_what_a_function_may_not_use(layers: list[Layer], runtime: str, backend: str, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        check_uses(layers, runtime=runtime, backend=backend)


def test_what_a_function_may_use() -> None:
    check_uses([layer(runtimes=("python", "node")), layer("two")], runtime="python", backend="docker")
    check_uses([], runtime="wasm", backend="wasm")


def test_files_of_a_layer_are_bounded_and_stay_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    check_files({"python/a/b.py": b"", "bin/x": b"1"})
    for bad in ({}, {"../x": b""}, {"/x": b""}, {"a//b": b""}, {"a": b"", "a/b": b""}, {"a\\b": b""}):
        with pytest.raises(InvalidRequest):
            check_files(bad)
    monkeypatch.setattr(rules, "MAX_LAYER_FILES", 2)
    with pytest.raises(InvalidRequest, match="more than 2"):
        check_files({"a": b"", "b": b"", "c": b""})
    monkeypatch.setattr(rules, "MAX_LAYER_BYTES", 3)
    with pytest.raises(PayloadTooLarge):
        check_files({"a": b"12", "b": b"34"})


def test_later_layers_lie_over_earlier_ones() -> None:
    assert overlaid([["a", "d/x"], ["a", "b"]]) == {"a": 1, "d/x": 0, "b": 1}
    assert overlaid([["d/x", "d/y/z", "k"], ["d"]]) == {"k": 0, "d": 1}  # a file hides a directory
    assert overlaid([["d"], ["d/x"]]) == {"d/x": 1}  # and a directory a file
    assert overlaid([["d/x"], ["d"], ["d/y"]]) == {"d/y": 2}
    assert overlaid([["d/x", "d-e"], ["d"]]) == {"d-e": 0, "d": 1}


_PATHS = st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join), max_size=5, unique=True)


def _can_be(paths: list[str]) -> bool:
    return not any(other.startswith(f"{path}/") for path in paths for other in paths)


@given(st.lists(_PATHS.filter(_can_be), max_size=4))
def test_what_is_shown_can_always_be_files(layers: list[list[str]]) -> None:
    shown = overlaid(layers)
    assert _can_be(list(shown))
    for path in layers[-1] if layers else ():
        assert shown[path] == len(layers) - 1
