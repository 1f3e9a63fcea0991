from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import closing

import pytest

from constellation.base.address import Address
from constellation.base.errors import InvalidRequest
from constellation.base.sockets import listen_tcp
from constellation.nova.config.load import ConfigInvalid, load
from constellation.supervisor.errors import AddressTaken
from constellation.supervisor.ports import Reservations, choose


@pytest.fixture
def reservations():
    with closing(Reservations()) as held:
        yield held


def chosen(reservations, listen=(), *, is_default_place=False, file=None):
    return choose(
        load(file=file, env={}), listen=list(listen), is_default_place=is_default_place, reservations=reservations
    )


def test_other_places_take_free_ports(reservations):
    first = chosen(reservations, ["127.0.0.1:0"])
    second = chosen(reservations, ["127.0.0.1:0"])
    ports = [
        address.port for found in (first, second) for address in (found.nova, found.comet, found.aurora, *found.zenith)
    ]
    assert len(set(ports)) == 8
    assert first.nova.host == first.comet.host == first.aurora.host == "127.0.0.1"


def test_a_reserved_port_is_the_planes_and_nobody_elses(reservations):
    address = reservations.hold("nova", Address("127.0.0.1", 0))
    with socket.socket() as other, pytest.raises(OSError):
        other.bind(("127.0.0.1", address.port))  # without SO_REUSEADDR, as one that looks for a free port
    code = (
        "import sys; from constellation.base.sockets import listen_tcp; from constellation.base.address import Address;"
        "listen_tcp(Address('127.0.0.1', int(sys.argv[1])))"
    )
    for _ in range(2):  # the plane, and the plane again after a crash
        subprocess.run([sys.executable, "-c", code, str(address.port)], check=True, timeout=30)


def test_a_port_in_use_is_named_with_its_plane(reservations):
    sock, address = listen_tcp(Address("127.0.0.1", 0))
    with (
        sock,
        pytest.raises(AddressTaken, match=rf"zenith can not listen on 127\.0\.0\.1:{address.port}: the port is in use"),
    ):
        chosen(reservations, [str(address)])


def test_several_addresses_and_what_a_missing_host_means(reservations, tmp_path):
    found = chosen(reservations, ["127.0.0.1:0,[::1]:0", "127.0.0.2:0"])
    assert [address.host for address in found.zenith] == ["127.0.0.1", "::1", "127.0.0.2"]
    assert found.is_loopback_only
    assert not chosen(reservations, [":0"]).is_loopback_only  # a flag opens the door
    file = tmp_path / "nova.json"
    file.write_text('{"zenith": {"listen": ":0"}}')
    assert chosen(reservations, file=file).is_loopback_only  # the configured default does not


def test_what_is_no_address_is_refused(reservations):
    for listen in (["9000"], ["localhost:port"], ["::1:9000"]):
        with pytest.raises(InvalidRequest):
            chosen(reservations, listen)
    with pytest.raises(ConfigInvalid):
        chosen(reservations, [","])
    with pytest.raises(AddressTaken, match="zenith"):
        chosen(reservations, ["203.0.113.7:9000"])


def test_the_default_place_takes_the_configured_ports(reservations, tmp_path):
    sockets = [listen_tcp(Address("127.0.0.1", 0)) for _ in range(3)]
    ports = [address.port for _, address in sockets]
    for sock, _ in sockets:
        sock.close()
    file = tmp_path / "nova.json"
    file.write_text(
        f'{{"nova": {{"http": ":{ports[0]}"}}, "comet": {{"grpc": ":{ports[1]}"}}, "aurora": {{"listen": ":{ports[2]}"}}}}'
    )
    found = chosen(reservations, ["127.0.0.1:0"], is_default_place=True, file=file)
    assert [found.nova, found.comet, found.aurora] == [Address("127.0.0.1", port) for port in ports]
