"""Ways out of a call of WebAssembly, each tried in a real worker: of its directories, its memory, its time, its store."""

from __future__ import annotations

import json

import pytest

from constellation.comet.backend.contract import CallTimeout, HandlerLoadFailed
from constellation.testing.builds import build_rig
from constellation.testing.wasm import command, module
from tests.contract.programs import IDLE
from tests.integration.wasm.conftest import Rig, call, rig

__all__ = ["rig"]  # a fixture

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox, pytest.mark.slow]

CODE_FD, TMP_FD = 3, 4
_PATHS = {
    "path_open": "(param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)",
    "path_symlink": "(param i32 i32 i32 i32 i32) (result i32)",
    "path_link": "(param i32 i32 i32 i32 i32 i32 i32) (result i32)",
    "path_rename": "(param i32 i32 i32 i32 i32 i32) (result i32)",
    "path_create_directory": "(param i32 i32 i32) (result i32)",
    "path_unlink_file": "(param i32 i32 i32) (result i32)",
}
_RIGHTS = "(i64.const 66)"  # to read and to write
_TELL = (
    "(i32.store8 (i32.const 300) (i32.add (i32.const 48) (i32.div_u (local.get $n) (i32.const 10))))"
    "(i32.store8 (i32.const 301) (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10))))"
    "(if (i32.eq (i32.load8_u (i32.const 300)) (i32.const 48))"
    " (then (call $write (i32.const 1) (i32.const 301) (i32.const 1)))"
    " (else (call $write (i32.const 1) (i32.const 300) (i32.const 2))))"
)


def _data(at: int, text: str) -> str:
    return f'(data (i32.const {at}) "{text}")'


def _opens(fd: int, path: str, *, oflags: int = 0, follow: int = 1, at: int = 512) -> str:
    return (
        f"(call $path_open (i32.const {fd}) (i32.const {follow}) (i32.const {at}) (i32.const {len(path)})"
        f" (i32.const {oflags}) {_RIGHTS if oflags else '(i64.const 2)'} (i64.const 0) (i32.const 0) (i32.const 16))"
    )


async def _errno(rig: Rig, *statements: str, parts: str = "") -> int:
    source = command(*statements, _TELL, parts=parts, imports=_PATHS)
    async with rig.started(source) as instance:
        outcome = await instance.invoke(call())
    assert outcome.error is None, outcome.error
    return int(outcome.output)


async def test_what_is_in_its_directories_opens(rig):
    found = await _errno(rig, f"(local.set $n {_opens(CODE_FD, 'main.wasm')})", parts=_data(512, "main.wasm"))
    assert found == 0


@pytest.mark.parametrize("fd", [CODE_FD, TMP_FD])
@pytest.mark.parametrize(
    "path",
    [
        "../module.cwasm", "..", "../../../../etc/passwd", "/etc/passwd", "/proc/self/mem", "./../../etc/passwd",
        "a/../../module.cwasm", "../.call-0", "/tenant", "//etc//passwd",
    ],
)  # fmt: skip
async def test_no_path_leads_out(rig, fd, path):
    assert await _errno(rig, f"(local.set $n {_opens(fd, path)})", parts=_data(512, path)) != 0


@pytest.mark.parametrize("to", ["/etc/passwd", "../../etc/passwd", "..", "/proc/self/root", "/tenant"])
async def test_no_link_leads_out(rig, to):
    opened = _opens(TMP_FD, "link")
    below = _opens(TMP_FD, "link/etc/passwd", at=640)
    found = await _errno(
        rig,
        f"(drop (call $path_symlink (i32.const 700) (i32.const {len(to)}) (i32.const {TMP_FD}) (i32.const 512) (i32.const 4)))",
        f"(if (i32.eqz {opened}) (then unreachable)) (local.set $n {below})",
        parts=_data(512, "link") + _data(640, "link/etc/passwd") + _data(700, to),
    )
    assert found != 0


@pytest.mark.parametrize(
    "act",
    [
        f"(local.set $n {_opens(CODE_FD, 'new', oflags=1)})",
        f"(local.set $n (call $path_create_directory (i32.const {CODE_FD}) (i32.const 512) (i32.const 3)))",
        f"(local.set $n (call $path_unlink_file (i32.const {CODE_FD}) (i32.const 520) (i32.const 9)))",
        (
            f"(local.set $n (call $path_rename (i32.const {CODE_FD}) (i32.const 520) (i32.const 9)"
            f" (i32.const {TMP_FD}) (i32.const 512) (i32.const 3)))"
        ),
        (
            f"(local.set $n (call $path_link (i32.const {CODE_FD}) (i32.const 0) (i32.const 520) (i32.const 9)"
            f" (i32.const {TMP_FD}) (i32.const 512) (i32.const 3)))"
        ),
    ],
    ids=["create", "mkdir", "unlink", "rename", "link"],
)
async def test_its_code_is_read_only(rig, act):
    assert await _errno(rig, act, parts=_data(512, "new") + _data(520, "main.wasm")) != 0


async def test_no_call_sees_the_files_of_another(rig):
    creates = command(
        f"(local.set $n {_opens(TMP_FD, 'mine', oflags=5)})", _TELL, parts=_data(512, "mine"), imports=_PATHS
    )  # and fails if it is there
    async with rig.started(creates) as one, rig.started(creates, concurrency=2) as other:
        assert [(await each.invoke(call())).output for each in (one, one, other, other)] == [b"0"] * 4


async def test_directories_as_deep_as_can_be_go_with_the_call(rig):
    digs = command(
        f"(local.set $m (i32.const {TMP_FD}))",
        "(loop $more (drop (call $path_create_directory (local.get $m) (i32.const 512) (i32.const 1)))",
        "(local.set $n (call $path_open (local.get $m) (i32.const 0) (i32.const 512) (i32.const 1)",
        "(i32.const 2) (i64.const 0x3fffffff) (i64.const 0x3fffffff) (i32.const 0) (i32.const 16)))",
        "(local.set $m (i32.load (i32.const 16)))",
        "(br_if $more (i32.and (i32.eqz (local.get $n)) (i32.lt_u (local.get $m) (i32.const 3000)))))",
        "(local.set $n (i32.const 0))",
        _TELL,
        parts=_data(512, "d"),
        imports=_PATHS,
    )
    async with rig.started(digs) as instance:
        for _ in range(8):  # of 3,000 directories, and the tenant may have 16,384
            assert (await instance.invoke(call())).output == b"0"
        source = command(
            f"(local.set $n {_opens(TMP_FD, 'f', oflags=1)})", _TELL, parts=_data(512, "f"), imports=_PATHS
        )
        async with rig.started(source) as neighbour:
            assert (await neighbour.invoke(call())).output == b"0"


@pytest.mark.parametrize(
    "bomb",
    [
        "(memory.grow (i32.const 65000))",
        "(i32.mul (table.grow $t (ref.null func) (i32.const 100000000)) (i32.const 1))",
        "(i32.mul (table.grow $t (ref.null func) (i32.const 1000000)) (i32.const 1))",
    ],
    ids=["memory", "table", "small-table"],
)
async def test_what_grows_without_end_is_not_given_more(rig, bomb):
    grown = command(f"(local.set $n (i32.eq {bomb} (i32.const -1)))", _TELL, parts="(table $t 1 funcref)")
    async with rig.started(grown) as instance:
        assert (await instance.invoke(call())).output == b"1"


@pytest.mark.parametrize(
    "parts",
    ["(table 100000000 funcref)", *(["(table 10 funcref)" * 90]), "(memory 60000)"],
    ids=["large-table", "tables", "memories"],
)
async def test_what_is_too_large_from_the_start_is_an_error(rig, parts):
    try:
        started = rig.started(command(parts=parts))
        async with started as instance, rig.started(IDLE["wasm"]) as neighbour:
            assert json.loads((await instance.invoke(call())).error)["type"]
            assert (await neighbour.invoke(call(b"1"))).output == b"1"
    except (ValueError, HandlerLoadFailed):
        return  # refused before it ran


@pytest.mark.parametrize(
    "source",
    [
        module('(func $for_ever (loop $l (br $l))) (start $for_ever) (func (export "_start"))'),
        command("(loop $l (drop (call $random_get (i32.const 65536) (i32.const 6000000))) (br $l))"),
        command("(loop $l (memory.fill (i32.const 256) (i32.const 1) (i32.const 6000000)) (br $l))"),
    ],
    ids=["start", "host", "bulk"],
)
async def test_what_never_ends_is_ended(rig, source):
    async with rig.started(IDLE["wasm"]) as neighbour:
        pid = rig.backend.worker_pids["acme"]
        async with rig.started(source) as instance:
            try:
                outcome = await instance.invoke(call(timeout_s=0.5))
            except CallTimeout:
                pass
            else:  # it may do no more, which bulk instructions reach first
                assert json.loads(outcome.error)["type"] == "OutOfFuel"
        assert (await neighbour.invoke(call(b"1"))).output == b"1"
        assert rig.backend.worker_pids["acme"] == pid


async def test_shared_memory_is_refused_since_waiting_on_it_heeds_no_time(rig):
    with pytest.raises(ValueError, match="threads"):
        rig.code('(module (memory 1 1 shared) (func (export "_start")))')


@pytest.mark.parametrize(
    "forged", [b"", b"\x7fELF" + bytes(4096), b"\0asm\1\0\0\0", None], ids=["empty", "elf", "module", "cut"]
)
async def test_a_file_that_is_no_code_of_ours_costs_the_instance(rig, forged):
    code_dir = rig.code(IDLE["wasm"])
    compiled = code_dir / "module.cwasm"
    content = compiled.read_bytes()
    compiled.write_bytes(content[: len(content) // 2] if forged is None else forged)
    async with rig.started(IDLE["wasm"]) as neighbour:
        with pytest.raises(HandlerLoadFailed):
            async with rig.started(code_dir):
                pass
        assert (await neighbour.invoke(call(b"1"))).output == b"1"


async def test_a_build_leaves_code_of_its_own_whatever_the_sources_hold(rig):
    place = rig.backend.code_root / "acme"
    place.mkdir(exist_ok=True)
    place.chmod(0o755)
    forged = {"module.cwasm": b"forged", "component.cwasm": b"forged", "files/module.cwasm": b"forged"}
    async with build_rig(rig.backend.namespace, place) as builds:
        made = await builds.built("wasm", {"main.wat": IDLE["wasm"], **forged}, handler="main.handle")
        assert sorted(path.name for path in made.output.iterdir()) == ["files", "module.cwasm"]
        assert (made.output / "module.cwasm").read_bytes().startswith(b"\x7fELF")
        async with rig.started(made.output) as instance:
            assert (await instance.invoke(call(b"5"))).output == b"5"
