"""The unix socket that stands for a loopback address."""

from __future__ import annotations

import socket
import stat
from contextlib import closing
from pathlib import Path

import pytest

from constellation.base.address import Address
from constellation.base.sockets import listen_tcp, listen_unix
from constellation.rpc.near import listening_near, near_path


def _names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


@pytest.mark.parametrize(
    ("host", "reached_at"),
    [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "::1")],
)
def test_it_is_found_by_the_address_it_stands_for_and_by_no_other(tmp_path, host, reached_at):
    listener, address = listen_tcp(Address(host, 0))
    with listener, listening_near(tmp_path, listener) as near:
        path = near_path(tmp_path, Address(reached_at, address.port))
        assert path is not None
        assert near is not None
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            near.accept()[0].close()
        assert _names(tmp_path) == [path.name]
        for other in (Address(reached_at, address.port + 1), Address("127.0.0.2", address.port)):
            assert not (near_path(tmp_path, other) or tmp_path / "nothing").exists()
    assert _names(tmp_path) == []


@pytest.mark.parametrize("host", ["10.0.0.1", "", "comet.example", "::ffff:10.0.0.1"])
def test_an_address_of_another_machine_has_none(tmp_path, host):
    assert near_path(tmp_path, Address(host, 9090)) is None


def test_what_a_killed_process_left_is_replaced_and_what_lives_stays(tmp_path):
    first, at_first = listen_tcp(Address("127.0.0.1", 0))
    second, at_second = listen_tcp(Address("127.0.0.1", 0))
    own, moved = near_path(tmp_path, at_second), near_path(tmp_path, Address("127.0.0.1", 1))
    assert own is not None
    assert moved is not None
    with first, second, listening_near(tmp_path, first):
        for path in (own, moved, tmp_path / "comet.sock", tmp_path / "comet-grpc.sock"):
            listen_unix(path).close()
        with listening_near(tmp_path, second), closing(socket.socket(socket.AF_UNIX)) as client:
            client.connect(str(own))
            assert _names(tmp_path) == sorted(
                [own.name, f"comet-{at_first}.sock", "comet.sock", "comet-grpc.sock"]
            )  # the others are not ours to remove


def test_a_directory_too_deep_for_a_socket_has_none(tmp_path):
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    listener, address = listen_tcp(Address("127.0.0.1", 0))
    with listener, listening_near(deep, listener) as near:
        assert near is None
        assert near_path(deep, address) is None
        assert _names(deep) == []
