"""What a handler gets and gives: the context, the output as JSON, an exception as JSON, and the handler itself."""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import ModuleType

from worker_wire import MAX_BODY_BYTES

MAX_MESSAGE_BYTES = 8 << 10
MAX_STACK_BYTES = 32 << 10
MAX_STACK_FRAMES = 64
OUR_DIR = os.path.dirname(__file__) + os.sep

PLAIN = frozenset((dict, list, str, int, float, bool, type(None)))  # neither awaited nor iterated: answers as they are
_scan = json.JSONDecoder().scan_once
_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
# `encode` makes a C encoder for each value; this one is made once. Without looking for circles: it gives up in any case.
_pieces = json.encoder.c_make_encoder and json.encoder.c_make_encoder(
    None, _encoder.default, json.encoder.encode_basestring, None, ":", ",", False, False, False
)
_ascii_encoder = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"))


class OutputTooLarge(Exception):
    """The handler returned more than the platform carries."""


def _misfit(value, path="$", depth=0):
    """Name the place in a value that JSON cannot hold, or None."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return f"{path} is {value}"
    if value is None or isinstance(value, (str, int, float)):
        return None
    if depth > 100:
        return f"{path[:200]} is nested too deeply"
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, (str, int, float, bool, type(None))):
                return f"{path} has a key of type {type(key).__name__}"
            if found := _misfit(item, f"{path}.{key}", depth + 1):
                return found
        return None
    if isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            if found := _misfit(item, f"{path}[{index}]", depth + 1):
                return found
        return None
    return f"{path} is of type {type(value).__name__}"


def decode_event(raw):
    """As `json.loads`, without the search for other encodings and for blanks that an event does not have."""
    try:
        text = raw.decode()
        event, end = _scan(text, 0)
        if end == len(text):
            return event
    except (StopIteration, ValueError):
        pass
    return json.loads(raw)


def encode_output(value):
    """Return a handler's output as JSON, or raise TypeError naming what JSON can not hold."""
    try:
        raw = "".join(_pieces(value, 0)).encode()
    except Exception:  # there is no C encoder, or the other one says what is wrong
        raw = _encode(value)
    if len(raw) > MAX_BODY_BYTES:
        raise OutputTooLarge(f"the output has {len(raw)} bytes; at most {MAX_BODY_BYTES} are carried")
    return raw


def _encode(value):
    try:
        raw = _encoder.encode(value).encode()
    except UnicodeEncodeError:  # lone surrogates: legal in JSON only as escapes
        raw = _ascii_encoder.encode(value).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"the output is not JSON: {_misfit(value) or error}") from None
    return raw


def encode_chunk(piece):
    """Return a piece of a streamed answer: bytes and text as they are, anything else as JSON."""
    if isinstance(piece, (bytes, bytearray, memoryview)):
        return bytes(piece)
    return piece.encode("utf-8", "replace") if isinstance(piece, str) else encode_output(piece)


def listed(piece):
    return bytes(piece).decode("utf-8", "replace") if isinstance(piece, (bytes, bytearray, memoryview)) else piece


def _user_frames(tb):
    """Return the part of a traceback below the last frame of ours; what raised in a call of ours keeps all of it."""
    first, node, whole = tb, tb, None
    while node is not None:
        name = node.tb_frame.f_code.co_filename
        if name.startswith(OUR_DIR) or (name == importlib.__file__ and first is node):
            first = node.tb_next
        elif whole is None:
            whole = node
        node = node.tb_next
    return first or whole


def encode_error(error):
    """Return {"type", "message", "stack"} as JSON; the stack holds frames of user code only and is bounded."""
    try:
        message = str(error)
    except Exception:
        message = "<the exception has no readable message>"
    try:
        lines = traceback.format_exception(
            type(error), error, _user_frames(error.__traceback__), limit=-MAX_STACK_FRAMES
        )
        stack = "".join(lines)
    except Exception as second:
        stack = f"<no stack: {type(second).__name__}>"
    if len(stack) > MAX_STACK_BYTES:
        stack = stack[: MAX_STACK_BYTES // 2] + "\n...\n" + stack[-MAX_STACK_BYTES // 2 :]
    body = {"type": type(error).__name__, "message": message[:MAX_MESSAGE_BYTES], "stack": stack}
    return _ascii_encoder.encode(body).encode()


def load_handler(init):
    """Import the module and return the callable that "module.function" names."""
    module_name, _, name = init.handler.rpartition(".")
    if not module_name or not name:
        raise ValueError(f'the handler {init.handler!r} must look like "module.function"')
    module = _import_file(module_name, init.code_dir)
    if module is None:
        top = module_name.partition(".")[0]
        place = os.path.join(init.code_dir, top)
        if top in sys.modules and (os.path.exists(place + ".py") or os.path.isdir(place)):
            del sys.modules[top]  # a module of the standard library that the zygote had loaded under the same name
        module = importlib.import_module(module_name)
    handler = getattr(module, name, None)
    if handler is None:
        raise AttributeError(f"module {module_name!r} has no {name!r}")
    if not callable(handler):
        raise TypeError(f"{init.handler} is a {type(handler).__name__}, not a function")
    return handler


_blanks = []  # modules that need but their names


def prepare_import():
    """Make what the next import of a file needs; before a fork, it costs the child nothing."""
    loader = SourceFileLoader("", "")
    spec = ModuleSpec("", loader, origin="")
    spec.has_location = True
    _blanks.append((ModuleType(""), spec, loader))


def _import_file(name, code_dir):
    """Import one source file that nothing else of its name competes with, as `importlib` would; None for all others.

    Most handlers are such a file. The general way touches a hundred pages more, and an instance copies each of them.
    """
    file = name + ".py"
    names = os.listdir(code_dir)
    if file not in names or "." in name or name in sys.modules or name in sys.stdlib_module_names:
        return None
    for other in names:
        if other == name or (other.startswith(name + ".") and other != file):
            return None
    path, cached = f"{code_dir}/{file}", f"{code_dir}/__pycache__/{name}.{sys.implementation.cache_tag}.pyc"
    if "__pycache__" in names and os.path.exists(cached):
        return None
    if not _blanks:
        prepare_import()
    module, spec, loader = _blanks.pop()
    loader.name, loader.path = spec.name, spec.origin = name, path
    module.__dict__.update(
        __name__=name, __file__=path, __cached__=cached, __loader__=loader, __package__="", __spec__=spec
    )
    code = compile(_read(path), path, "exec", dont_inherit=True)
    sys.modules[name] = module
    try:
        exec(code, module.__dict__)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return sys.modules[name]  # a module may have put another object in its own place


def _read(path):
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = part = os.read(fd, 64 << 10)
        while part:
            part = os.read(fd, 64 << 10)
            text += part
        return text
    finally:
        os.close(fd)
