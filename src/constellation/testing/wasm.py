"""Modules in text for tests of WebAssembly, compiled outside of a sandbox, and a backend to run them in."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from constellation.comet.namespace.backend import NamespaceBackend
from constellation.comet.namespace.settings import NamespaceSettings
from constellation.comet.runtimes.wasm.recipe import library
from constellation.comet.wasm.backend import WasmBackend
from constellation.comet.wasm.settings import WasmSettings
from constellation.native import libexec_path
from constellation.native.link import Links
from constellation.native.reactor import Reactor

# $event: where the event lies, $read: take it and return its length, $write: to a descriptor, $sleep: nanoseconds.
_PRELUDE = """(module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (memory (export "memory") 100)
  (global $event i32 (i32.const 65536))
  (func $read (result i32)
    (local $length i32)
    (loop $more
      (i32.store (i32.const 0) (i32.add (global.get $event) (local.get $length)))
      (i32.store (i32.const 4) (i32.const 65536))
      (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
      (local.set $length (i32.add (local.get $length) (i32.load (i32.const 8))))
      (br_if $more (i32.load (i32.const 8))))
    (local.get $length))
  (func $write (param $fd i32) (param $at i32) (param $length i32)
    (loop $more
      (i32.store (i32.const 0) (local.get $at))
      (i32.store (i32.const 4) (local.get $length))
      (if (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))
      (local.set $at (i32.add (local.get $at) (i32.load (i32.const 8))))
      (local.set $length (i32.sub (local.get $length) (i32.load (i32.const 8))))
      (br_if $more (local.get $length))))
  (func $sleep (param $ns i64)
    (memory.fill (i32.const 32) (i32.const 0) (i32.const 48))
    (i32.store (i32.const 48) (i32.const 1))
    (i64.store (i32.const 56) (local.get $ns))
    (if (call $poll_oneoff (i32.const 32) (i32.const 128) (i32.const 1) (i32.const 8)) (then unreachable)))
"""


def module(body: str, *, imports: Mapping[str, str] | None = None) -> str:
    """Return a module with the prelude's functions and this body; its own data lies from 256 on.

    Args:
        imports: more functions of WASI, by name, with their types.
    """
    more = (
        f'(import "wasi_snapshot_preview1" "{name}" (func ${name} {kind}))' for name, kind in (imports or {}).items()
    )
    return _PRELUDE.replace("(module", "\n".join(("(module", *more)), 1) + f"{body})\n"


def command(*statements: str, parts: str = "", imports: Mapping[str, str] | None = None) -> str:
    """Return a module that does this when it is called; $n and $m are its variables."""
    return module(
        f'{parts}\n(func (export "_start") (local $n i32) (local $m i32) {" ".join(statements)})', imports=imports
    )


def compile_into(code_dir: Path, source: str | bytes) -> None:
    """Make of a module's source what a build leaves: the code directory of a function.

    Raises:
        ValueError: with what the compiler says.
    """
    (code_dir / "files").mkdir(parents=True)
    (code_dir / "files").chmod(0o755)
    text = code_dir / "files" / "main.wasm"
    text.write_bytes(source.encode() if isinstance(source, str) else source)
    done = subprocess.run(
        [str(libexec_path("ct-wasm")), str(library().path), "compile", str(text), str(code_dir)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise ValueError(done.stderr)


@asynccontextmanager
async def running_wasm(sandboxes: NamespaceSettings, settings: WasmSettings) -> AsyncIterator[WasmBackend]:
    """Run a wasm backend, and the namespace backend below it, for the length of the block."""
    reactor = Reactor()
    with reactor.turning():
        links = Links(reactor)
        namespace = NamespaceBackend(sandboxes, links)
        backend = WasmBackend(settings, links, namespace)
        async with namespace.run(), backend.run():
            yield backend
