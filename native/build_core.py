"""Build `constellation.native._core`: the C core as a cffi extension (API mode), from the one header both sides read."""

from pathlib import Path

from cffi import FFI

HERE = Path(__file__).parent
HEADER = (HERE / "include" / "ct_abi.h").read_text()

ffi = FFI()
ffi.cdef(HEADER)
ffi.set_source(
    "constellation.native._core",
    '#include "base/abi.h"',
    include_dirs=[str(HERE / "include"), str(HERE / "src")],
    extra_objects=[str(HERE / "build" / "libct.a")],
    libraries=["nghttp2", "ssl", "crypto"],
    depends=[str(HERE / "build" / "libct.a"), str(HERE / "include" / "ct_abi.h")],
    extra_compile_args=["-std=gnu11", "-O2"],
)
