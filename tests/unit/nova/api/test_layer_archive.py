from __future__ import annotations

import base64
import io
import stat
import struct
import zipfile
from dataclasses import replace

import pytest
from msgspec import UNSET

from constellation.base.errors import InvalidRequest, PayloadTooLarge
from constellation.nova.api.controlplane import layer_archive
from constellation.nova.api.controlplane.layer_archive import files_of


def member(name: str, kind: int = stat.S_IFREG, mode: int = 0o644) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name)
    made.external_attr = (kind | mode) << 16
    return made


def packed(*members: tuple[zipfile.ZipInfo | str, bytes], method: int = zipfile.ZIP_DEFLATED) -> str:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content, method)
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
        (packed((member("python", stat.S_IFLNK), b"/etc")), "no plain file"),
        (packed((member("dev", stat.S_IFBLK), b"")), "no plain file"),
        (packed((member("dev", stat.S_IFCHR), b"")), "no plain file"),
        (packed((member("pipe", stat.S_IFIFO), b"")), "no plain file"),
        (packed(("../out", b"")), r"\.\."),
        (packed(("/etc/passwd", b"")), "relative"),
        (packed(("a", b""), ("a/b", b"")), "can not be a file and hold"),
        (packed(("zeros", bytes(30 << 20))), "200 times"),
        (packed(("a", b"x" * 9), method=zipfile.ZIP_LZMA), "not understood"),
        (packed(("a", b"x" * 9), method=zipfile.ZIP_BZIP2), "not understood"),
        (packed(), "at least one file"),
        (base64.b64encode(b"PK no archive").decode(), "can not be read"),
        ("%%%", "not base64"),
    ],
)
def test_a_hostile_archive_is_refused(archive: str, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        files_of(files=UNSET, archive=archive)


def test_an_encrypted_member_is_refused() -> None:
    raw = bytearray(base64.b64decode(packed(("a", b"x"))))
    raw[raw.index(b"PK\x03\x04") + 6] |= 1
    raw[raw.rindex(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(InvalidRequest, match="encrypted"):
        files_of(files=UNSET, archive=base64.b64encode(raw).decode())


def test_a_directory_of_too_many_entries_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_archive, "BOUNDS", replace(layer_archive.BOUNDS, max_files=5, max_members=10))
    monkeypatch.setattr(zipfile, "ZipFile", None)
    archive = base64.b64encode(b"PK\x01\x02" * 51).decode()
    with pytest.raises(InvalidRequest, match="more than 5 files"):
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
    monkeypatch.setattr(layer_archive, "BOUNDS", replace(layer_archive.BOUNDS, max_bytes=1 << 20))
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
