"""The one header, as both sides read it."""

from __future__ import annotations

import dataclasses
import errno
from pathlib import Path

import pytest

import constellation.native
from constellation.native import _core, errors, libexec_path
from constellation.native.link import CauseKind, EndKind, LinkEvent
from constellation.native.sandbox import Bind, Limits, Plan, TextFile, Tmpfs

lib, ffi = _core.lib, _core.ffi


def members(enum):
    return ffi.typeof(f"enum {enum}").relements


def test_every_error_number_has_a_class_and_a_text():
    assert set(members("ct_err").values()) == set(errors.BY_NUMBER)
    assert len(set(errors.BY_NUMBER.values())) == len(errors.BY_NUMBER)
    for number, kind in errors.BY_NUMBER.items():
        assert type(errors.error_of("x", number)) is kind
        assert "unknown" not in errors.describe(number)


def test_a_negative_errno_is_an_os_error():
    error = errors.error_of("x", -errno.ENOENT)
    assert isinstance(error, FileNotFoundError)
    assert errors.describe(-errno.ENOENT) == "No such file or directory"


def test_version_is_the_headers():
    assert lib.ct_abi_version() == lib.CT_ABI_VERSION


@pytest.mark.parametrize(
    ("kinds", "prefix", "enum"),
    [(EndKind, "CT_END_", "ct_end"), (CauseKind, "CT_CAUSE_", "ct_cause"), (LinkEvent, "CT_LINK_", "ct_link_event")],
)
def test_kinds_are_the_headers(kinds, prefix, enum):
    assert {prefix + kind.name: kind.value for kind in kinds} == members(enum)


def test_every_step_has_a_name():
    names = {ffi.string(lib.ct_step_name(number)) for number in members("ct_step").values()}
    assert len(names) == len(members("ct_step"))
    assert ffi.string(lib.ct_step_name(999)) == b"unknown"


def test_helper_programs_are_installed():
    for name in ("ct-zygote", "ct-guest", "ct_fork.abi3.so"):
        assert libexec_path(name).is_file()
    with pytest.raises(FileNotFoundError):
        libexec_path("ct-none")


def test_only_this_package_imports_the_extension():
    package = Path(constellation.native.__file__).parent
    for file in package.parent.rglob("*.py"):
        if file.parent != package:
            assert "native._core" not in file.read_text(), file


PLAN = Plan(host_uid=1000, host_gid=1000, entries=(), argv=("/bin/true",))


def encoded(**changes):
    return dataclasses.replace(PLAN, **changes).encode()


def test_a_plan_comes_back_as_it_went():
    plan = Plan(
        host_uid=1_000_001,
        host_gid=1_000_002,
        entries=(
            Bind(source="/usr", target="/usr"),
            TextFile(target="/etc/x", text="a\nb"),
            Tmpfs(target="/tmp", size_bytes=5),
        ),
        argv=("/bin/echo", "", "ü"),
        env={"A": "=b="},
        limits=Limits(open_files=7, file_bytes=9),
        task_files=("/a/tasks",),
    )
    data = plan.encode()
    out = ffi.new("ct_plan *")
    assert lib.ct_plan_decode(ffi.from_buffer(data), len(data), out) == 0
    assert (out.host_uid, out.host_gid, out.open_files, out.file_bytes) == (1_000_001, 1_000_002, 7, 9)
    assert [ffi.string(out.argv[i]).decode() for i in range(out.argc)] == ["/bin/echo", "", "ü"]
    assert out.argv[out.argc] == ffi.NULL
    assert ffi.string(out.env[0]) == b"A==b="
    assert ffi.string(out.task_files[0]) == b"/a/tasks"
    assert [ffi.string(out.entries[i].target) for i in range(out.entry_count)] == [b"/usr", b"/etc/x", b"/tmp"]
    assert ffi.string(out.entries[1].source) == b"a\nb"


@pytest.mark.parametrize(
    "changes",
    [
        {"host_uid": 0},
        {"inside_uid": 0},
        {"inside_uid": 65534},
        {"setup_s": 0.0},
        {"setup_s": 100.0},
        {"workdir": "tmp"},
        {"hostname": "h" * 65},
        {"argv": ("true",)},
        {"task_files": ("tasks",)},
        {"env": {"": "x"}},
        {"entries": (Bind(source="/usr", target="usr"),)},
        {"entries": (Bind(source="/usr", target="/a/../b"),)},
        {"entries": (Bind(source="/usr", target="/a//b"),)},
        {"entries": (Bind(source="/usr", target="/"),)},
        {"entries": (Bind(source="usr", target="/usr"),)},
        {"entries": (Bind(source="/" + "x" * 2000, target="/usr"),)},
        {"entries": (Tmpfs(target="/tmp", size_bytes=0),)},
    ],
)
def test_plans_that_make_no_sandbox_are_refused(changes):
    with pytest.raises(errors.ValueOutOfRange):
        encoded(**changes)


def test_plans_over_their_bounds_are_refused():
    with pytest.raises(errors.LengthOverLimit):
        encoded(argv=("/bin/true",) * 65)
    with pytest.raises(errors.LengthOverLimit):
        encoded(env={f"V{n}": "" for n in range(129)})
    with pytest.raises(errors.LengthOverLimit):
        encoded(entries=(TextFile(target="/x", text=""),) * 65)
    with pytest.raises(errors.BufferTooSmall):
        encoded(env={f"V{n}": "x" * 20_000 for n in range(4)})
    with pytest.raises(ValueError, match="NUL"):
        encoded(argv=("/bin/true", "a\0b"))
