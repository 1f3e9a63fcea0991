"""The stream that a build's tree comes in: whoever sends it is hostile."""

from __future__ import annotations

import struct

import pytest

from constellation.comet.builds.unpack import TreeRefused, TreeWriter


def _entry(kind: bytes, path: bytes = b"", content: bytes = b"", *, size: int | None = None) -> bytes:
    return struct.pack(">cBHQ", kind, 0, len(path), len(content) if size is None else size) + path + content


WHOLE = _entry(b"d", b"a") + _entry(b"f", b"a/x", b"hello") + _entry(b"x", b"run") + _entry(b"e")


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_a_tree_may_come_in_any_pieces(tmp_path, step):
    writer = TreeWriter(tmp_path, most_bytes=5, most_entries=3)
    for at in range(0, len(WHOLE), step):
        assert not writer.is_complete
        writer.feed(WHOLE[at : at + step])
    assert writer.is_complete
    assert (tmp_path / "a/x").read_text() == "hello"
    assert {p.name: p.stat().st_mode & 0o777 for p in tmp_path.rglob("*")} == {"a": 0o755, "x": 0o644, "run": 0o755}


@pytest.mark.parametrize(
    "stream",
    [
        _entry(b"f", b"../x", b"1"),
        _entry(b"f", b"/etc/x", b"1"),
        _entry(b"f", b"a//x", b"1"),
        _entry(b"f", b"./x", b"1"),
        _entry(b"f", b"", b"1"),
        _entry(b"f", b"x\0y", b"1"),
        _entry(b"f", b"\xff", b"1"),
        _entry(b"f", b"y" * 256, b"1"),
        _entry(b"d", b"/".join([b"d"] * 65)),
        _entry(b"f", b"not/there", b"1"),
        _entry(b"f", b"x", b"1") + _entry(b"f", b"x", b"2"),
        _entry(b"f", b"x", b"1") + _entry(b"f", b"x/y", b"2"),
        _entry(b"d", b"x") + _entry(b"d", b"x"),
        _entry(b"l", b"x", b"/etc/passwd"),
        _entry(b"f", b"x", size=1 << 63),
        _entry(b"f", b"x", size=101),
        _entry(b"f", b"x", b"y" * 60) + _entry(b"f", b"z", b"y" * 60),
        b"".join(_entry(b"f", b"%d" % n) for n in range(11)),
        struct.pack(">cBHQ", b"f", 0, 1025, 0),
        _entry(b"e") + b"x",
    ],
)
def test_what_is_no_tree_is_refused_and_nothing_is_written_outside(tmp_path, stream):
    root = tmp_path / "root"
    root.mkdir()
    writer = TreeWriter(root, most_bytes=100, most_entries=10)
    with pytest.raises(TreeRefused):
        writer.feed(stream)
    writer.close()
    assert list(tmp_path.iterdir()) == [root]


def test_nothing_is_written_through_a_link_that_somebody_put_there(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    (root / "x").symlink_to(outside)
    with pytest.raises(TreeRefused):
        TreeWriter(root, most_bytes=100, most_entries=10).feed(_entry(b"f", b"x", b"1"))
    assert not outside.exists()
