"""TLS of the C core against Python's: each role, both versions, partial and large transfers, and every kind of end."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from constellation.native import _core
from constellation.native.errors import InputMalformed, ValueOutOfRange
from constellation.native.tls import ClientSide, Identity, Part, Protocol, ServerSide, Tls, TlsUnusable, validity
from tests.certificates import Authority

NATIVE = Path(__file__).parents[2] / "native"
lib = _core.lib
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
pytestmark = pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])


@pytest.fixture(scope="module")
def program():
    subprocess.run(["make", "-s", "-C", NATIVE, "build/tests/tls_end"], check=True, timeout=120, capture_output=True)
    return NATIVE / "build" / "tests" / "tls_end"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def comet(authority):
    return authority.issue("comet", "DNS:comet.internal", "IP:127.0.0.1")


@pytest.fixture(scope="module")
def plane(authority):
    return authority.issue("plane")


@dataclass
class End:
    """What the C end said: how the connection ended, the agreed protocol, the name asked for, the reason of a failure."""

    outcome: int
    alpn: str
    name: str
    reason: str


class Peer:
    """Our end of the socket, and the C end's last words."""

    def __init__(self, sock, process):
        self.sock, self._process = sock, process

    def end(self):
        out, error = self._process.communicate(timeout=60)
        assert self._process.returncode == 0, error
        outcome, *words = out.strip().split("|")
        return End(int(outcome), *words)


@contextmanager
def c_end(program, role, *, protocol="h2", identity=None, authorities=None, name="-"):
    """Run the C end on one of two sockets, and lend the other."""
    ours, theirs = socket.socketpair()
    ours.settimeout(60)
    pair = [identity.cert, identity.key] if identity else ["-", "-"]
    with ours, theirs:
        process = subprocess.Popen(
            [program, role, protocol, str(theirs.fileno()), *pair, authorities or "-", name],
            pass_fds=[theirs.fileno()], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        theirs.setblocking(False)
        theirs.close()
        try:
            yield Peer(ours, process)
        finally:
            process.kill()
            process.communicate()


def client_context(authority, version, *, alpn=("h2",)):
    context = ssl.create_default_context(cafile=authority.cert)
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(list(alpn))
    return context


def server_context(identity, version, *, client_ca=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = version
    context.load_cert_chain(identity.cert, identity.key)
    context.set_alpn_protocols(["h2"])
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def talk(secured, size, *, piece_bytes):
    """Send `size` bytes by pieces, and demand each back before the next."""
    for begin in range(0, size, piece_bytes):
        piece = bytes(begin + i & 0xFF for i in range(min(piece_bytes, size - begin)))
        secured.sendall(piece)
        got = b""
        while len(got) < len(piece):
            more = secured.recv(len(piece) - len(got))
            assert more
            got += more
        assert got == piece


@pytest.mark.parametrize("size", [1, 16_384, 16_385, 5_000_000])
def test_a_c_server_serves_a_python_client(program, authority, comet, version, size):
    with c_end(program, "server", identity=comet) as peer:
        context = client_context(authority, version)
        with context.wrap_socket(peer.sock, server_hostname="comet.internal") as secured:
            assert secured.selected_alpn_protocol() == "h2"
            talk(secured, size, piece_bytes=60_000)
            secured.unwrap()  # close_notify both ways
        assert peer.end() == End(0, "h2", "comet.internal", "")


@pytest.mark.parametrize("size", [1, 5_000_000])
def test_a_c_client_calls_a_python_server_with_its_certificate(program, authority, comet, plane, version, size):
    with c_end(program, "client", identity=plane, authorities=authority.cert, name="comet.internal") as peer:
        context = server_context(comet, version, client_ca=authority.cert)
        with context.wrap_socket(peer.sock, server_side=True) as secured:
            subject = dict(pair[0] for pair in secured.getpeercert()["subject"])
            assert subject["commonName"] == "plane"
            talk(secured, size, piece_bytes=100_000)
            secured.unwrap()
        assert peer.end().outcome == 0


def test_much_is_sent_before_anything_is_read(program, authority, comet, version):
    """The C end must stop reading while its answers are not taken, and go on when they are."""
    with c_end(program, "server", identity=comet) as peer:
        peer.sock.setblocking(False)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = client_context(authority, version).wrap_bio(incoming, outgoing, server_hostname="comet.internal")
        peer.sock.settimeout(60)
        while True:
            try:
                session.do_handshake()
                break
            except ssl.SSLWantReadError:
                peer.sock.sendall(outgoing.read())
                incoming.write(peer.sock.recv(65_536))
        total = 4_000_000
        for _ in range(total // 10_000):
            session.write(b"z" * 10_000)
        sender = threading.Thread(target=peer.sock.sendall, args=(outgoing.read(),))
        sender.start()
        sender.join(0.5)
        assert sender.is_alive()  # back-pressure: it does not swallow what nobody takes from it
        got = 0
        while got < total:
            try:
                got += len(session.read(65_536))
            except ssl.SSLWantReadError:
                incoming.write(peer.sock.recv(65_536))
        sender.join(60)
        assert got == total


def test_a_ticket_of_another_end_means_a_whole_handshake(program, authority, comet, version):
    context = client_context(authority, version)
    session = None
    for _ in range(2):
        with c_end(program, "server", identity=comet) as peer:
            with context.wrap_socket(peer.sock, server_hostname="comet.internal", session=session) as secured:
                secured.sendall(b"x")
                assert secured.recv(1) == b"x"
                assert not secured.session_reused
                session = secured.session
                assert session.has_ticket
                secured.unwrap()
            assert peer.end().outcome == 0


def test_an_end_without_close_notify_is_told(program, authority, comet, version):
    context = client_context(authority, version)
    with (
        c_end(program, "server", identity=comet) as peer,
        context.wrap_socket(peer.sock, server_hostname="comet.internal") as secured,
    ):
        secured.sendall(b"x")
        assert secured.recv(1) == b"x"
        with socket.socket(fileno=os.dup(secured.fileno())) as bare:
            bare.shutdown(socket.SHUT_WR)  # past TLS
        assert peer.end().outcome == lib.CT_E_TLS_CUT


def test_a_client_without_a_certificate_is_refused(program, authority, comet, version):
    with c_end(program, "server", identity=comet, authorities=authority.cert) as peer:
        with (
            pytest.raises((ssl.SSLError, ConnectionError)),
            client_context(authority, version).wrap_socket(peer.sock, server_hostname="comet.internal") as secured,
        ):
            secured.recv(1)
        assert peer.end().outcome == lib.CT_E_CERT_MISSING


@pytest.mark.parametrize(
    ("name", "days", "is_known", "outcome"),
    [
        ("comet.internal", 1, True, None),
        ("127.0.0.1", 1, True, None),
        ("comet.elsewhere", 1, True, "CT_E_CERT_NAME"),
        ("10.1.1.1", 1, True, "CT_E_CERT_NAME"),
        ("comet.internal", -1, True, "CT_E_CERT_EXPIRED"),
        ("comet.internal", 1, False, "CT_E_CERT_UNKNOWN"),
    ],
)
def test_a_server_must_be_who_it_should_be(program, authority, tmp_path, version, name, days, is_known, outcome):
    identity = authority.issue(f"comet{days}", "DNS:comet.internal", "IP:127.0.0.1", days=days)
    trusted = authority if is_known else Authority(tmp_path / "other", "Other CA")
    with c_end(program, "client", authorities=trusted.cert, name=name) as peer:
        context = server_context(identity, version)
        if outcome is None:
            with context.wrap_socket(peer.sock, server_side=True) as secured:
                secured.sendall(b"x")
                assert secured.recv(1) == b"x"
                secured.unwrap()
            assert peer.end().outcome == 0
            return
        with (
            pytest.raises((ssl.SSLError, ConnectionError)),
            context.wrap_socket(peer.sock, server_side=True) as secured,
        ):
            secured.recv(1)
        end = peer.end()
    assert end.outcome == getattr(lib, outcome)
    assert end.reason


def test_another_protocol_is_refused_and_none_is_served(program, authority, comet, version):
    with c_end(program, "server", protocol="http1", identity=comet) as peer:
        with pytest.raises(ssl.SSLError, match="no application protocol"):
            client_context(authority, version).wrap_socket(peer.sock, server_hostname="comet.internal")
        assert peer.end().outcome == lib.CT_E_TLS
    with c_end(program, "server", protocol="http1", identity=comet) as peer:
        context = ssl.create_default_context(cafile=authority.cert)
        with context.wrap_socket(peer.sock, server_hostname="comet.internal") as secured:
            secured.sendall(b"x")
            assert secured.recv(1) == b"x"
            secured.unwrap()
        assert peer.end().alpn == ""


def test_the_door_says_what_is_wrong(authority, comet, plane, version):
    def of(issued, host=""):
        return Identity(host=host, chain=issued.cert.read_bytes(), key=issued.key.read_bytes())

    good = of(comet)
    assert "PRIVATE" not in repr(good)
    tls = Tls(ServerSide(identities=[good, of(plane, "plane.internal")], ticket_s=60), Protocol.HTTP1)
    tls.replace(ServerSide(identities=[of(plane)], client_authorities=authority.cert.read_bytes()))
    crossed = Identity(host="x.org", chain=good.chain, key=plane.key.read_bytes())
    with pytest.raises(TlsUnusable, match="key is not the key of the certificate") as refused:
        tls.replace(ServerSide(identities=[good, crossed]))
    assert (refused.value.part, refused.value.identity) == (Part.KEY, 1)
    with pytest.raises(TlsUnusable, match="authorities holds no certificate"):
        Tls(ClientSide(server_name="x", authorities=b"none"), Protocol.H2)
    with pytest.raises(ValueOutOfRange):
        Tls(ClientSide(server_name=""), Protocol.H2)
    with pytest.raises(ValueOutOfRange):
        Tls(ServerSide(identities=[]), Protocol.H2)
    with pytest.raises(ValueOutOfRange):
        tls.replace(ClientSide(server_name="x"))
    Tls(ClientSide(server_name="x"), Protocol.H2)  # the system's authorities
    begins_s, ends_s = validity(good.chain)
    assert ends_s - begins_s == 86_400
    with pytest.raises(InputMalformed):
        validity(b"")
