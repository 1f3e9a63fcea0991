"""How Perl runs."""

from __future__ import annotations

from pathlib import Path

from constellation.comet.runtimes.recipe import executed
from constellation.nova.domain.runtimes import PERL

RUNTIME = executed(
    PERL,
    Path(__file__).parent,
    worker="worker.pl",
    oldest=(5, 36),  # what is true, and what is a number
    host_binds=("/etc/perl",),
    hello="hello.pl",
    out_of_memory_texts=(b"Out of memory",),
)
