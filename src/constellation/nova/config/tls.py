"""Where TLS is configured: groups inside a plane's section, `zenith.tls.cert` and so on. They name files and hold no secret."""

from __future__ import annotations

from dataclasses import dataclass

from constellation.nova.config.setting import Kind, setting

SYSTEM = "system"  # as `ca`: the authorities that this host trusts


class KeyFault(ValueError):
    """A key of a group that does not go with the others; the loader adds where the group is."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(reason)
        self.key = key


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCertificate:
    """A certificate for one host, or for one label before the rest ("*.example.org")."""

    host: str
    cert: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicTlsSettings:
    """`zenith.tls`: who we are to everybody. On when there is a certificate."""

    cert: str = setting("cert", "", kind=Kind.PATH)  # PEM: the certificate, then what signed it
    key: str = setting("key", "", kind=Kind.PATH)  # PEM, without a passphrase
    hosts: tuple[HostCertificate, ...] = setting("hosts", (), kind=Kind.CERTIFICATES)  # instead of it, by SNI

    def __post_init__(self) -> None:
        _check_pair(self.cert, self.key)
        if self.hosts and not self.cert:
            raise KeyFault("cert", "is missing: clients that name no host of `hosts` need one too")

    @property
    def is_on(self) -> bool:
        return bool(self.cert)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneTlsSettings:
    """`comet.tls`: who we are to other planes, and who they must be. On when there is a certificate."""

    cert: str = setting("cert", "", kind=Kind.PATH)
    key: str = setting("key", "", kind=Kind.PATH)
    client_ca: str = setting("client_ca", "", kind=Kind.PATH)  # callers must show a certificate that it signed

    def __post_init__(self) -> None:
        _check_pair(self.cert, self.key)
        if self.client_ca and not self.cert:
            raise KeyFault("client_ca", "needs cert and key: without TLS nobody shows a certificate")

    @property
    def is_on(self) -> bool:
        return bool(self.cert)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerTlsSettings:
    """`comet_tls` of a plane that calls comet. On when it is said who may have signed comet's certificate."""

    ca: str = setting("ca", "", kind=Kind.PATH, also=(SYSTEM,))
    cert: str = setting("cert", "", kind=Kind.PATH)  # ours, where comet asks for one
    key: str = setting("key", "", kind=Kind.PATH)
    server_name: str = setting("server_name", "")  # whom comet's certificate is for; empty: the host that we call

    def __post_init__(self) -> None:
        _check_pair(self.cert, self.key)
        if not self.ca and (self.cert or self.server_name):
            raise KeyFault("ca", f'is missing: name the authorities of comet\'s certificate, or "{SYSTEM}"')

    @property
    def is_on(self) -> bool:
        return bool(self.ca)


def _check_pair(cert: str, key: str) -> None:
    if cert and not key:
        raise KeyFault("key", "is missing: cert needs its private key")
    if key and not cert:
        raise KeyFault("cert", "is missing: key needs its certificate")


PUBLIC_TLS_OFF, PLANE_TLS_OFF, CALLER_TLS_OFF = PublicTlsSettings(), PlaneTlsSettings(), CallerTlsSettings()
