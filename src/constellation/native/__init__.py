"""The only door to the C core: nothing else imports `_core`, and no C pointer leaves this package."""

from __future__ import annotations

from pathlib import Path

from constellation.native._core import lib as _lib
from constellation.native.errors import AbiMismatch

_LIBEXEC = Path(__file__).parent / "libexec"

if _lib.ct_abi_version() != _lib.CT_ABI_VERSION:
    raise AbiMismatch(compiled=_lib.CT_ABI_VERSION, linked=_lib.ct_abi_version())


def libexec_path(name: str) -> Path:
    """Return where a helper of ours is: "ct-zygote", "ct-guest", "ct-build", "ct-wasm", "ct_fork.abi3.so" or "ct_r.so".

    Raises:
        FileNotFoundError: it was not built (`make build`).
    """
    path = _LIBEXEC / name
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not built; run `make build`")
    return path
