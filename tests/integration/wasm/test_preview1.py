"""Node's test programs of WASI preview 1, as they were published, as functions.

They look for their files in /sandbox, and find the function's own: /code/./ is as long a path, and is put in its place.
"""

from __future__ import annotations

import json
import subprocess
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
    "cant_dotdot", "clock_getres", "fd_prestat_get_refresh", "ftruncate", "getentropy", "getrusage", "gettimeofday", "main_args",
    "notdir", "poll", "preopen_populates", "sock", "stat", "symlink_escape", "symlink_loop", "write_file",
]  # fmt: skip
IN_TMP = "link"  # it links a file of /sandbox into /tmp: both are the call's /tmp then, where its file was put
# What they assert at last contradicts the suite of WASI's own subgroup, whose readdir.rs and readlink.rs assert the opposite.
OTHERWISE = {
    "readdir": "cnt == 4",  # . and .. are not to be listed
    "create_symlink": "readlink(linkpath, readlink_result, result_size) == strlen(target) + 1",  # the link ends with NUL
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


async def test_a_program_that_links_files_in_its_tmp(rig, programs):
    code_dir = rig.code(_published(programs, IN_TMP, sandbox=b"/tmp/./."))
    async with rig.started(code_dir, handler="foo.handle") as instance:
        assert (await instance.invoke(call())).log.text.startswith(
            "Assertion failed: 0 == stat(OLD"
        )  # and leaves a /tmp
        _put_into_tmp(rig, "input.txt", (programs / "fixtures" / "wasi" / "input.txt").read_bytes())
        outcome = await instance.invoke(call())
    assert (outcome.error, outcome.log.text) == (None, "")


async def test_a_program_that_makes_a_link_up_to_what_is_otherwise(rig, programs):
    code_dir = rig.code(
        _published(programs, "create_symlink", sandbox=b"/tmp/./.").replace(b"/subdir/test_link", b"/././././././link")
    )
    async with rig.started(code_dir, handler="foo.handle") as instance:
        outcome = await instance.invoke(call())
    assert outcome.log.text.startswith(f"Assertion failed: {OTHERWISE['create_symlink']} ")


async def test_a_program_that_lists_up_to_what_is_otherwise(rig, programs):
    _, log, _ = await _run(rig, programs, "readdir")
    assert log.startswith(f"Assertion failed: {OTHERWISE['readdir']} ")


def _published(programs, name, *, sandbox):
    return (programs / "wasi" / "wasm" / f"{name}.wasm").read_bytes().replace(b"/sandbox", sandbox)


def _put_into_tmp(rig, name, content):
    """Put a file into the /tmp that the worker keeps for the next call, as its user, when nothing was made in it."""
    for kept in Path(f"/proc/{rig.backend.worker_pids['acme']}/root/tmp").glob(".call-*"):
        owner = kept.stat()
        tee = ["tee", name]
        subprocess.run(
            tee, cwd=kept, input=content, stdout=subprocess.DEVNULL, user=owner.st_uid, group=owner.st_gid, check=True, timeout=10
        )  # fmt: skip


async def _run(rig, programs, name):
    code_dir = rig.code(_published(programs, name, sandbox=b"/code/./"))
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
    assert published == {*SILENT, *STDOUT, *EXIT, *OTHERWISE, IN_TMP}
