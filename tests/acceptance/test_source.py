"""What is written about functions and what their code is made of, through `orbit` and a whole platform."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import httpx
import pytest

from constellation.testing.orbit import OrbitRig
from tests.acceptance.conftest import Platform

CODE = "def handler(event, context): return 'first'\n"
FILES = {
    "main.py": b"from lib.words import WORD\ndef handler(event, context): return WORD\n",
    "lib/words.py": b"WORD = 'second'\n",
}


@pytest.fixture
def orbit(platform: Platform, tmp_path: Path) -> OrbitRig:
    return OrbitRig(home=tmp_path, platform=None, env={"ZENITH_URL": platform.url})


def packed(path: Path, files: dict[str, bytes]) -> Path:
    """Write an archive of the kind that the name says."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            facts = tarfile.TarInfo(name)
            facts.size = len(content)
            archive.addfile(facts, io.BytesIO(content))
    return path


def test_docs_are_written_shared_and_forgotten(platform: Platform, orbit: OrbitRig, tmp_path: Path) -> None:
    platform.deploy("written", CODE)
    missing = orbit.run("docs", "show", "written")
    assert missing.code != 0
    page = tmp_path / "written.md"
    page.write_text("# Zebra\nIt answers.\n")
    assert orbit.run("docs", "set", "written", page).code == 0
    assert orbit.run("docs", "show", "written").out.strip() == page.read_text().strip()
    assert orbit.run("docs", "set", "written", "-", stdin="# Zebra\nIt answers twice.\n").code == 0
    found = platform.eventually(lambda: orbit.run("list", "zebra", "-o", "json").json)
    assert [each["name"] for each in found] == ["written"]

    shared = orbit.run("docs", "share", "written", "--title", "for readers", "--days", "1", "-o", "json")
    assert shared.code == 0, shared.err
    anybody = {"X-Forwarded-For": "203.0.113.9"}  # so that the address is trusted with nothing
    read = httpx.get(platform.url + shared.json["path"], headers=anybody, trust_env=False)
    assert read.status_code == 200
    assert "answers twice" in read.text
    (listed,) = orbit.run("docs", "shares", "written", "-o", "json").json
    assert (listed["id"], listed["title"]) == (shared.json["id"], "for readers")
    assert orbit.run("docs", "unshare", "written", listed["id"]).code == 0
    assert httpx.get(platform.url + shared.json["path"], headers=anybody, trust_env=False).status_code == 404
    assert orbit.run("docs", "delete", "written").code == 0
    assert orbit.run("docs", "show", "written").code != 0


@pytest.mark.parametrize("name", ["code.zip", "code.tar.gz"])
def test_an_uploaded_archive_is_what_runs(platform: Platform, orbit: OrbitRig, tmp_path: Path, name: str) -> None:
    function = f"uploaded-{name.rpartition('.')[2]}"
    made = platform.deploy(function, CODE)
    uploaded = orbit.run("upload", function, packed(tmp_path / name, FILES), "-o", "json")
    assert uploaded.code == 0, uploaded.err
    assert uploaded.json["code_version"] == made["code_version"] + 1
    files = orbit.run("files", function, "-o", "json").json
    assert {each["path"]: each["size_bytes"] for each in files} == {path: len(text) for path, text in FILES.items()}
    assert "lib/words.py" in orbit.run("files", function).out
    platform.eventually(lambda: platform.output(function, {}) == "second")


def test_an_archive_that_is_none_or_leads_out_changes_nothing(
    platform: Platform, orbit: OrbitRig, tmp_path: Path
) -> None:
    before = platform.deploy("kept", CODE)
    (tmp_path / "junk.zip").write_bytes(b"no archive")
    for archive in (
        tmp_path / "absent.zip",
        tmp_path / "junk.zip",
        packed(tmp_path / "out.tar.gz", {"../main.py": b"1"}),
        packed(tmp_path / "other.zip", {"other.py": b"1"}),  # no handler in it
    ):
        refused = orbit.run("upload", "kept", archive)
        assert refused.code != 0, archive
        assert refused.err, archive
    assert platform.http.get("/functions/kept").json()["code_hash"] == before["code_hash"]
