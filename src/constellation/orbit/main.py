"""The command `orbit`."""

from __future__ import annotations

import os
import sys

from constellation.orbit.app import app
from constellation.orbit.failures import Exit


def main() -> None:
    """Run one command and exit with its code."""
    try:
        app()
    except Exception as error:  # the last supervision point: nobody who deploys a function should read our traceback
        if os.environ.get("ORBIT_DEBUG"):
            raise
        told = f"error: orbit failed on its own: {type(error).__name__}: {error}\nORBIT_DEBUG=1 shows where.\n"
        sys.stderr.write(told)
        sys.exit(int(Exit.BUG))


if __name__ == "__main__":
    main()
