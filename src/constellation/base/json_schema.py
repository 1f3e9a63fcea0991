"""JSON Schema (2020-12) of strangers: what a schema may be, and whether values fit it.

Schemas and values are hostile both. A schema has bounds of size, depth and number; its references lead nowhere but into
itself; its patterns are run by an engine that takes linear time. What is left (alternatives within alternatives, large
values) is bounded in time: a process of its own compiles and checks, and an alarm of the kernel's ends it.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any

import anyio
import anyio.to_process
import jsonschema_rs
import msgspec

from constellation.base.errors import ConstellationError, InvalidRequest, Overloaded

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MAX_BYTES = 64 << 10  # of one schema, as JSON; chosen
MAX_DEPTH = 32
MAX_PARTS = 5000  # values in it, all together
MAX_FAULTS = 20  # told of one request
_MESSAGE_CHARS = 300
_PATTERN_BYTES = 256 << 10  # of one compiled pattern
_RUN_S = 0.5  # chosen: of the processor's time, for one check
_PATIENCE_S = 10.0  # for a place, and for the process to start on a busy machine
_MEMORY_BYTES = 1 << 30  # of address space
_COMPILED = 256  # schemas that a process keeps
_AT_ONCE = 2  # processes
_REFS = ("$ref", "$dynamicRef")


class Fault(msgspec.Struct, frozen=True, array_like=True):
    """What is wrong with one place of a value."""

    part: str  # "body", "query", ...
    pointer: str  # in it (RFC 6901); "": the whole
    message: str


class SchemaTooSlow(ConstellationError):
    """Whether a value fits its schema could not be told in the time there is for it."""

    code, http_status = "schema_too_slow", 503

    def __init__(self) -> None:
        super().__init__(
            f"the value was not checked against its schema within {_RUN_S:g} s of computing; the schema asks for too much",
            retry_after_s=10,
        )


class Checker:
    """Checks in at most two processes, which start when they are needed. One owner is in at most one of them at a time.

    A check that was begun is not given up when its caller is: its alarm bounds it, and a new process costs more.
    """

    def __init__(self) -> None:
        self._places = anyio.CapacityLimiter(_AT_ONCE)
        self._owners: dict[str, tuple[anyio.Lock, list[None]]] = {}

    async def compile(self, schema: bytes, *, field: str, owner: str) -> None:
        """Let a schema through that is well-formed and not too much, or raise `InvalidRequest`."""
        check_form(schema, field=field)
        refusal = await self._run(owner, _compile_error, schema)
        if refusal:
            raise InvalidRequest(f"{field}: {refusal}", field=field)

    async def faults(self, parts: Mapping[str, tuple[bytes, bytes]], *, owner: str) -> list[Fault]:
        """Return where values do not fit: by part, a schema that `compile` let through, and a value in JSON.

        Raises:
            SchemaTooSlow, Overloaded.
        """
        found: list[Fault] = await self._run(owner, _faults, dict(parts))
        return found

    async def _run(self, owner: str, work: Any, argument: object) -> Any:
        lock, users = self._owners.setdefault(owner, (anyio.Lock(), []))
        users.append(None)
        try:
            with anyio.move_on_after(_PATIENCE_S):
                async with lock:
                    return await anyio.to_process.run_sync(work, argument, limiter=self._places)
        except anyio.BrokenWorkerProcess as error:  # its alarm rang, or its memory was at an end
            raise SchemaTooSlow from error
        finally:
            users.pop()
            if not users:
                self._owners.pop(owner, None)
        raise Overloaded("checks of values against schemas", limit=_AT_ONCE)


def check_form(schema: bytes, *, field: str) -> None:
    """Let a schema through that is within its bounds and refers to nothing outside, or raise `InvalidRequest`."""
    if len(schema) > MAX_BYTES:
        raise InvalidRequest(f"{field} has over {MAX_BYTES} bytes", field=field)
    for parts, (key, value, depth) in enumerate(_walk(msgspec.json.decode(schema))):
        if depth > MAX_DEPTH or parts >= MAX_PARTS:
            raise InvalidRequest(f"{field} is deeper than {MAX_DEPTH}, or has over {MAX_PARTS} values", field=field)
        if key in _REFS and isinstance(value, str) and not value.startswith("#"):
            raise InvalidRequest(
                f"{field}: {key} {value[:80]!r} leads out of the schema; only #... is followed", field=field
            )
        if key == "$schema" and isinstance(value, str) and value.removesuffix("#") != DIALECT:
            raise InvalidRequest(f"{field}: $schema must be {DIALECT}", field=field)


def _walk(value: object) -> Iterator[tuple[str, object, int]]:
    stack: list[tuple[str, object, int]] = [("", value, 0)]
    while stack:
        key, each, level = stack.pop()
        yield key, each, level
        if level <= MAX_DEPTH:
            if isinstance(each, dict):
                stack.extend((str(name), inner, level + 1) for name, inner in each.items())
            elif isinstance(each, list):
                stack.extend(("", inner, level + 1) for inner in each)


# From here on: in the process of its own.


def _compile_error(schema: bytes) -> str:
    """Return what is wrong with a schema; "" when nothing is."""
    with _Alarm():
        try:
            _compiled(schema)
        except (ValueError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
            path = getattr(error, "instance_path", None) or ()
            place = "".join(f"/{each}" for each in path)
            return f"{place + ': ' if place else ''}{getattr(error, 'message', None) or error}"[:_MESSAGE_CHARS]
    return ""


def _faults(parts: dict[str, tuple[bytes, bytes]]) -> list[Fault]:
    found: list[Fault] = []
    with _Alarm():
        for part, (schema, text) in parts.items():
            try:
                value = msgspec.json.decode(text)
            except (msgspec.DecodeError, RecursionError) as error:
                found.append(Fault(part, "", f"it is no JSON: {error}"[:_MESSAGE_CHARS]))
                continue
            found.extend(
                Fault(part, _pointer(error.instance_path), error.message[:_MESSAGE_CHARS])
                for error in islice(_compiled(schema).iter_errors(value), MAX_FAULTS - len(found))
            )
    return found


def _pointer(path: list[str | int]) -> str:
    return "".join("/" + str(each).replace("~", "~0").replace("/", "~1") for each in path)


@lru_cache(maxsize=_COMPILED)
def _compiled(schema: bytes) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(
        msgspec.json.decode(schema),
        validate_formats=True,
        offline=True,
        pattern_options=jsonschema_rs.RegexOptions(size_limit=_PATTERN_BYTES, dfa_size_limit=_PATTERN_BYTES),
    )


class _Alarm:
    """The kernel ends this process when the block takes too long; nothing in the process is asked."""

    def __enter__(self) -> None:
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, _RUN_S)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        if kind is not None and not issubclass(kind, Exception):
            os._exit(1)  # the library panicked: nobody outside is to meet that
