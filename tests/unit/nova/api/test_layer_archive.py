from __future__ import annotations

import base64
import io
import stat
import struct
import zipfile

import pytest
from msgspec import UNSET

from constellation.base.errors import InvalidRequest, PayloadTooLarge
from constellation.nova.api.controlplane import layer_archive
from constellation.nova.api.controlplane.layer_archive import files_of


def member(name: str, kind: int = stat.S_IFREG, mode: int = 0o644) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name)
    made.external_attr = (kind | mode) << 16
    return made


def packed(*members: tuple[zipfile.ZipInfo | str, bytes]) -> str:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content, zipfile.ZIP_DEFLATED)
    return base64.b64encode(out.getvalue()).decode()


def test_an_archive_and_a_mapping_say_the_same() -> None:
    files = {"python/a.py": b"x = 1\n", "bin/t": b"#!/bin/sh\n"}
    mapping = {path: base64.b64encode(content).decode() for path, content in files.items()}
    assert files_of(files=mapping, archive=UNSET) == files
    archive = packed((member("python/", stat.S_IFDIR, 0o755), b""), *files.items())
    assert files_of(files=UNSET, archive=archive) == files


def test_a_mode_in_an_archive_is_not_believed() -> None:
    found = files_of(files=UNSET, archive=packed((member("bin/su", mode=0o6755), b"x")))
    assert found == {"bin/su": b"x"}  # what it becomes is said by its place alone


@pytest.mark.parametrize(
    ("archive", "reason"),
    [
        (packed((member("python", stat.S_IFLNK), b"/etc")), "a link"),
        (packed((member("dev", stat.S_IFBLK), b"")), "neither a file nor a directory"),
        (packed((member("dev", stat.S_IFCHR), b"")), "neither a file nor a directory"),
        (packed((member("pipe", stat.S_IFIFO), b"")), "neither a file nor a directory"),
        (packed(("../out", b"")), r"\.\."),
        (packed(("/etc/passwd", b"")), "relative"),
        (packed(("a", b""), ("a/b", b"")), "can not be a file and hold"),
        (packed(("zeros", bytes(30 << 20))), "times its size"),
        (packed(), "at least one file"),
        (base64.b64encode(b"PK no archive").decode(), "can not be unpacked"),
        ("%%%", "not base64"),
    ],
)
def test_a_hostile_archive_is_refused(archive: str, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        files_of(files=UNSET, archive=archive)


def test_a_name_that_comes_twice_is_refused() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a", b"2")
    with pytest.raises(InvalidRequest, match="twice"):
        files_of(files=UNSET, archive=base64.b64encode(out.getvalue()).decode())


def test_what_an_archive_says_of_its_sizes_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_archive, "MAX_LAYER_BYTES", 1 << 20)
    raw = bytearray(base64.b64decode(packed(("zeros", bytes(2 << 20)))))
    with pytest.raises(PayloadTooLarge):
        files_of(files=UNSET, archive=base64.b64encode(raw).decode())
    at = raw.rindex(b"PK\x01\x02") + 24  # the size in the directory of the archive
    raw[at : at + 4] = struct.pack("<I", 10)
    with pytest.raises((InvalidRequest, PayloadTooLarge)):
        files_of(files=UNSET, archive=base64.b64encode(raw).decode())


def test_exactly_one_of_both_is_wanted() -> None:
    for given in ({"files": UNSET, "archive": UNSET}, {"files": {"a": ""}, "archive": packed(("a", b""))}):
        with pytest.raises(InvalidRequest, match="exactly one"):
            files_of(**given)
