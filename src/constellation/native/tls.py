"""TLS of the C core's connections: what each end is and asks for. Files are read elsewhere; here are their bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from constellation.base.errors import ConstellationError
from constellation.native import _core
from constellation.native.errors import checked, describe
from constellation.native.reactor import Event, Reactor

_lib, _ffi = _core.lib, _core.ffi

HANDSHAKE_S = 10.0  # chosen: from the begin of a connection to the end of its handshake
Refused = Callable[[str, str], None]
MAX_PEM_BYTES: int = _lib.CT_TLS_PEM_BYTES_MAX


class Protocol(IntEnum):
    """What is spoken inside, as ALPN says it."""

    HTTP1 = _lib.CT_TLS_HTTP1
    H2 = _lib.CT_TLS_H2
    EITHER = _lib.CT_TLS_EITHER  # a server's: HTTP/2 for whom knows it


class Part(IntEnum):
    CHAIN = _lib.CT_TLS_PART_CHAIN
    KEY = _lib.CT_TLS_PART_KEY
    AUTHORITIES = _lib.CT_TLS_PART_AUTHORITIES


_FLAWS = {
    _lib.CT_TLS_FLAW_ABSENT: {
        Part.CHAIN: "holds no certificate in PEM",
        Part.KEY: "holds no private key in PEM",
        Part.AUTHORITIES: "holds no certificate in PEM",
    },
    _lib.CT_TLS_FLAW_BROKEN: "can not be read as PEM",
    _lib.CT_TLS_FLAW_LOCKED: "has a passphrase; give the key without one",
    _lib.CT_TLS_FLAW_MISMATCH: "is not the key of the certificate",
    _lib.CT_TLS_FLAW_REFUSED: "is refused by OpenSSL",
}


class TlsUnusable(ConstellationError):
    """A certificate, a key or a list of authorities that can not be used; says which, and what is wrong with it."""

    code, http_status = "tls_unusable", 503

    def __init__(self, part: Part, *, identity: int, flaw: int, reason: str) -> None:
        word = _FLAWS[flaw]
        text = word[part] if isinstance(word, dict) else word
        detail = f" ({reason})" if flaw == _lib.CT_TLS_FLAW_REFUSED and reason else ""
        super().__init__(f"{part.name.lower()} {text}{detail}")
        self.part, self.identity = part, identity  # its place in the list
        self.what = f"{text}{detail}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A certificate with what signed it, and its private key; PEM."""

    host: str = ""  # a server's: whom it is for, lower case; "*.rest" is one label before rest
    chain: bytes
    key: bytes

    def __repr__(self) -> str:
        return f"Identity(host={self.host!r})"  # a key never gets into a log


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSide:
    """The first identity is for every host without one of its own."""

    identities: Sequence[Identity]
    client_authorities: bytes | None = None  # clients must show a certificate that one of them signed
    ticket_s: float = 0.0  # how long a session can be resumed; 0: a handshake each time


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSide:
    server_name: str  # host or address that the server's certificate must be for
    authorities: bytes | None = None  # None: those of the system
    identity: Identity | None = None


class Tls:
    """Owns a `ct_tls`. What it secured may outlive it; what secures new connections with it ends before."""

    def __init__(self, side: ServerSide | ClientSide, protocol: Protocol, *, handshake_s: float = HANDSHAKE_S) -> None:
        """Raise `TlsUnusable`, or `NativeError` for a name, a count or a size that is out of range."""
        self._protocol, self._handshake_s = protocol, handshake_s
        out = _ffi.new("ct_tls **")
        self._apply(side, lambda settings, fault: _lib.ct_tls_new(settings, out, fault))
        self._handle: Any = _ffi.gc(out[0], _lib.ct_tls_free)

    @property
    def handle(self) -> Any:
        """The `ct_tls *`, for this package alone."""
        return self._handle

    def replace(self, side: ServerSide | ClientSide) -> None:
        """Have new connections use `side`; those that are there stay as they are. On an error nothing changes."""
        self._apply(side, lambda settings, fault: _lib.ct_tls_replace(self._handle, settings, fault))

    def _apply(self, side: ServerSide | ClientSide, call: Any) -> None:
        kept: list[Any] = []  # what the settings point to

        def text(value: str) -> Any:
            kept.append(_ffi.new("char[]", value.encode()))
            return kept[-1]

        def span(value: bytes) -> Any:
            kept.append(_ffi.from_buffer("uint8_t[]", value))
            return kept[-1]

        is_server = isinstance(side, ServerSide)
        if isinstance(side, ServerSide):
            identities, authorities = list(side.identities), side.client_authorities
        else:
            identities, authorities = [side.identity] if side.identity else [], side.authorities
        listed = _ffi.new("ct_tls_identity[]", max(1, len(identities)))
        for place, each in zip(listed, identities, strict=False):
            place.host, place.chain, place.key = text(each.host), span(each.chain), span(each.key)
            place.chain_len, place.key_len = len(each.chain), len(each.key)
        settings, fault = _ffi.new("ct_tls_settings *"), _ffi.new("ct_tls_fault *")
        settings.role = _lib.CT_TLS_SERVER if is_server else _lib.CT_TLS_CLIENT
        settings.protocol = self._protocol
        settings.handshake_ms = int(self._handshake_s * 1000)
        settings.identities, settings.identity_count = listed, len(identities)
        if authorities is not None:
            settings.authorities, settings.authorities_len = span(authorities), len(authorities)
        if isinstance(side, ServerSide):
            settings.ticket_s = int(side.ticket_s)
        else:
            settings.server_name = text(side.server_name)
        result = call(settings, fault)
        if result == _lib.CT_E_MALFORMED and fault.part:
            reason = _ffi.string(fault.reason).decode(errors="replace")
            raise TlsUnusable(Part(fault.part), identity=fault.identity, flaw=fault.flaw, reason=reason)
        checked("TLS settings", result)


def hear_refusals(reactor: Reactor, *, of_clients: Refused | None, of_servers: Refused | None) -> None:
    """Have handshakes told that fail for what the other end is or said.

    Args:
        of_clients: called, with what failed and OpenSSL's word for it, where we are the server.
        of_servers: the same where we are the client.
    """

    def hear(event: Event) -> None:
        tell = of_clients if event.flags == _lib.CT_TLS_SERVER else of_servers
        if tell is not None:
            tell(describe(event.status), event.data.decode(errors="replace"))

    reactor.take([_lib.CT_EVENT_TLS_REFUSED], hear)


def validity(chain: bytes) -> tuple[int, int]:
    """Return from when until when the first certificate in `chain` is valid, in seconds since 1970.

    Raises:
        InputMalformed: there is none.
    """
    span = _ffi.new("int64_t[2]")
    checked("certificate", _lib.ct_tls_validity(_ffi.from_buffer("uint8_t[]", chain), len(chain), span, span + 1))
    return span[0], span[1]
