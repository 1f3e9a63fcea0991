"""TLS of comet's port and of the calls to it, with real certificates on real sockets."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from contextlib import asynccontextmanager

import anyio
import anyio.to_thread
import pytest
from grpclib.health.v1.health_grpc import HealthStub
from grpclib.health.v1.health_pb2 import HealthCheckRequest
from structlog.testing import capture_logs

from constellation.base.address import Address
from constellation.base.clock import SystemClock
from constellation.base.errors import Unavailable
from constellation.nova.config.load import ConfigInvalid
from constellation.nova.config.tls import CallerTlsSettings, HostCertificate, PlaneTlsSettings, PublicTlsSettings
from constellation.rpc.caller import CallerVerifier
from constellation.rpc.channel import PlaneChannel
from constellation.rpc.tls import caller_tls, plane_tls, public_tls
from constellation.testing.comet import FakeComet
from tests.certificates import Authority

pytestmark = pytest.mark.anyio
TOKEN = "service-token"
VERIFIER = CallerVerifier(service_token=TOKEN, identity_key=b"key", clock=SystemClock())


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("stranger"), "Nobody's CA")


@pytest.fixture(scope="module")
def comet_cert(authority):
    return authority.issue("comet", "DNS:comet.internal", "IP:127.0.0.1")


@pytest.fixture(scope="module")
def zenith_cert(authority):
    return authority.issue("zenith")


@asynccontextmanager
async def comet_at(tls):
    async with FakeComet().serving(VERIFIER, tls=tls) as address:
        yield address


@asynccontextmanager
async def secured_comet(authority, cert, *, wants_certificate=True):
    settings = PlaneTlsSettings(**cert.settings(), client_ca=str(authority.cert) if wants_certificate else "")
    tls = await plane_tls(settings)
    async with comet_at(tls) as address:
        yield address, tls


async def refusal(address, tls) -> str:
    with pytest.raises(Unavailable) as failed:
        await call(address, tls)
    return str(failed.value)


async def ask(channel: PlaneChannel) -> None:
    await channel.unary(HealthStub(channel.grpc).Check, HealthCheckRequest(), metadata={}, timeout_s=10)


@asynccontextmanager
async def lasting_channel(address: Address, tls):
    channel = PlaneChannel(name="comet", service_token=TOKEN, address=address, tls=tls)
    try:
        yield channel
    finally:
        channel.close()


async def call(address: Address, tls) -> None:
    """Ask comet over a connection of its own; raises what the channel does."""
    async with lasting_channel(address, tls) as channel:
        await ask(channel)


async def caller(ca, cert=None, **changes):
    pair = cert.settings() if cert else {}
    return await caller_tls(
        CallerTlsSettings(ca=str(ca), **pair, **changes), where="zenith.comet_tls", host="127.0.0.1"
    )


async def test_planes_that_know_each_other_talk(authority, comet_cert, zenith_cert):
    async with secured_comet(authority, comet_cert) as (address, _):
        await call(address, await caller(authority.cert, zenith_cert))
        await call(address, await caller(authority.cert, zenith_cert, server_name="comet.internal"))


async def test_comet_needs_no_certificate_of_a_caller_unless_told(authority, comet_cert):
    async with secured_comet(authority, comet_cert, wants_certificate=False) as (address, _):
        await call(address, await caller(authority.cert))


async def test_a_comet_of_another_authority_is_refused(authority, stranger, comet_cert, zenith_cert):
    async with secured_comet(authority, comet_cert) as (address, _):
        with capture_logs() as logs:
            said = await refusal(address, await caller(stranger.cert, zenith_cert))
    assert "its certificate is refused: " in said
    assert ("tls.refused", "zenith.comet_tls") in [(line["event"], line.get("where")) for line in logs]


async def test_a_comet_for_another_host_is_refused(authority, comet_cert, zenith_cert):
    async with secured_comet(authority, comet_cert) as (address, _):
        said = await refusal(address, await caller(authority.cert, zenith_cert, server_name="comet.elsewhere"))
    assert "comet.elsewhere" in said


class Expired:
    """A server whose certificate has run out while it ran: ours would not start with it."""

    def __init__(self, cert):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(cert.cert, cert.key)
        self.context.set_alpn_protocols(["h2"])


async def test_an_expired_comet_is_refused(authority, zenith_cert):
    async with comet_at(Expired(authority.issue("old", "IP:127.0.0.1", days=-1))) as address:
        said = await refusal(address, await caller(authority.cert, zenith_cert))
    assert "certificate has expired" in said


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_caller_without_a_certificate_is_refused(authority, comet_cert, version):
    async with secured_comet(authority, comet_cert) as (address, _):
        tls = await caller(authority.cert)
        tls.context.maximum_version = version
        with capture_logs() as logs:
            said = await refusal(address, tls)
    if version is ssl.TLSVersion.TLSv1_3:
        assert "certificate from us" in said
    assert ("comet.tls", "it showed no certificate") in [(line.get("where"), line.get("reason")) for line in logs]


async def test_a_callers_certificate_of_another_authority_is_refused(authority, stranger, comet_cert):
    async with secured_comet(authority, comet_cert) as (address, _):
        with capture_logs() as logs:
            said = await refusal(address, await caller(authority.cert, stranger.issue("zenith")))
    assert "our certificate" in said
    reasons = [line["reason"] for line in logs if line.get("where") == "comet.tls"]
    assert len(reasons) == 1
    assert reasons[0].startswith("its certificate is refused: ")


async def test_plain_text_and_tls_do_not_meet(authority, comet_cert, zenith_cert):
    async with secured_comet(authority, comet_cert) as (address, _):
        await refusal(address, None)
    async with comet_at(None) as address:
        said = await refusal(address, await caller(authority.cert, zenith_cert))
    assert "does not speak TLS" in said or "TLS failed" in said


async def test_renewed_files_are_used_by_new_connections_and_bad_ones_are_not(
    authority, stranger, tmp_path, zenith_cert
):
    cert, key = tmp_path / "cert.pem", tmp_path / "cert.key"

    def install(issued):
        shutil.copy(issued.cert, cert)
        shutil.copy(issued.key, key)

    install(authority.issue("first", "IP:127.0.0.1"))
    tls = await plane_tls(PlaneTlsSettings(cert=str(cert), key=str(key), client_ca=str(authority.cert)))
    by_ours, by_stranger = await caller(authority.cert, zenith_cert), await caller(stranger.cert, zenith_cert)
    async with comet_at(tls) as address, lasting_channel(address, by_ours) as channel:
        await ask(channel)
        install(stranger.issue("second", "IP:127.0.0.1"))
        await tls.look()
        await ask(channel)  # the connection that is there stays
        await call(address, by_stranger)
        await refusal(address, by_ours)
        key.write_text("no key")
        with capture_logs() as logs:
            await tls.look()
            await tls.look()  # the same bad file is not complained about again
        assert [line["reason"] for line in logs if line["event"] == "tls.renewal_failed"] == [
            f"configuration comet.tls.key: {key} holds no private key in PEM"
        ]
        await call(address, by_stranger)


async def test_an_authority_that_is_taken_out_is_trusted_no_more(
    authority, stranger, comet_cert, zenith_cert, tmp_path
):
    ca = tmp_path / "ca.pem"
    ca.write_text(stranger.cert.read_text() + authority.cert.read_text())
    ours = await caller(ca, zenith_cert)
    async with secured_comet(authority, comet_cert) as (address, _), lasting_channel(address, ours) as channel:
        await ask(channel)
        shutil.copy(stranger.cert, ca)
        await ours.look()
        await ask(channel)  # it was in order when it began
        assert "its certificate is refused: " in await refusal(address, ours)
        shutil.copy(authority.cert, ca)
        await ours.look()
        await call(address, ours)


async def test_a_callers_authority_that_is_taken_out_is_trusted_no_more(
    authority, stranger, comet_cert, zenith_cert, tmp_path
):
    ca = tmp_path / "ca.pem"
    ca.write_text(stranger.cert.read_text() + authority.cert.read_text())
    tls = await plane_tls(PlaneTlsSettings(**comet_cert.settings(), client_ca=str(ca)))
    ours = await caller(authority.cert, zenith_cert)
    async with comet_at(tls) as address:
        await call(address, ours)
        shutil.copy(stranger.cert, ca)
        await tls.look()
        await refusal(address, ours)


async def test_each_host_is_shown_its_own_certificate(authority):
    usual = authority.issue("usual", "DNS:usual.example.org")
    api = authority.issue("api", "DNS:api.example.org")
    wild = authority.issue("wild", "DNS:*.wild.example.org")
    hosts = (
        HostCertificate(host="api.example.org", **api.settings()),
        HostCertificate(host="*.wild.example.org", **wild.settings()),
    )
    tls = await public_tls(PublicTlsSettings(**usual.settings(), hosts=hosts))
    client = ssl.create_default_context(cafile=authority.cert)

    def connect(address, name):
        with (
            socket.create_connection((address.host, address.port), timeout=10) as plain,
            client.wrap_socket(plain, server_hostname=name) as secured,
        ):
            return dict(pair[0] for pair in secured.getpeercert()["subject"])["commonName"]

    async with comet_at(tls) as address:
        for name, expected in (
            ("usual.example.org", "usual"),
            ("api.example.org", "api"),
            ("x.wild.example.org", "wild"),
        ):
            assert await anyio.to_thread.run_sync(connect, address, name) == expected


async def test_files_that_can_not_be_used_are_named(authority, stranger, comet_cert, tmp_path):
    other = authority.issue("other")
    empty, locked = tmp_path / "empty.pem", tmp_path / "locked.key"
    empty.touch()
    broken = tmp_path / "broken.pem"
    broken.write_text(comet_cert.cert.read_text()[:200])
    subprocess.run(
        ["openssl", "ec", "-in", comet_cert.key, "-aes128", "-passout", "pass:x", "-out", locked],
        check=True,
        capture_output=True,
    )
    expired = authority.issue("expired", days=-1)
    good = comet_cert.settings()
    cases = [
        (good | {"cert": str(tmp_path / "none")}, "comet.tls.cert", "No such file"),
        (good | {"cert": str(tmp_path)}, "comet.tls.cert", "Is a directory"),
        (good | {"cert": str(empty)}, "comet.tls.cert", "holds no certificate"),
        (good | {"cert": str(broken)}, "comet.tls.cert", "can not be read as PEM"),
        (good | {"key": good["cert"]}, "comet.tls.key", "holds no private key"),
        (good | {"key": str(locked)}, "comet.tls.key", "has a passphrase"),
        (good | {"key": str(other.key)}, "comet.tls.key", "is not the key of the certificate"),
        (expired.settings(), "comet.tls.cert", "has expired on 2"),
        (good | {"client_ca": str(empty)}, "comet.tls.client_ca", "holds no certificate"),
        (good | {"client_ca": str(comet_cert.key)}, "comet.tls.client_ca", "holds no certificate"),
    ]
    for settings, path, reason in cases:
        with pytest.raises(ConfigInvalid) as refused:
            await plane_tls(PlaneTlsSettings(**settings))
        assert refused.value.path == path, str(refused.value)
        assert reason in str(refused.value)
        named = settings["client_ca" if path.endswith("client_ca") else path.rpartition(".")[2]]
        assert named in str(refused.value)
