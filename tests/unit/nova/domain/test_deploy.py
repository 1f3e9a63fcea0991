from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.base.errors import ConstellationError, InvalidRequest, PayloadTooLarge
from constellation.nova.domain.deploy import (
    MAX_PATH_CHARS,
    check_concurrency,
    check_env,
    check_handler,
    check_path,
    check_replicas,
    check_source,
    runtime_of,
)
from constellation.nova.domain.runtimes import CUSTOM, PROVIDED, PYTHON


@pytest.mark.parametrize(
    ("files", "handler"),
    [
        (["main.py"], "main.handler"),
        (["main.js"], "main.handler"),
        (["main.mjs"], "main.$go"),
        (["pkg/__init__.py"], "pkg.handler"),
        (["pkg/index.js"], "pkg.handler"),
        (["a/b/c.py"], "a.b.c.handler"),
        (["src/app.js"], "src/app.handler"),
        (["main.cpython-311-x86_64-linux-gnu.so"], "main.handler"),
        (["my-mod.js", "data/gr\u00fc\u00df e.txt"], "my-mod.handler"),
    ],
)
def test_a_handler_in_one_of_the_files_is_let_through(files, handler):
    assert check_source(PYTHON, dict.fromkeys(files, b"x"), handler).handler == handler


@pytest.mark.parametrize(
    ("files", "handler"),
    [
        (["main.py"], "mai.handler"),
        (["main.py"], "main.py.handler"),
        (["lib/main.py"], "main.handler"),
        (["main_py"], "main.handler"),
        (["main"], "main.handler"),
    ],
)
def test_a_handler_in_none_of_the_files_is_refused(files, handler):
    with pytest.raises(InvalidRequest) as refused:
        check_source(PYTHON, dict.fromkeys(files, b"x"), handler)
    assert refused.value.field == "handler"


@pytest.mark.parametrize(
    "handler", ["", "a", "a.", ".a", "a..b", "a.1b", "a b.c", "a/../b.c", "/a.b", "\u00fc.b", "a.b\n"]
)
def test_a_malformed_handler_is_refused(handler):
    with pytest.raises(InvalidRequest):
        check_handler(PYTHON, handler)


@pytest.mark.parametrize(
    ("runtime", "files", "handler"),
    [
        (PROVIDED, ["bootstrap"], "main.handler"),
        (PROVIDED, ["bootstrap"], "com.example.Handler::handle"),
        (CUSTOM, ["main.sh"], "sh main.sh"),
        (CUSTOM, ["bin/server"], "./bin/server --port=0"),
        (CUSTOM, ["bin/server"], "bin/server"),
        (CUSTOM, ["server"], "/code/server"),
        (CUSTOM, ["main.py"], "/usr/bin/python3 -m awslambdaric main.handler"),
    ],
)
def test_a_program_that_is_there_is_let_through(runtime, files, handler):
    assert check_source(runtime, dict.fromkeys(files, b"x"), handler).handler == handler


@pytest.mark.parametrize(
    ("runtime", "files", "handler", "told"),
    [
        (PROVIDED, ["main.go"], "main.handler", "needs a file bootstrap"),
        (PROVIDED, ["bin/bootstrap"], "main.handler", "needs a file bootstrap"),
        (CUSTOM, ["main.sh"], "./serve", "needs a file serve"),
        (CUSTOM, ["main.sh"], "/code/serve x", "needs a file serve"),
        (CUSTOM, ["main.sh"], "", "1 to 512"),
        (CUSTOM, ["main.sh"], "   ", "blanks"),
        (CUSTOM, ["main.sh"], "sh\nmain.sh", "printable"),
        (PROVIDED, ["bootstrap"], "x" * 513, "1 to 512"),
    ],
)
def test_a_program_that_is_not_there_is_refused_by_name(runtime, files, handler, told):
    with pytest.raises(InvalidRequest, match=told) as refused:
        check_source(runtime, dict.fromkeys(files, b"x"), handler)
    assert refused.value.field == "handler"


def test_code_is_bounded_in_all():
    half = bytes(5 << 20)
    assert check_source(PYTHON, {"main.py": half, "b": half}, "main.handler").files
    with pytest.raises(PayloadTooLarge):
        check_source(PYTHON, {"main.py": half, "b": half, "c": b"x"}, "main.handler")


@given(path=st.text(max_size=300))
def test_a_path_that_is_let_through_stays_inside(path):
    try:
        check_path(path)
    except InvalidRequest:
        return
    assert 1 <= len(path) <= MAX_PATH_CHARS
    assert not path.startswith("/")
    assert all(part not in ("", ".", "..") for part in path.split("/"))
    assert path.isprintable()


def test_environments_are_bounded_and_named_as_shells_do():
    check_env({"A": "", "_b1": "\u00fc"})
    for env in ({"": "x"}, {"A=B": "x"}, {"A-B": "x"}, {"A": "x" * (256 << 10)}):
        with pytest.raises(InvalidRequest):
            check_env(env)


def test_replicas_are_ordered():
    check_replicas(min_replicas=3, max_replicas=3)
    with pytest.raises(ConstellationError):
        check_replicas(min_replicas=4, max_replicas=3)


def test_an_unknown_runtime_is_told_the_known_ones():
    assert runtime_of("python").entry_file == "main.py"
    with pytest.raises(InvalidRequest, match=r"node, .*python"):
        runtime_of("cobol")


def test_a_language_that_can_not_overlap_calls_has_one_at_a_time():
    check_concurrency("php", 1)
    check_concurrency("ruby", 20)
    with pytest.raises(InvalidRequest, match="one call at a time"):
        check_concurrency("php", 2)
