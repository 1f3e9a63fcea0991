"""What builds which runtime."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from constellation.comet.builds.toolchain import Toolchain
from constellation.comet.runtimes.c.recipe import TOOLCHAIN as C
from constellation.comet.runtimes.go.recipe import TOOLCHAIN as GO
from constellation.comet.runtimes.rust.recipe import TOOLCHAIN as RUST

TOOLCHAINS: Mapping[str, Toolchain] = MappingProxyType({toolchain.runtime: toolchain for toolchain in (C, GO, RUST)})
