"""The table of peers: what is compared with what, and what is named as missing."""

from __future__ import annotations

import csv
from pathlib import Path

import peer_servers
import peers
import pytest
from peer_servers import Missing

ROWS = [
    peers.Row(
        name=peers.OURS, kind="warm, 1 connection", base=peers.OURS, calls=9, rate=900.0, p50_ms=0.15, p99_ms=1.0
    ),
    peers.Row(
        name=peers.BARE,
        kind="warm, 1 connection",
        base=peers.OURS,
        calls=9,
        rate=1800.0,
        p50_ms=0.1,
        p99_ms=0.5,
        errors={"timeout": 2},
    ),
    peers.Row(name=peers.COLD, kind="cold", base=peers.COLD, calls=5, p50_ms=4.0, p99_ms=8.0),
    peers.Row(name="bwrap python3", kind="cold", base=peers.COLD, calls=5, p50_ms=16.0, p99_ms=20.0),
]


def test_each_peer_has_our_figures_over_its_own(capsys):
    peers._print(ROWS)
    lines = capsys.readouterr().out.splitlines()
    bare, bwrap = (next(line for line in lines if line.startswith(name)) for name in (peers.BARE, "bwrap"))
    assert bare.split()[-4:] == ["x", "0.50", "x", "1.50"]
    assert bwrap.split()[-2:] == ["x", "0.25"]
    assert any("2 x timeout" in line for line in lines)
    assert lines[-1].endswith("50 us")


def test_the_csv_names_what_is_missing(tmp_path: Path):
    for _ in range(2):
        peers._write(tmp_path / "peers.csv", ROWS, {"docker run": "there is no docker"})
    with (tmp_path / "peers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * (len(ROWS) + 1)
    assert (rows[1]["rate"], rows[1]["errors"], rows[2]["rate"]) == ("1800.000", "2", "")
    assert (rows[4]["name"], rows[4]["missing"]) == ("docker run", "there is no docker")


def test_a_server_that_does_not_start_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(peer_servers, "HOME", tmp_path)
    with (
        pytest.raises(Missing, match="no such thing"),
        peer_servers._listening(["sh", "-c", "echo no such thing; exit 3"]),
    ):
        pytest.fail("it did not listen")


def test_a_program_that_is_not_there_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Missing, match="no bwrap"):
        peer_servers.bwrap_command()
    with pytest.raises(Missing, match="no docker"):
        peer_servers.docker_command("x")
    with pytest.raises(Missing, match="can not be installed"):
        peer_servers._install([str(tmp_path / "absent")])
