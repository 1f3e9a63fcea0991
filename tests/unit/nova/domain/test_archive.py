from __future__ import annotations

import gzip
import io
import random
import tarfile
import zipfile

import pytest

from constellation.base.errors import InvalidRequest, PayloadTooLarge
from constellation.nova.domain import archive
from constellation.nova.domain.archive import unpack
from constellation.nova.domain.function import MAX_CODE_BYTES, MAX_CODE_FILES

FILES = {"main.py": b"def handler(e, c): pass\n", "lib/a.txt": bytes(range(256)), "empty": b""}


def zipped(files: dict[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for path, content in files.items():
            made.writestr(path, content)
    return out.getvalue()


def tarred(files: dict[str, bytes], *, special: tarfile.TarInfo | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
        if special is not None:
            made.addfile(special)
    return out.getvalue()


def link(kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo("link")
    member.type, member.linkname = kind, "/etc/passwd"
    return member


@pytest.mark.parametrize(
    "data",
    [zipped(FILES), zipped(FILES, method=zipfile.ZIP_STORED), tarred(FILES), gzip.compress(tarred(FILES))],
    ids=["zip", "stored", "tar", "tar.gz"],
)
def test_files_come_out_as_they_went_in(data: bytes) -> None:
    assert unpack(data) == FILES


def test_what_file_managers_leave_is_skipped_and_directories_are_none() -> None:
    more = {"__MACOSX/._main.py": b"x", "lib/.DS_Store": b"x", "lib/": b"", "./other.py": b"y"}
    assert unpack(zipped({**FILES, **more})) == {**FILES, "other.py": b"y"}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "neither"),
        (b"import os\n" * 100, "neither"),
        (zipped({}), "no file"),
        (zipped(FILES)[:-10], "can not be read"),
        (zipped(FILES)[:40], "can not be read"),
        (gzip.compress(tarred(FILES))[:-20], "can not be read"),
        (gzip.compress(b"no tar at all" * 100), "can not be read"),
        (zipped(FILES, method=zipfile.ZIP_LZMA), "not understood"),
        (tarred(FILES, special=link(tarfile.SYMTYPE)), "no plain file"),
        (tarred(FILES, special=link(tarfile.LNKTYPE)), "no plain file"),
        (tarred(FILES, special=link(tarfile.CHRTYPE)), "no plain file"),
        (zipped({f"f{n}": b"" for n in range(MAX_CODE_FILES + 1)}), "more than 1000 files"),
        (tarred({f"f{n}": b"" for n in range(MAX_CODE_FILES + 1)}), "more than 1000 files"),
        (zipped({f"d{n}/": b"" for n in range(4 * MAX_CODE_FILES + 1)}), "more than 1000 files"),
        (tarred({**FILES, "./main.py": b"again"}), "twice"),
        (zipped({"bomb": b"\0" * (5 << 20)}), "200 times"),
        (gzip.compress(tarred({"bomb": b"\0" * (5 << 20)})), "200 times"),
    ],
)
def test_what_is_wrong_is_refused_and_said(data: bytes, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as refused:
        unpack(data)
    assert refused.value.problem()["field"] == "archive"


def test_symbolic_links_in_zips_are_refused() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        member = zipfile.ZipInfo("link")
        member.create_system, member.external_attr = 3, 0o120777 << 16
        made.writestr(member, "/etc/passwd")
    with pytest.raises(InvalidRequest, match="no plain file"):
        unpack(out.getvalue())


@pytest.mark.parametrize(
    "pack", [zipped, tarred, lambda files: gzip.compress(tarred(files), 1)], ids=["zip", "tar", "tar.gz"]
)
def test_more_than_a_function_may_be_is_never_unpacked(pack) -> None:
    half = random.Random(0).randbytes(MAX_CODE_BYTES // 64) * 32
    assert len(unpack(tarred({"a": half, "b": half}))) == 2
    with pytest.raises(PayloadTooLarge):
        unpack(pack({"a": half, "b": half, "c": b"x"}))


def test_a_bomb_costs_no_more_than_its_bound(monkeypatch) -> None:
    monkeypatch.setattr(archive, "_MAX_TAR_BYTES", 1 << 20)
    with pytest.raises(PayloadTooLarge):
        unpack(gzip.compress(b"\0" * (64 << 20)))


def test_a_size_that_the_directory_lies_about_is_not_believed() -> None:
    data = zipped({"a": b"x" * 100}, method=zipfile.ZIP_STORED)
    lied = data.replace((100).to_bytes(4, "little"), (5).to_bytes(4, "little"))
    with pytest.raises(InvalidRequest, match="can not be read"):
        unpack(lied)
