"""What the C core reports, as exceptions: one class for each member of `enum ct_err`."""

from __future__ import annotations

import os

from constellation.base.errors import ConstellationError
from constellation.native import _core

_lib, _ffi = _core.lib, _core.ffi


class NativeError(ConstellationError):
    """A failure that the C core named with a number of its own."""

    code = "native_error"

    def __init__(self, what: str, number: int) -> None:
        super().__init__(f"{what}: {describe(number)}")
        self.number = number


class InputIncomplete(NativeError):
    """The input ends before the item does."""

    code = "native_incomplete"


class LengthOverLimit(NativeError):
    """A length in the input is above its limit; nothing was allocated for it."""

    code = "native_length"


class InputMalformed(NativeError):
    """Bytes that no correct peer sends."""

    code = "native_malformed"


class NestedTooDeep(NativeError):
    """The input nests deeper than allowed."""

    code = "native_depth"


class BufferTooSmall(NativeError):
    """What was to be written does not fit."""

    code = "native_space"


class ValueOutOfRange(NativeError):
    """A value outside what its field may hold."""

    code = "native_range"


class HostUnsupported(NativeError):
    """The host lacks what was asked for."""

    code, http_status = "native_unsupported", 503


class ManyThreads(NativeError):
    """A fork server had more than one thread, so a fork of it would not be whole."""

    code = "native_threads"


class TableFull(NativeError):
    """Every slot of a bounded table is taken."""

    code, http_status, retryable = "native_full", 503, True


class SetupTimeout(NativeError):
    """The sandbox was not complete in its time; the child was killed."""

    code, http_status, retryable = "native_timeout", 503, True


class ChildDied(NativeError):
    """The child ended before its sandbox was complete."""

    code, http_status, retryable = "native_child_died", 503, True


class TlsFailed(NativeError):
    """A handshake failed, or a record was not genuine."""

    code, http_status, retryable = "native_tls", 503, True


class TlsCut(NativeError):
    """The peer's end of the stream came without its close_notify: something may be missing."""

    code, http_status, retryable = "native_tls_cut", 503, True


class PeerCertificateExpired(NativeError):
    """The peer's certificate is out of its time."""

    code, http_status = "native_cert_expired", 503


class PeerCertificateName(NativeError):
    """The peer's certificate is for another host."""

    code, http_status = "native_cert_name", 503


class PeerCertificateUnknown(NativeError):
    """The peer's certificate is not signed by an authority that we trust."""

    code, http_status = "native_cert_unknown", 503


class PeerCertificateMissing(NativeError):
    """The peer showed no certificate, and must."""

    code, http_status = "native_cert_missing", 503


class OwnCertificateRefused(NativeError):
    """The peer does not accept our certificate, or wants one that we have not."""

    code, http_status = "native_cert_refused", 503


class AbiMismatch(ConstellationError):
    """The extension and the core it was linked with are of different builds."""

    code = "native_abi"

    def __init__(self, *, compiled: int, linked: int) -> None:
        super().__init__(f"C core: header version {compiled}, library version {linked}; run `make build`")


BY_NUMBER: dict[int, type[NativeError]] = {
    _lib.CT_E_MORE: InputIncomplete,
    _lib.CT_E_TOOBIG: LengthOverLimit,
    _lib.CT_E_MALFORMED: InputMalformed,
    _lib.CT_E_DEPTH: NestedTooDeep,
    _lib.CT_E_NOSPACE: BufferTooSmall,
    _lib.CT_E_RANGE: ValueOutOfRange,
    _lib.CT_E_UNSUPPORTED: HostUnsupported,
    _lib.CT_E_THREADS: ManyThreads,
    _lib.CT_E_FULL: TableFull,
    _lib.CT_E_TIMEOUT: SetupTimeout,
    _lib.CT_E_DIED: ChildDied,
    _lib.CT_E_TLS: TlsFailed,
    _lib.CT_E_TLS_CUT: TlsCut,
    _lib.CT_E_CERT_EXPIRED: PeerCertificateExpired,
    _lib.CT_E_CERT_NAME: PeerCertificateName,
    _lib.CT_E_CERT_UNKNOWN: PeerCertificateUnknown,
    _lib.CT_E_CERT_MISSING: PeerCertificateMissing,
    _lib.CT_E_CERT_REFUSED: OwnCertificateRefused,
}


def describe(number: int) -> str:
    """Return one line for an `enum ct_err` or a negative errno."""
    text: bytes = _ffi.string(_lib.ct_strerror(number))
    return text.decode()


def error_of(what: str, number: int) -> NativeError | OSError:
    """Return the exception of a negative result: ours by its class, a negative errno as the OSError it stands for."""
    kind = BY_NUMBER.get(number)
    if kind is not None:
        return kind(what, number)
    return OSError(-number, f"{what}: {os.strerror(-number)}")


def checked(what: str, result: int) -> int:
    """Return a result that is 0 or a count.

    Raises:
        NativeError, OSError: the result is negative.
    """
    if result < 0:
        raise error_of(what, result)
    return result
