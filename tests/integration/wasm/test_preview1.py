"""Node's test programs of WASI preview 1, as they were published, as functions.

They look for their files in /sandbox, and find the function's own: /code/./ is as long a path, and is put in its place.
"""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import pytest

from constellation.testing.preview1 import ProgramsUnreachable, programs_in
from tests.integration.wasm.conftest import call

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox, pytest.mark.slow, pytest.mark.timeout(400)]
BUILD = Path(__file__).parents[3] / "native" / "build"
ARGS = "-bar --baz=value"
STDOUT = {
    "freopen": b"hello from input2.txt\n",
    "read_file": b"hello from input.txt\n",
    "read_file_twice": b"hello from input.txt\n" * 2,
    "stdin": b"hello world",
    "follow_symlink": b"hello from input.txt\n",
}
EXIT = {"exitcode": 120}
SILENT = [
    "clock_getres", "fd_prestat_get_refresh", "ftruncate", "getentropy", "getrusage", "gettimeofday", "main_args",
    "notdir", "poll", "preopen_populates", "stat", "symlink_loop", "write_file",
]  # fmt: skip
# What they assert last is Node's own, and the library's answer another: it refuses with EPERM, and lists . and .. too.
OTHERWISE = {"cant_dotdot": "errno == ENOTCAPABLE", "symlink_escape": "errno == ENOTCAPABLE", "readdir": "cnt == 4"}
NOT_HERE = {
    "create_symlink": "writes beside the function's code, which is read-only",
    "link": "links the function's code into its /tmp, which is another file system",
    "sock": "needs sockets",
}


@pytest.fixture(scope="module")
async def programs() -> Path:
    BUILD.mkdir(exist_ok=True)
    try:
        return await anyio.to_thread.run_sync(programs_in, BUILD)
    except ProgramsUnreachable as error:
        pytest.skip(str(error))


def _placed(code_dir: Path, programs: Path) -> None:
    """Lay the files out that the programs read, with the links that their runner makes."""
    files = code_dir / "files"
    subdir = files / "subdir"
    subdir.mkdir()
    subdir.chmod(0o755)
    for path in (programs / "fixtures" / "wasi").rglob("*"):
        target = files / path.relative_to(programs / "fixtures" / "wasi")
        if path.is_file():
            target.write_bytes(path.read_bytes())
    (subdir / "input_link.txt").symlink_to("../input.txt")
    (files / "main.wasm").unlink()  # no file of theirs: readdir counts
    (files.parent / "outside.txt").write_text("this should be inaccessible")
    (subdir / "outside.txt").symlink_to("../../outside.txt")
    (subdir / "loop1").symlink_to("loop2")
    (subdir / "loop2").symlink_to("loop1")


@pytest.mark.parametrize("name", [*SILENT, *STDOUT, *EXIT])
async def test_program(rig, programs, name):
    ended, log, said = await _run(rig, programs, name)
    expected = f"exit status {EXIT[name]}" if name in EXIT else None
    assert (ended, log, said) == (expected, "", STDOUT.get(name, b""))


@pytest.mark.parametrize("name", OTHERWISE)
async def test_program_up_to_what_is_otherwise(rig, programs, name):
    _, log, _ = await _run(rig, programs, name)
    assert log.startswith(f"Assertion failed: {OTHERWISE[name]} ")


async def _run(rig, programs, name):
    published = (programs / "wasi" / "wasm" / f"{name}.wasm").read_bytes()
    code_dir = rig.code(published.replace(b"/sandbox", b"/code/./"))
    _placed(code_dir, programs)
    async with (
        rig.started(code_dir, handler="foo.handle", env={"WASM_ARGS": ARGS, "NODE_PLATFORM": "linux"}) as instance,
        instance.stream(call(b"hello world")) as stream,
    ):
        said = b"".join([piece async for piece in stream])
    outcome = stream.outcome
    return None if outcome.error is None else json.loads(outcome.error)["message"], outcome.log.text, said


async def test_no_published_program_is_left_out_unnamed(programs):
    published = {path.stem for path in (programs / "wasi" / "wasm").glob("*.wasm")}
    assert published == {*SILENT, *STDOUT, *EXIT, *OTHERWISE, *NOT_HERE}
