"""Why TLS connections of Python's servers and channels fail, in words, and in the log."""

from __future__ import annotations

import ssl
import time

import structlog

log = structlog.get_logger()

_LOG_EVERY_S = 1.0  # chosen: whoever knocks at a port may not fill the disk

_ALERTS = {
    "CERTIFICATE_REQUIRED": "it wants a certificate from us",
    "UNKNOWN_CA": "it does not trust who signed our certificate",
    "CERTIFICATE_EXPIRED": "it says that our certificate has expired",
    "BAD_CERTIFICATE": "it does not accept our certificate",
    "CERTIFICATE_UNKNOWN": "it does not accept our certificate",
    "UNSUPPORTED_CERTIFICATE": "it does not accept our certificate",
    "ACCESS_DENIED": "it does not accept our certificate",
}
_REASONS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it showed no certificate",
    "WRONG_VERSION_NUMBER": "it does not speak TLS",
    "HTTP_REQUEST": "it does not speak TLS",
    "RECORD_LAYER_FAILURE": "it does not speak TLS",
}


def describe(error: ssl.SSLError) -> str:
    """Return what was wrong with the other end, as a clause about it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message.rstrip('.')}"
    reason = error.reason or ""
    kind, is_alert, name = reason.partition("_ALERT_")
    if is_alert and kind.startswith(("TLSV1", "SSLV3", "TLSV13")):
        return _ALERTS.get(name, f"it refused the connection: {name.replace('_', ' ').lower()}")
    return _REASONS.get(reason, f"TLS failed: {reason.replace('_', ' ').lower() or 'the connection ended'}")


class Refusals:
    """Counts and says them; `where` names the configuration that they are about."""

    def __init__(self, where: str) -> None:
        self._where = where
        self.count = 0
        self.last = ""
        self._unsaid, self._said_at = 0, float("-inf")

    def server_objects(self) -> type[ssl.SSLObject]:
        """Return the class of a server's TLS connections."""
        return self._watched()

    def client_objects(self) -> type[ssl.SSLObject]:
        """Return the class of a client's; with TLS 1.3 a server's refusal comes after the handshake."""
        watched = self._watched()
        note = self._note

        class Caller(watched):  # type: ignore[misc, valid-type]  # a class of this object's own
            def read(self, len: int = 1024, buffer: bytearray | None = None) -> bytes | int:
                try:
                    found: bytes | int = super().read(len, buffer)
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError, ssl.SSLZeroReturnError, ssl.SSLEOFError):
                    raise
                except ssl.SSLError as error:
                    note(error)
                    raise
                return found

        return Caller

    def _watched(self) -> type[ssl.SSLObject]:
        note = self._note

        class Watched(ssl.SSLObject):
            def do_handshake(self) -> None:
                try:
                    super().do_handshake()
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError, ssl.SSLZeroReturnError, ssl.SSLEOFError):
                    raise  # to be continued; or somebody who knocked and left
                except ssl.SSLError as error:
                    note(error)
                    raise

        return Watched

    def native(self, what: str, word: str) -> None:
        """Take note of one that the C core met."""
        self._note_text(f"{what} ({word})" if word else what)

    def _note(self, error: ssl.SSLError) -> None:
        self._note_text(describe(error))

    def _note_text(self, text: str) -> None:
        self.count += 1
        self.last = text
        now = time.monotonic()
        if now - self._said_at < _LOG_EVERY_S:
            self._unsaid += 1
            return
        log.warning("tls.refused", where=self._where, reason=self.last, unsaid=self._unsaid)
        self._unsaid, self._said_at = 0, now
