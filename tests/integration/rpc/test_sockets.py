"""Listeners of several processes that start at the same instant."""

from __future__ import annotations

import multiprocessing
import socket
import stat
from multiprocessing.synchronize import Barrier
from pathlib import Path

from constellation.base.sockets import listen_unix

ROUNDS = 400


def _listen_again_and_again(path: Path, together: Barrier) -> None:
    for _ in range(ROUNDS):
        together.wait(30)
        listen_unix(path).close()


def test_processes_that_listen_on_one_path_at_once_all_succeed(tmp_path: Path) -> None:
    path = tmp_path / "plane.sock"
    spawn = multiprocessing.get_context("spawn")
    together = spawn.Barrier(2)
    processes = [spawn.Process(target=_listen_again_and_again, args=(path, together)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    with listen_unix(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    assert [entry.name for entry in tmp_path.iterdir()] == ["plane.sock"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
