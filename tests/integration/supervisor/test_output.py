from __future__ import annotations

from contextlib import closing

import pytest

from constellation.supervisor import output
from constellation.supervisor.output import Follower, PlaneLog, merged

KEY = "sk_" + "k" * 40


def test_lines_are_kept_whole_however_they_come(tmp_path):
    shown: list[bytes] = []
    with closing(PlaneLog(tmp_path / "logs" / "nova.log", plane="nova", show=shown.append)) as log:
        for chunk in (b"one\ntw", b"o\n", b"three"):
            log.write(chunk)
        assert log.path.read_text() == "one\ntwo\n"
        log.note("gone")
        assert log.path.read_text() == "one\ntwo\nthree\n[supervisor] gone\n"
        assert list(log.last) == ["one", "two", "three", "[supervisor] gone"]
    assert b"".join(shown).splitlines()[0] == b"nova   | one"


def test_a_key_is_shown_and_not_kept(tmp_path):
    shown: list[bytes] = []
    with closing(PlaneLog(tmp_path / "nova.log", plane="nova", show=shown.append)) as log:
        log.write(f"    {KEY}\n".encode())
        assert log.key == KEY
        assert KEY not in log.path.read_text()
        assert KEY not in "".join(log.last)
    assert KEY.encode() in shown[0]


def test_a_line_without_end_does_not_grow_for_ever(tmp_path):
    with closing(PlaneLog(tmp_path / "comet.log", plane="comet", show=None)) as log:
        for _ in range(64):
            log.write(b"x" * 4096)
        assert log.path.stat().st_size >= 15 * output.LINE_BYTES
        assert len(log._rest) <= output.LINE_BYTES


def test_files_are_bounded_and_the_newest_lines_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(output, "FILE_BYTES", 1000)
    with closing(PlaneLog(tmp_path / "comet.log", plane="comet", show=None)) as log:
        for n in range(1000):
            log.write(f"line {n:04}\n".encode())
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["comet.log", "comet.log.1", "comet.log.2", "comet.log.3"]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 4 * 1100
    lines = list(merged([("comet", log.path)]))
    assert lines[-1] == "comet  | line 0999"
    assert lines == sorted(lines)


def test_planes_are_merged_by_time(tmp_path):
    (tmp_path / "a.log").write_text("2026-01-01T00:00:01Z first\nTraceback\n2026-01-01T00:00:05Z last\n")
    (tmp_path / "b.log").write_text("\x1b[2m2026-01-01T00:00:03Z\x1b[0m middle\n")
    found = list(merged([("a", tmp_path / "a.log"), ("b", tmp_path / "b.log"), ("c", tmp_path / "none.log")]))
    assert [line.split()[-1] for line in found] == ["first", "Traceback", "middle", "last"]


@pytest.mark.parametrize("is_there", [True, False])
def test_a_follower_sees_what_is_appended_across_a_rotation(tmp_path, monkeypatch, is_there):
    path = tmp_path / "comet.log"
    if is_there:
        path.write_text("old\n")
    follower = Follower("comet", path)
    assert follower.lines() == []
    monkeypatch.setattr(output, "FILE_BYTES", 1000)
    with closing(PlaneLog(path, plane="comet", show=None)) as log:
        log.write(b"new\nha")
        assert follower.lines() == ["comet  | new"]
        log.write(b"lf\n")
        assert follower.lines() == ["comet  | half"]
        log.write(b"x" * 1200 + b"\n")
        log.write(b"after\n")
        assert follower.lines()[-1] == "comet  | after"
