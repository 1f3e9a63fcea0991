"""nftables, by its own library.

pyroute2 speaks to the same kernel interface, but its sets hold single keys alone: no map from a source to what is decided
of it, no element of several fields. libnftables carries out a text of many commands as one transaction, in a millisecond;
the `nft` program does the same at the price of a process each time.
"""

from __future__ import annotations

import ctypes
import json

from constellation.base.errors import ConstellationError

_LIBRARY = "libnftables.so.1"
_JSON = 1 << 4  # NFT_CTX_OUTPUT_JSON


class NftFailed(ConstellationError):
    """The library is not there, or the kernel refused; nothing was changed."""

    code, http_status = "nft_failed", 503

    def __init__(self, reason: str) -> None:
        super().__init__(f"nftables: {reason}")


class Nft:
    """A connection to the network namespace of the thread that makes it, which later callers need not be in.

    One caller at a time. A table with the flag `owner` goes when this is closed, however the process ends.
    """

    def __init__(self) -> None:
        try:
            lib = ctypes.CDLL(_LIBRARY)
        except OSError as error:
            raise NftFailed(f"{_LIBRARY} is not installed (Debian: libnftables1)") from error
        for name in ("nft_ctx_buffer_output", "nft_ctx_buffer_error", "nft_ctx_free"):
            getattr(lib, name).argtypes = [ctypes.c_void_p]
        lib.nft_ctx_new.argtypes, lib.nft_ctx_new.restype = [ctypes.c_uint32], ctypes.c_void_p
        lib.nft_ctx_get_error_buffer.argtypes = [ctypes.c_void_p]
        lib.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
        lib.nft_ctx_get_output_buffer.argtypes = [ctypes.c_void_p]
        lib.nft_ctx_get_output_buffer.restype = ctypes.c_char_p
        lib.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
        lib.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        self._lib = lib
        self._context = lib.nft_ctx_new(0)
        if not self._context:
            raise NftFailed("no memory")
        lib.nft_ctx_buffer_output(self._context)
        lib.nft_ctx_buffer_error(self._context)

    def run(self, text: str) -> None:
        """Carry out all commands of a text, or none.

        Raises:
            NftFailed
        """
        if self._lib.nft_run_cmd_from_buffer(self._context, text.encode()) != 0:
            said = self._lib.nft_ctx_get_error_buffer(self._context).decode("utf-8", "replace")
            raise NftFailed(_brief(said))

    def chains(self) -> list[dict[str, object]]:
        """Return what there is to know of every chain, without its rules.

        Raises:
            NftFailed
        """
        self._lib.nft_ctx_output_set_flags(self._context, _JSON)
        self.run("list chains")
        said = json.loads(self._lib.nft_ctx_get_output_buffer(self._context))
        return [each["chain"] for each in said["nftables"] if "chain" in each]

    def close(self) -> None:
        if self._context:
            self._lib.nft_ctx_free(self._context)
            self._context = None


def _brief(said: str) -> str:
    """Return what was said of the first command that failed: the reason, and the command."""
    reason, _, rest = said.partition("\n")
    command = rest.partition("\n")[0].strip()
    return f"{reason.removeprefix('Error: ') or 'refused'} ({command})" if command else reason
