"""TLS of the planes' ports and of the calls between them, from configured files: checked, made into contexts, renewed.

Each end keeps two forms of the same bytes: an `ssl.SSLContext` for Hypercorn and grpclib, and the sides that
`native.tls` takes for the C listeners. The files are looked at again and again; what is new and good is used for new
connections, what is bad is said in the log and the old stays.
"""

from __future__ import annotations

import ssl
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import anyio
import structlog
from anyio import to_thread
from anyio.abc import TaskStatus

from constellation.base.clock import Clock, SystemClock
from constellation.native.tls import (
    MAX_PEM_BYTES,
    ClientSide,
    Identity,
    Part,
    Protocol,
    ServerSide,
    Tls,
    TlsUnusable,
    validity,
)
from constellation.nova.config.load import ConfigInvalid
from constellation.nova.config.tls import SYSTEM, CallerTlsSettings, PlaneTlsSettings, PublicTlsSettings
from constellation.rpc.refusals import Refusals

log = structlog.get_logger()

LOOK_S = 30.0  # chosen: how soon renewed files are used
TICKET_S = 7200.0  # chosen: browsers come back within two hours; between planes connections last
CIPHERS_OF_1_2 = "ECDHE+AESGCM:ECDHE+CHACHA20"  # as in the C core
_KEY_OF_PART = {Part.CHAIN: "cert", Part.KEY: "key"}

Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """A certificate and its key, and where they are configured ("zenith.tls")."""

    where: str
    cert: Path
    key: Path
    host: str = ""

    def read(self, *, now_s: float) -> Identity:
        chain, key = _read(f"{self.where}.cert", self.cert), _read(f"{self.where}.key", self.key)
        identity = Identity(host=self.host, chain=chain, key=key)
        self.check(identity, now_s=now_s)
        return identity

    def check(self, identity: Identity, *, now_s: float) -> None:
        try:
            Tls(ServerSide(identities=[identity]), Protocol.H2)
        except TlsUnusable as error:
            file = self.cert if error.part is Part.CHAIN else self.key
            raise ConfigInvalid(f"{self.where}.{_KEY_OF_PART[error.part]}", f"{file} {error.what}") from error
        begins_s, ends_s = validity(identity.chain)
        if now_s >= ends_s:
            raise ConfigInvalid(f"{self.where}.cert", f"{self.cert} has expired on {_date(ends_s)}")
        if now_s < begins_s:
            raise ConfigInvalid(f"{self.where}.cert", f"{self.cert} is not valid before {_date(begins_s)}")


class _Renewed(ABC):
    """What is made from files, and made anew when they change."""

    def __init__(self, files: Iterable[Path], clock: Clock) -> None:
        self._files, self._clock = tuple(files), clock
        self._stamp: Stamp = ()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Use renewed files until cancelled."""
        task_status.started()
        while True:
            await self._clock.sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Use the files as they are now, if they have changed and are good."""
        stamp = await to_thread.run_sync(self._stamped)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            install = await to_thread.run_sync(self._load)
        except ConfigInvalid as error:
            log.error("tls.renewal_failed", reason=str(error))  # noqa: TRY400  # the reason says it all
            return
        install()
        log.info("tls.renewed", files=[str(file) for file in self._files])

    async def begin(self) -> None:
        self._stamp = await to_thread.run_sync(self._stamped)
        (await to_thread.run_sync(self._load))()

    def _stamped(self) -> Stamp:
        def of(file: Path) -> tuple[int, int, int]:
            try:
                found = file.stat()
            except OSError:
                return (0, 0, 0)
            return (found.st_mtime_ns, found.st_ino, found.st_size)

        return tuple(of(file) for file in self._files)

    @abstractmethod
    def _load(self) -> Callable[[], None]:
        """Read and check, in a thread; return what puts it to use, in the loop."""


_Made = TypeVar("_Made", bound=_Renewed)


class ServerTls(_Renewed):
    """Who a port is, and whom it serves. Made by `public_tls` and `plane_tls`."""

    def __init__(
        self,
        *,
        where: str,
        pairs: list[_Pair],
        client_ca: Path | None,
        ticket_s: float,
        protocols: list[str],
        clock: Clock,
    ) -> None:
        super().__init__(
            [f for pair in pairs for f in (pair.cert, pair.key)] + ([client_ca] if client_ca else []), clock
        )
        self._where, self._pairs, self._client_ca = where, pairs, client_ca
        self._ticket_s, self._protocols = ticket_s, protocols
        self._side: ServerSide
        self._contexts: Mapping[str, ssl.SSLContext] = {}
        self._native: list[Tls] = []
        self.refusals = Refusals(where)

    @property
    def context(self) -> ssl.SSLContext:
        """For a server of Python's; the certificate is chosen anew for each connection."""
        context = self._new_context(self._pairs[0])
        context.sni_callback = self._choose
        context.sslobject_class = self.refusals.server_objects()
        return context

    def native(self, protocol: Protocol) -> Tls:
        """For a listener of the C core; renewed as long as `run` runs."""
        tls = Tls(self._side, protocol)
        self._native.append(tls)
        return tls

    def _load(self) -> Callable[[], None]:
        now_s = self._clock.now().timestamp()
        authorities = _read(f"{self._where}.client_ca", self._client_ca) if self._client_ca else None
        identities = [pair.read(now_s=now_s) for pair in self._pairs]
        side = ServerSide(identities=identities, client_authorities=authorities, ticket_s=self._ticket_s)
        if authorities is not None:
            _check_authorities(f"{self._where}.client_ca", self._client_ca, side)
        contexts = {pair.host: self._new_context(pair) for pair in self._pairs}

        def install() -> None:
            self._side, self._contexts = side, contexts
            for tls in self._native:
                tls.replace(side)

        return install

    def _new_context(self, pair: _Pair) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _harden(context)
        context.set_alpn_protocols(self._protocols)
        if not self._ticket_s:
            context.options |= ssl.OP_NO_TICKET
            context.num_tickets = 0
        _load_pair(context, pair)
        if self._client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            _load_authorities(context, f"{self._where}.client_ca", self._client_ca)
        return context

    def _choose(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        host = (name or "").lower()
        wild = "*." + host.partition(".")[2]
        connection.context = self._contexts.get(host) or self._contexts.get(wild) or self._contexts[""]


class _Latest(ssl.SSLContext):
    """Begins each connection under the settings of that moment; whoever was given it need not know of renewals.

    A context only ever learns authorities and forgets none, so it is replaced and not changed.
    """

    latest: ssl.SSLContext

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        return self.latest.wrap_bio(incoming, outgoing, server_side, server_hostname, session)


class CallerTls(_Renewed):
    """Who we are to comet, and who comet must be. Made by `caller_tls`.

    What is renewed holds for the next connection, in Python as in the C core: an authority that is no longer in `ca` is
    no longer trusted. Open connections go on, as they were in order when they began.
    """

    def __init__(self, *, where: str, ca: Path | None, pair: _Pair | None, server_name: str, clock: Clock) -> None:
        files = ([ca] if ca else []) + ([pair.cert, pair.key] if pair else [])
        super().__init__(files, clock)
        self._where, self._ca, self._pair = where, ca, pair
        self.server_name = server_name
        self._side: ClientSide
        self._native: list[Tls] = []
        self.refusals = Refusals(where)
        self.context = _Latest(ssl.PROTOCOL_TLS_CLIENT)

    @property
    def doubt(self) -> str:
        """What may be wrong when the connection is lost before an answer: with TLS 1.3 a refusal comes after the handshake."""
        if self._pair is None:
            return f"it may want a certificate from us, and {self._where}.cert names none"
        return f"it may not accept our certificate, {self._where}.cert"

    def native(self) -> Tls:
        """For the client of the C core; renewed as long as `run` runs."""
        tls = Tls(self._side, Protocol.H2)
        self._native.append(tls)
        return tls

    def _load(self) -> Callable[[], None]:
        identity = self._pair.read(now_s=self._clock.now().timestamp()) if self._pair else None
        authorities = _read(f"{self._where}.ca", self._ca) if self._ca else None
        side = ClientSide(server_name=self.server_name, authorities=authorities, identity=identity)
        if self._ca is not None:
            _check_authorities(f"{self._where}.ca", self._ca, side)
        context = self._new_context()

        def install() -> None:
            self._side, self.context.latest = side, context
            for tls in self._native:
                tls.replace(side)

        return install

    def _new_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies the name and the chain by default
        _harden(context)
        context.set_alpn_protocols(["h2"])
        context.sslobject_class = self.refusals.client_objects()
        if self._ca is None:
            context.load_default_certs()
        else:
            _load_authorities(context, f"{self._where}.ca", self._ca)
        if self._pair is not None:
            _load_pair(context, self._pair)
        return context


async def public_tls(settings: PublicTlsSettings, *, clock: Clock | None = None) -> ServerTls | None:
    """Return zenith's TLS; None when none is configured.

    Raises:
        ConfigInvalid: a file can not be used; says which key names it, which file it is, and why.
    """
    if not settings.is_on:
        return None
    where = "zenith.tls"
    pairs = [_Pair(where=where, cert=Path(settings.cert), key=Path(settings.key))] + [
        _Pair(where=f"{where}.hosts.{each.host}", cert=Path(each.cert), key=Path(each.key), host=each.host)
        for each in settings.hosts
    ]
    return await _begun(
        ServerTls(
            where=where,
            pairs=pairs,
            client_ca=None,
            ticket_s=TICKET_S,
            protocols=["h2", "http/1.1"],
            clock=clock or SystemClock(),
        )
    )


async def plane_tls(settings: PlaneTlsSettings, *, clock: Clock | None = None) -> ServerTls | None:
    """Return comet's TLS; None when none is configured. Errors as in `public_tls`."""
    if not settings.is_on:
        return None
    where = "comet.tls"
    return await _begun(
        ServerTls(
            where=where,
            pairs=[_Pair(where=where, cert=Path(settings.cert), key=Path(settings.key))],
            client_ca=Path(settings.client_ca) if settings.client_ca else None,
            ticket_s=0.0,
            protocols=["h2"],
            clock=clock or SystemClock(),
        )
    )


async def caller_tls(
    settings: CallerTlsSettings, *, where: str, host: str, clock: Clock | None = None
) -> CallerTls | None:
    """Return the TLS of calls to comet at `host`; None when none is configured. Errors as in `public_tls`.

    Args:
        where: the group's place, such as "zenith.comet_tls".
    """
    if not settings.is_on:
        return None
    pair = _Pair(where=where, cert=Path(settings.cert), key=Path(settings.key)) if settings.cert else None
    return await _begun(
        CallerTls(
            where=where,
            ca=None if settings.ca == SYSTEM else Path(settings.ca),
            pair=pair,
            server_name=settings.server_name or host,
            clock=clock or SystemClock(),
        )
    )


@asynccontextmanager
async def renewing(*ends: ServerTls | CallerTls | None) -> AsyncIterator[None]:
    """Use renewed files for the length of the block."""
    async with anyio.create_task_group() as tasks:
        for end in ends:
            if end is not None:
                await tasks.start(end.run)
        yield
        tasks.cancel_scope.cancel()


async def _begun(made: _Made) -> _Made:
    await made.begin()
    return made


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS_OF_1_2)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION


def _read(path: str, file: Path | None) -> bytes:
    assert file is not None
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_PEM_BYTES + 1)
    except OSError as error:
        raise ConfigInvalid(path, f"{file} can not be read: {error.strerror}") from error
    if len(data) > MAX_PEM_BYTES:
        raise ConfigInvalid(path, f"{file} is larger than {MAX_PEM_BYTES} bytes")
    return data


def _check_authorities(path: str, file: Path | None, side: ServerSide | ClientSide) -> None:
    try:
        Tls(side, Protocol.H2)
    except TlsUnusable as error:
        raise ConfigInvalid(path, f"{file} {error.what}") from error


def _load_pair(context: ssl.SSLContext, pair: _Pair) -> None:
    try:
        context.load_cert_chain(pair.cert, pair.key, password=_no_passphrase)
    except (OSError, ValueError) as error:  # it was good a moment ago, when it was checked
        raise ConfigInvalid(f"{pair.where}.cert", f"{pair.cert} or its key changed while it was read") from error


def _load_authorities(context: ssl.SSLContext, path: str, file: Path) -> None:
    try:
        context.load_verify_locations(file)
    except OSError as error:
        raise ConfigInvalid(path, f"{file} changed while it was read") from error


def _no_passphrase() -> str:
    return ""  # without it OpenSSL asks on the terminal


def _date(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, tz=UTC).isoformat(timespec="seconds")
