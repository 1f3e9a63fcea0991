"""What a function may be made of. Each rule names the field that breaks it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from constellation.base.errors import ConstellationError, InvalidRequest, PayloadTooLarge
from constellation.nova.domain import database
from constellation.nova.domain.function import AUTO_BACKEND, MAX_CODE_BYTES, MAX_CODE_FILES, Mode
from constellation.nova.domain.image import read_image
from constellation.nova.domain.runtimes import CUSTOM, EVERY, IMAGE, RUNTIMES, RuntimeInfo
from constellation.nova.domain.secret import file_names

CONTAINERS = "docker"  # the backend whose instances are containers
MAX_PATH_CHARS = 256
MAX_SEGMENT_BYTES = 255  # of one name in a directory: NAME_MAX of Linux
MAX_HANDLER_CHARS = 128
MAX_COMMAND_CHARS = 512
MAX_PRELOAD = 16  # chosen: packages, whose own modules come with them
MAX_MODULE_CHARS = 128
NOTHING_SHOWN = frozenset({"docker", "wasm", "image"})  # backends and runtimes without files and sockets of ours inside
MAX_TAGS = 50  # chosen, as are the lengths: enough for owners, stages and costs, too little for data
MAX_TAG_CHARS = 256
MAX_ENV_BYTES = 256 << 10  # chosen: names and values together; far more than configuration, far less than the stack

# Dots and slashes divide the module; the last dot divides it from the function.
_HANDLER = re.compile(r"[A-Za-z0-9_-]+(?:[./][A-Za-z0-9_-]+)*\.[A-Za-z_$][A-Za-z0-9_$]*")
_MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
_TAG_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,63}")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


class NameFixed(ConstellationError):
    """A function keeps its name: calls, schedules, logs and keys know it by that."""

    code, http_status = "function_name_fixed", 422

    def __init__(self, name: str, *, wanted: str) -> None:
        super().__init__(
            f"function {name!r} keeps its name; deploy the code as {wanted!r}, move what calls it, and delete {name!r}",
            extras={"field": "name"},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A function's files, checked, and the handler in them."""

    files: Mapping[str, bytes]
    handler: str


def runtime_of(runtime: str) -> RuntimeInfo:
    """Return a known runtime, or raise `InvalidRequest`."""
    info = EVERY.get(runtime)
    if info is None:
        raise InvalidRequest(
            f"runtime {runtime[:80]!r} is unknown; there are {', '.join(sorted(EVERY))}", field="runtime"
        )
    return info


def check_source(runtime: RuntimeInfo, files: Mapping[str, bytes], handler: str, *, field: str = "files") -> Source:
    """Return files and handler that fit together.

    Args:
        field: how the request calls the files ("files" or "code").

    Raises:
        InvalidRequest: a bad path, too many files, a malformed handler, or a handler whose module is not there.
        PayloadTooLarge: more than 10 MiB in all.
    """
    check_handler(runtime, handler)
    if not files:
        raise InvalidRequest("a function needs at least one file", field=field)
    if len(files) > MAX_CODE_FILES:
        raise InvalidRequest(f"{len(files)} files are more than {MAX_CODE_FILES}", field=field)
    for path in files:
        check_path(path)
    refuse_file_as_directory(files)
    if sum(map(len, files.values())) > MAX_CODE_BYTES:
        raise PayloadTooLarge(limit_bytes=MAX_CODE_BYTES)
    check_module(runtime, files, handler)
    return Source(files=files, handler=handler)


def check_handler(runtime: RuntimeInfo, handler: str) -> None:
    """Let "module.function" through, the words of a program, or an image; raise `InvalidRequest` for anything else."""
    if runtime is IMAGE:
        read_image(handler)
        return
    if runtime.lambda_api:
        if not 1 <= len(handler) <= MAX_COMMAND_CHARS or not handler.isprintable() or not handler.strip():
            raise InvalidRequest(
                f"handler must have 1 to {MAX_COMMAND_CHARS} printable characters, not all of them blanks",
                field="handler",
            )
        return
    if len(handler) > MAX_HANDLER_CHARS or _HANDLER.fullmatch(handler) is None:
        raise InvalidRequest(f'handler {handler[:80]!r} must look like "module.function"', field="handler")


def check_module(runtime: RuntimeInfo, paths: Mapping[str, object], handler: str) -> None:
    """Let a handler through whose module is one of the files, whatever its extension.

    Raises:
        InvalidRequest: there is no such file, so no call could ever succeed.
    """
    if runtime.lambda_api:
        program = _program(runtime, handler)
        if program is not None and program not in paths:
            raise InvalidRequest(
                f"runtime {runtime.id} needs a file {program}; there is {', '.join(sorted(paths)[:5])}", field="handler"
            )
        return
    module = handler.rpartition(".")[0].replace(".", "/")
    starts = (f"{module}.", f"{module}/__init__.", f"{module}/index.")
    if not any(path.startswith(starts) for path in paths):
        raise InvalidRequest(
            f"handler {handler!r} needs a file {module}.*; there is {', '.join(sorted(paths)[:5])}", field="handler"
        )


def _program(runtime: RuntimeInfo, handler: str) -> str | None:
    """Return which of the files is executed; None: one of the sandbox's own."""
    if runtime.id != CUSTOM.id:
        return runtime.entry
    program = handler.split(maxsplit=1)[0]
    if program.startswith("/code/"):
        return program.removeprefix("/code/")
    return program.removeprefix("./") if "/" in program and not program.startswith("/") else None


def image_source(image: str) -> Source:
    """Return what a function is whose code is an image: the reference, as it was given, is all of its files.

    Raises:
        InvalidRequest: it names no image.
    """
    text = read_image(image).text
    return Source(files={IMAGE.id: text.encode()}, handler=text)


def backend_of(runtime: RuntimeInfo, backend: str) -> str:
    """Return where a function runs that names a backend: an image, in containers alone.

    Raises:
        InvalidRequest: it can not run there.
    """
    if runtime is not IMAGE or backend == CONTAINERS:
        return backend
    if backend != AUTO_BACKEND:
        raise InvalidRequest(f"an image runs in the backend {CONTAINERS}, not in {backend}", field="backend")
    return CONTAINERS


def check_path(path: str) -> None:
    """Let a relative path that stays inside the function's directory through; raise `InvalidRequest` for others."""
    segments = path.split("/")
    wrong = None
    if not 1 <= len(path) <= MAX_PATH_CHARS:
        wrong = f"must have 1 to {MAX_PATH_CHARS} characters"
    elif path.startswith("/"):
        wrong = "must be relative"
    elif ".." in segments:
        wrong = 'must not contain ".."'
    elif "" in segments or "." in segments:
        wrong = 'must not contain empty or "." segments'
    elif not path.isprintable() or "\\" in path:
        wrong = "must not contain control characters or backslashes"
    elif any(len(segment.encode()) > MAX_SEGMENT_BYTES for segment in segments):
        wrong = f"must not contain a name of more than {MAX_SEGMENT_BYTES} bytes"
    if wrong is not None:
        raise InvalidRequest(f"file {path[:80]!r} {wrong}", field="files")


def refuse_file_as_directory(files: Mapping[str, bytes]) -> None:
    """Let files through of which none lies below another, or raise `InvalidRequest`."""
    for path in files:
        parts = path.split("/")
        for depth in range(1, len(parts)):
            parent = "/".join(parts[:depth])
            if parent in files:
                raise InvalidRequest(f"{parent!r} can not be a file and hold {path!r}", field="files")


def check_env(env: Mapping[str, str]) -> None:
    """Let environment variables through, or raise `InvalidRequest`."""
    for name in env:
        if _ENV_NAME.fullmatch(name) is None:
            raise InvalidRequest(
                f"env {name[:80]!r} must be letters, digits and '_', not beginning with a digit", field="env"
            )
    size_bytes = sum(len(name.encode()) + len(value.encode()) for name, value in env.items())
    if size_bytes > MAX_ENV_BYTES:
        raise InvalidRequest(f"env holds {size_bytes} bytes; {MAX_ENV_BYTES} is the most", field="env")


def check_tags(tags: Mapping[str, str]) -> None:
    """Let tags through, or raise `InvalidRequest`."""
    wrong = None
    if len(tags) > MAX_TAGS:
        wrong = f"{len(tags)} tags are more than {MAX_TAGS}"
    for key, value in tags.items():
        if _TAG_KEY.fullmatch(key) is None:
            wrong = (
                f"tag {key[:80]!r} must be 1 to 64 letters, digits and any of '_.:/-', beginning with a letter or digit"
            )
        elif len(value) > MAX_TAG_CHARS or not (value.isprintable() or not value):
            wrong = f"tag {key} must have a value of at most {MAX_TAG_CHARS} printable characters"
    if wrong is not None:
        raise InvalidRequest(wrong, field="tags")


def tag_wanted(text: str) -> tuple[str, str | None]:
    """Return the key, and the value if one is told, of what is asked for as KEY or KEY=VALUE. Raises `InvalidRequest`."""
    key, equals, value = text.partition("=")
    if _TAG_KEY.fullmatch(key) is None:
        raise InvalidRequest(f"tag must be KEY or KEY=VALUE, not {text[:80]!r}", field="tag")
    return key, value if equals else None


def check_sockets_and_files(env: Mapping[str, str], *, backend: str, runtime: str) -> None:
    """Let secrets be shown as files, and databases as sockets, where that can be done, or raise `InvalidRequest`."""
    where = next((each for each in (backend, runtime) if each in NOTHING_SHOWN), None)
    if where is not None and database.references(env):
        raise InvalidRequest(f"{where} can not show databases; functions in namespace sandboxes have them", field="env")
    if where is not None and file_names(env):
        raise InvalidRequest(
            f'{where} can not show secrets as files; use "$SECRET:" in place of "$SECRET_FILE:"', field="env"
        )


def check_preload(runtime: str, modules: Sequence[str]) -> None:
    """Let the modules that a function preloads through, or raise `InvalidRequest`."""
    wrong = None
    if modules and not runtime_of(runtime).can_preload:
        able = ", ".join(sorted(info.id for info in RUNTIMES.values() if info.can_preload))
        wrong = f"runtime {runtime} can not preload modules; these can: {able}"
    elif len(modules) > MAX_PRELOAD:
        wrong = f"preload names {len(modules)} modules; {MAX_PRELOAD} is the most"
    elif len(set(modules)) != len(modules):
        wrong = "preload names a module twice"
    for name in modules:
        if len(name) > MAX_MODULE_CHARS or _MODULE.fullmatch(name) is None:
            wrong = f"preload {name[:80]!r} is not the dotted name of a module"
    if wrong is not None:
        raise InvalidRequest(wrong, field="preload")


def check_replicas(*, min_replicas: int, max_replicas: int) -> None:
    """Let min_replicas <= max_replicas through, or raise `InvalidRequest`."""
    if min_replicas > max_replicas:
        raise InvalidRequest(f"min_replicas {min_replicas} is over max_replicas {max_replicas}", field="min_replicas")


def check_concurrency(runtime: str, instance_concurrency: int) -> None:
    """Let as many calls at a time through as an instance of the runtime can run, or raise `InvalidRequest`."""
    if instance_concurrency > 1 and not runtime_of(runtime).can_overlap:
        raise InvalidRequest(
            f"runtime {runtime} runs one call at a time; instance_concurrency can not be {instance_concurrency}",
            field="instance_concurrency",
        )


def check_same_name(name: str, wanted: str) -> None:
    """Let the name that a function has through, or raise `NameFixed`."""
    if wanted != name:
        raise NameFixed(name, wanted=wanted)


def check_mode(mode: Mode, instance_concurrency: int) -> None:
    """Let an isolated function have one call an instance, or raise `InvalidRequest`."""
    if mode is Mode.ISOLATED and instance_concurrency > 1:
        raise InvalidRequest(
            f"an isolated instance serves one call; instance_concurrency can not be {instance_concurrency}",
            field="instance_concurrency",
        )


def check_shed_status(shed_status_code: int) -> None:
    """Let 429 and 503 through, or raise `InvalidRequest`."""
    if shed_status_code not in (429, 503):
        raise InvalidRequest(
            f"shed_status_code must be 429 or 503, not {shed_status_code}", field="capacity.shed_status_code"
        )
