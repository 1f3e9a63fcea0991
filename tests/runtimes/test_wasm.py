"""The situations of the other languages in WebAssembly, built as its functions are, on both backends that run it."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import anyio
import pytest

from constellation.base.ids import uuid7
from constellation.comet.backend.contract import Call, CallTimeout, OutputInvalid
from constellation.comet.builds.contract import BuildFailed
from constellation.comet.namespace.settings import NamespaceSettings, group_name
from constellation.comet.runtimes.registry import KNOWN
from constellation.comet.wasm.settings import WasmSettings
from constellation.testing.builds import build_rig
from constellation.testing.wasm import command, module, running_wasm
from tests.contract.programs import ECHO, FLOOD, IDLE, PIECES, SPINS
from tests.runtimes.conftest import COMPILED, there

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.sandbox,
    pytest.mark.slow,
    pytest.mark.skipif("wasm" not in COMPILED, reason="this run is about other languages"),
]
HELLO = next(runtime.hello for runtime in KNOWN if runtime.id == "wasm").read_text()
EXAMPLE = Path(__file__).parents[2] / "examples" / "crc32-wasm"


@pytest.fixture(scope="module", params=["namespace", "wasm"])
async def builds(request, anyio_backend, tmp_path_factory):
    """Builds wasm, and runs it on one of the backends."""
    data_dir = tmp_path_factory.mktemp("platform")
    place = data_dir / "code" / "acme"
    place.mkdir(parents=True)
    for directory in (data_dir, place.parent, place):
        directory.chmod(0o755)
    sandboxes = NamespaceSettings(run_dir=data_dir / "run", group=group_name(data_dir))
    async with running_wasm(sandboxes, WasmSettings(code_root=place.parent)) as backend:
        if not backend.support().available:
            pytest.skip(backend.support().reason)
        there("wasm", backend.namespace.runtimes.missing)
        async with build_rig(backend.namespace, place) as rig:
            if request.param == "wasm":
                rig.backend = backend
            yield rig


def _call(payload: bytes = b"null", *, timeout_s: float = 20) -> Call:
    return Call(request_id=uuid7(), payload=payload, timeout_s=timeout_s)


async def _built(builds, source):
    return await builds.built("wasm", {"main.wat": source}, handler="main.handle")


async def test_hello(builds):
    async with builds.running(await _built(builds, HELLO)) as instance:
        for event, name in ((b'{"name":"Ada"}', "Ada"), (b"{}", "world"), ('{"x":1,"name": "Zoë"}'.encode(), "Zoë")):
            assert json.loads((await instance.invoke(_call(event))).output) == {"message": f"Hello, {name}!"}


async def test_the_example(builds):
    event = (EXAMPLE / "event.json").read_bytes()
    expected = f"{zlib.crc32(event.strip()[1:-1]):08x}"
    async with builds.running(await _built(builds, (EXAMPLE / "main.wat").read_text())) as instance:
        assert json.loads((await instance.invoke(_call(event))).output) == {"crc32": expected}
        outcome = await instance.invoke(_call(b"7"))
        assert json.loads(outcome.error)["message"] == "exit status 1"
        assert outcome.log.text == "the event has no text\n"


async def test_error_with_the_way_there(builds):
    source = module('(func $deep unreachable) (func (export "_start") (call $deep))')
    async with builds.running(await _built(builds, source)) as instance:
        error = json.loads((await instance.invoke(_call())).error)
        assert error["type"] == "Trap"
        assert "deep" in error["stack"].splitlines()[0]


async def test_print_flood_is_cut(builds):
    async with builds.running(await _built(builds, FLOOD["wasm"]), log_limit_bytes=9999) as instance:
        outcome = await instance.invoke(_call())
        assert (outcome.output, outcome.log.truncated) == (b"1", True)
        assert 9000 < len(outcome.log.text) <= 9999


async def test_timeout(builds):
    async with builds.running(await _built(builds, SPINS["wasm"])) as instance:
        with pytest.raises(CallTimeout):
            await instance.invoke(_call(timeout_s=0.3))


async def test_big_payload_and_unicode(builds):
    text = json.dumps("\u2603abc" * (1 << 19), ensure_ascii=False).encode()
    async with builds.running(await _built(builds, IDLE["wasm"])) as instance:
        assert (await instance.invoke(_call(text))).output == text


async def test_what_is_no_json_is_refused(builds):
    says = command("(call $write (i32.const 1) (i32.const 256) (i32.const 2))", parts='(data (i32.const 256) "hi")')
    async with builds.running(await _built(builds, says)) as instance:
        with pytest.raises(OutputInvalid):
            await instance.invoke(_call())


async def test_stream(builds):
    async with builds.running(await _built(builds, PIECES["wasm"])) as instance, instance.stream(_call()) as stream:
        assert [piece async for piece in stream] == [b'{"i":0}', b'{"i":1}', b'{"i":2}']
        assert stream.outcome.error is None


async def test_twenty_calls_at_a_time(builds):
    answers = {}
    async with builds.running(await _built(builds, ECHO["wasm"]), concurrency=20) as instance:

        async def ask(number):
            answers[number] = json.loads((await instance.invoke(_call(str(number).encode()))).output)

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(ask, number)
    assert answers == {number: {"got": number} for number in range(20)}


async def test_new_code_is_another_module(builds):
    for source, output in ((IDLE, b"1"), (ECHO, b'{"got":1}')):
        async with builds.running(await _built(builds, source["wasm"])) as instance:
            assert (await instance.invoke(_call(b"1"))).output == output


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"main.wat": "(module (func (i32.add)))"}, "type mismatch"),
        ({"main.wat": "(modul"}, "expected"),
        ({"main.wasm": b"\0asm\1\0\0\0\xff"}, "malformed section id"),
        ({"other.wat": IDLE["wasm"]}, "there is no main.wasm and no main.wat"),
    ],
    ids=["types", "text", "binary", "absent"],
)
async def test_what_does_not_compile_is_told(builds, files, told):
    with pytest.raises(BuildFailed) as failed:
        await builds.built("wasm", files, handler="main.handle")
    assert told in failed.value.reason
