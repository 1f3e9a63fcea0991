"""Servers of somebody else's over TLS: what each sslmode takes for proof, in nova and in comet."""

from __future__ import annotations

import ipaddress
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from constellation.comet.databases import upstream
from constellation.comet.databases.wire import Refused
from constellation.nova.domain.database import (
    Access,
    Database,
    DatabaseLimits,
    DatabaseRole,
    DatabaseServerRefused,
    ServerAddress,
    Tls,
    read_address,
    read_networks,
)
from constellation.nova.store.provision import Server

NAMED, OTHER = "127.54.32.10", "127.54.32.11"  # chosen: of the loopback addresses; the certificate is for the first
PORT = 54331
PASSWORD = "b0ss-password"
ALLOWED = read_networks("127.0.0.0/8")
BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not BINARIES, reason="no PostgreSQL with TLS: the package postgresql of the distribution"),
]


def certificate(name, *, issuer=None, addresses=()):
    """Return a certificate and its key; without an issuer it is an authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer[0].subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if addresses:
        names = [x509.IPAddress(ipaddress.ip_address(each)) for each in addresses]
        made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return made.sign(key if issuer is None else issuer[1], hashes.SHA256()), key


def pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)


@pytest.fixture(scope="module")
def authority() -> Iterator[Path]:
    """A PostgreSQL that speaks TLS and nothing else; its authority's certificate."""
    directory = Path(tempfile.mkdtemp(prefix="ct-tls-"))
    binaries = BINARIES[-1].parent
    ca = certificate("an authority")
    found, key = certificate("db", issuer=ca, addresses=[NAMED])
    data = directory / "data"
    (directory / "ca.pem").write_bytes(pem(ca[0]))
    (directory / "server.crt").write_bytes(pem(found))
    (directory / "server.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (directory / "server.key").chmod(0o600)
    (directory / "password").write_text(PASSWORD)
    who = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    if who:
        for path in (directory, *directory.iterdir()):
            os.chown(path, 65534, 65534)
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
    subprocess.run(
        [binaries / "initdb", "-D", data, "-U", "boss", "-A", "scram-sha-256", f"--pwfile={directory / 'password'}",
         "--no-sync", "--encoding=UTF8"],
        check=True, capture_output=True, timeout=120, env=environment, cwd="/", **who,
    )  # fmt: skip
    (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.0/8 scram-sha-256\n")
    settings = {
        "listen_addresses": f"{NAMED},{OTHER}", "port": PORT, "unix_socket_directories": "", "fsync": "off", "ssl": "on",
        "ssl_cert_file": directory / "server.crt", "ssl_key_file": directory / "server.key",
    }  # fmt: skip
    flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(
            [binaries / "postgres", "-D", data, *flags], stdout=log, stderr=log, env=environment, cwd="/", **who
        )
    try:
        yield directory / "ca.pem"
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(20)
        shutil.rmtree(directory)


@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"


def address(host, mode):
    return read_address(f"postgresql://boss:{PASSWORD}@{host}:{PORT}/postgres?sslmode={mode}")


async def listening():
    with anyio.fail_after(60):
        while not await nova_gets_in(address(NAMED, "require")):  # it starts up
            await anyio.sleep(0.1)


async def nova_gets_in(where: ServerAddress):
    try:
        async with Server(where, allowed=ALLOWED)._connected("look") as connection:
            return await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    except DatabaseServerRefused:
        return False


async def comet_gets_in(where: ServerAddress):
    try:
        session = await upstream.Server(where, allowed=ALLOWED).log_in({})
    except (Refused, upstream.LoginRefused):
        return False
    await session.aclose()
    return True


@pytest.mark.parametrize("knows_authority", [True, False])
async def test_each_mode_asks_for_its_proof(authority, monkeypatch, knows_authority):
    if knows_authority:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    await listening()
    expected = {
        (NAMED, "require"): True, (OTHER, "require"): True,
        (NAMED, "verify-ca"): knows_authority, (OTHER, "verify-ca"): knows_authority,
        (NAMED, "verify-full"): knows_authority, (OTHER, "verify-full"): False,
        (NAMED, "disable"): False,  # the server takes nobody without TLS
    }  # fmt: skip
    for ask in (nova_gets_in, comet_gets_in):
        assert {place: await ask(address(*place)) for place in expected} == expected, ask.__name__


async def test_a_role_is_made_and_used_over_tls(authority, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    await listening()
    boss = address(NAMED, "verify-full")
    role = DatabaseRole(tenant="t", namespace="n", role_name="fn_tls", database_name="postgres", admin_secret="boss")
    database = Database(tenant="t", namespace="n", name="shop", access=Access.READ, role=role, limits=DatabaseLimits())
    server = Server(boss, allowed=ALLOWED)
    await server.make(database, "functions-password")
    where = ServerAddress(
        host=NAMED, port=PORT, database="postgres", user="fn_tls", password="functions-password", tls=Tls.VERIFY_FULL
    )
    assert await comet_gets_in(where)
    assert await server.take_down(role)
    assert not await comet_gets_in(where)


async def test_a_server_without_tls_is_refused_by_who_wants_it():
    async with await anyio.create_tcp_listener(local_host=NAMED, local_port=PORT + 1) as listener:

        async def says_no(stream):
            async with stream:
                await stream.receive(8)
                await stream.send(b"N")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, says_no)
            plain = read_address(f"postgresql://boss:x@{NAMED}:{PORT + 1}/postgres")
            assert plain.tls is Tls.REQUIRE
            with pytest.raises(Refused, match="speaks no TLS"):
                await upstream.Server(plain, allowed=ALLOWED).log_in({})
            tasks.cancel_scope.cancel()
