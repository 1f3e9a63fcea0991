"""How Ruby runs: without RubyGems until something names them, which takes 10 ms instead of 60."""

from __future__ import annotations

from pathlib import Path

from constellation.comet.runtimes.recipe import executed
from constellation.nova.domain.runtimes import RUBY

RUNTIME = executed(
    RUBY,
    Path(__file__).parent,
    worker="worker.rb",
    flags=("--disable-gems",),
    oldest=(3, 1),  # Process._fork
    hello="hello.rb",
    out_of_memory_texts=(b"failed to allocate memory",),
)
