"""The page that a worker on this host shares with us, so that small frames need no socket (native/src/link/mail)."""

from __future__ import annotations

from typing import Any

from constellation.native import _core
from constellation.native.errors import checked

_lib, _ffi = _core.lib, _core.ffi


class Mail:
    """A page and its bell; the link's, once it is given to one.

    Raises:
        OSError, MemoryError
    """

    def __init__(self) -> None:
        out = _ffi.new("ct_mail **")
        checked("mail", _lib.ct_mail_new(out))
        self._handle: Any = out[0]  # None once given or closed

    @property
    def page_fd(self) -> int:
        """For the sandbox that is made; not ours any more once sealed."""
        return int(_lib.ct_mail_page_fd(self._handle))

    @property
    def bell_fd(self) -> int:
        return int(_lib.ct_mail_bell_fd(self._handle))

    def seal(self) -> None:
        """Fix its size and place, once the worker has mapped it and before it runs anybody's code.

        Raises:
            OSError
        """
        checked("mail", _lib.ct_mail_seal(self._handle))

    def give(self) -> Any:
        """Return the `ct_mail *`, which is the caller's now; for this package alone."""
        handle, self._handle = self._handle, None
        return handle

    def close(self) -> None:
        """Give it back; may be repeated."""
        handle = self.give()
        if handle is not None:
            _lib.ct_mail_free(handle)
