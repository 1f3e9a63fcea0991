"""How PHP runs: the command line interpreter, with the host's extensions."""

from __future__ import annotations

from pathlib import Path

from constellation.comet.runtimes.recipe import executed
from constellation.nova.domain.runtimes import PHP

_SETTINGS = {
    "memory_limit": "-1",  # the sandbox has one
    "max_execution_time": "0",
    "display_errors": "1",  # printed, and so in the log of the call
    "log_errors": "0",
    "html_errors": "0",
    "output_buffering": "0",
    "auto_prepend_file": "",
    "auto_append_file": "",
}

RUNTIME = executed(
    PHP,
    Path(__file__).parent,
    worker="worker.php",
    flags=tuple(part for name, value in _SETTINGS.items() for part in ("-d", f"{name}={value}")),
    oldest=(8, 1),  # readonly, never, first-class callables
    host_binds=("/etc/php",),  # which extensions it loads
    hello="hello.php",
)
