"""Files that appear where somebody else may have put something already."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO


def new_file(path: Path, *, mode: int) -> BinaryIO:
    """Open a new file for writing, with this mode whatever the umask is: never one that is there, nor through a link.

    Raises:
        OSError: something has that name, or there is no such directory.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    os.fchmod(fd, mode)
    return os.fdopen(fd, "wb")
