"""Trees into packs and back: equal ones meet, and nothing leaves its directory."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
from hashlib import sha256
from pathlib import Path

import pytest

from constellation.comet.builds import tree
from constellation.comet.builds.contract import BuildFailed
from constellation.comet.builds.tree import Packed, TreeRefused, pack, unpack


@pytest.fixture
def built(tmp_path) -> Path:
    root = tmp_path / "built"
    (root / "lib" / "deep").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "main.py").write_bytes(b"x = 1\n")
    (root / "run").write_bytes(b"#!/bin/sh\n")
    (root / "run").chmod(0o4711)
    (root / "lib" / "deep" / "data").write_bytes(bytes(range(256)) * 5000)
    (root / os.fsdecode(b"not-\xff-text")).write_bytes(b"")
    (root / "alias").symlink_to("lib/deep/data")
    (root / "lib" / "up").symlink_to("../main.py")
    (root / "dangling").symlink_to("lib/nothing")
    return root


def opened(packed: Packed, tmp_path: Path, *, digest: str | None = None) -> Path:
    into = tmp_path / "opened"
    into.mkdir()
    unpack(packed.path, into, digest=digest or packed.hash)
    return into


def test_a_tree_comes_back_as_it_was_without_what_is_the_hosts(built, tmp_path):
    mask = os.umask(0o077)
    try:
        into = opened(pack(built, tmp_path / "p"), tmp_path)
    finally:
        os.umask(mask)
    names = {os.fsencode(path.relative_to(built)) for path in built.rglob("*")}
    assert {os.fsencode(path.relative_to(into)) for path in into.rglob("*")} == names
    assert (into / "alias").read_bytes() == (built / "lib" / "deep" / "data").read_bytes()
    assert str((into / "lib" / "up").readlink()) == "../main.py"
    modes = {name: stat.S_IMODE((into / name).stat().st_mode) for name in ("main.py", "run", "lib", "empty")}
    assert modes == {"main.py": 0o644, "run": 0o755, "lib": 0o755, "empty": 0o755}


def test_equal_trees_meet_and_others_do_not(built, tmp_path):
    first = pack(built, tmp_path / "1")
    os.utime(built / "main.py", (1, 1))
    (built / "lib").chmod(0o700)
    again = pack(built, tmp_path / "2")
    assert first.hash == again.hash
    assert first.path.read_bytes() == again.path.read_bytes()
    (built / "main.py").write_bytes(b"x = 2\n")
    assert pack(built, tmp_path / "3").hash != first.hash


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "lib/../../outside", "../built/main.py"])
def test_links_that_lead_out_are_refused_when_they_are_packed(built, tmp_path, target):
    (built / "bad").symlink_to(target)
    with pytest.raises(BuildFailed, match="leads out"):
        pack(built, tmp_path / "p")


def test_links_through_links_are_followed_to_their_end(built, tmp_path):
    (built / "lib" / "root").symlink_to("..")  # of the tree: allowed
    (built / "bad").symlink_to("lib/root/../outside")  # reads as lib/outside, and is outside
    with pytest.raises(BuildFailed, match="'bad'"):
        pack(built, tmp_path / "p")


def test_bounds_are_kept(built, tmp_path, monkeypatch):
    monkeypatch.setattr(tree, "MAX_ENTRIES", 5)
    with pytest.raises(BuildFailed, match="more than 5 files"):
        pack(built, tmp_path / "p")
    monkeypatch.setattr(tree, "MAX_ENTRIES", 100)
    monkeypatch.setattr(tree, "MAX_PACKED_BYTES", 100)
    with pytest.raises(BuildFailed, match="packs to more"):
        pack(built, tmp_path / "p")
    monkeypatch.setattr(tree, "MAX_TREE_BYTES", 1000)
    with pytest.raises(BuildFailed, match="has more than"):
        pack(built, tmp_path / "p")


def forged(tmp_path: Path, *members: tarfile.TarInfo, content: bytes = b"") -> Packed:
    """A pack that `pack` would never make, with the hash that it really has."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(content))
    path = tmp_path / "forged"
    path.write_bytes(gzip.compress(data.getvalue()))
    return Packed(path=path, hash=sha256(data.getvalue()).hexdigest(), size_bytes=path.stat().st_size)


def member(name: str, type_: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = type_, link, size
    return info


@pytest.mark.parametrize(
    "members",
    [
        [member("../out")],
        [member("/out")],
        [member("a/../../out")],
        [member("."), member("./..")],
        [member("out", tarfile.SYMTYPE, "/etc/passwd")],
        [member("out", tarfile.SYMTYPE, "..")],
        [
            member("d", tarfile.DIRTYPE),
            member("d/up", tarfile.SYMTYPE, ".."),
            member("o", tarfile.SYMTYPE, "d/up/../x"),
        ],
        [member("link", tarfile.SYMTYPE, "."), member("link/file")],
        [member("link", tarfile.SYMTYPE, "/tmp"), member("link")],
        [member("hard", tarfile.LNKTYPE, "/etc/passwd")],
        [member("null", tarfile.CHRTYPE)],
        [member("disk", tarfile.BLKTYPE)],
        [member("pipe", tarfile.FIFOTYPE)],
        [member("twice"), member("twice")],
        [member("file"), member("file/below")],
    ],
)
def test_forged_packs_are_refused_and_write_nothing_outside(tmp_path, members):
    home = tmp_path / "home"
    home.mkdir()
    with pytest.raises(TreeRefused):
        opened(forged(tmp_path, *members), home)
    assert {path.name for path in tmp_path.iterdir()} == {"home", "forged"}
    assert {path.name for path in home.iterdir()} == {"opened"}


def test_a_pack_must_have_its_hash_and_its_end(built, tmp_path):
    packed = pack(built, tmp_path / "p")
    with pytest.raises(TreeRefused, match="hash"):
        opened(packed, tmp_path, digest="0" * 64)
    whole = packed.path.read_bytes()
    for cut in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        packed.path.write_bytes(whole[:cut])
        (tmp_path / f"cut{cut}").mkdir()
        with pytest.raises(TreeRefused):
            unpack(packed.path, tmp_path / f"cut{cut}", digest=packed.hash)


def test_a_bomb_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(tree, "_TAR_LIMIT_BYTES", 1 << 20)
    bomb = forged(tmp_path, member("zeros", size=8 << 20), content=bytes(8 << 20))
    assert bomb.size_bytes < 100_000
    with pytest.raises(TreeRefused, match="more than"):
        opened(bomb, tmp_path)
