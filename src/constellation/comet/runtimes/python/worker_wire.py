"""The worker's side of proto/agent.proto: frames on one socket, three protobuf messages, logs as frames."""

from __future__ import annotations

import io
import os
import select
import struct
import sys
import threading

PROTOCOL = 1
HELLO, INIT, READY, EXEC, RESULT, ERROR, CHUNK, LOG, CANCEL, PING, PONG, STOP, ASK, REPLY = range(1, 15)
NURSE = 64  # instead of INIT, and only from the backend of this host: preload, then fork (worker_nursery)
LOG_STDERR, LOG_CUT = 1, 2
MAX_BODY_BYTES = 6 << 20  # of an event and of an output; the platform's limit for a synchronous call
READ_BYTES = 64 << 10
LINE_BYTES = 4 << 10  # a longer line is sent in pieces
HEADER = struct.Struct(">IBBHI")
EXEC_HEAD = struct.Struct(">16s16s8sII")
EXEC_STREAM = 1  # a flag of the exec head


def _varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number, value):
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(raw)) + raw


def _read_varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def fields(data):
    """Yield (number, value) of each varint and length-delimited field."""
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        if tag & 7 == 0:
            value, at = _read_varint(data, at)
        elif tag & 7 == 2:
            size, at = _read_varint(data, at)
            value, at = data[at : at + size], at + size
        else:
            raise ValueError(f"unexpected protobuf wire type {tag & 7}")
        yield tag >> 3, value


def places(code_dir, has_layers):
    """Return where modules are looked for, before those of the interpreter."""
    layers = [f"/opt/python/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages", "/opt/python"]
    return [code_dir, code_dir + "/deps", *(layers if has_layers else ())]


class Init:
    """What the host says once: whose function this is and where its code lies."""

    def __init__(self, data):
        self.memory_limit_mb, self.concurrency, self.log_limit_bytes, self.has_layers = 0, 1, 64 << 10, 0
        self.handler = self.function_name = self.function_version = self.tenant = self.namespace = ""
        self.code_dir, self.env = "/code", {}
        texts = {1: "handler", 2: "function_name", 3: "function_version", 4: "tenant", 5: "namespace", 9: "code_dir"}
        numbers = {6: "memory_limit_mb", 7: "concurrency", 10: "log_limit_bytes", 11: "has_layers"}
        for number, value in fields(data):
            if number in texts:
                setattr(self, texts[number], value.decode())
            elif number in numbers:
                setattr(self, numbers[number], value)
            elif number == 8:
                entry = dict(fields(value))
                self.env[entry.get(1, b"").decode()] = entry.get(2, b"").decode()


# --- the channel


class Channel:
    """Frames over one blocking stream socket. Whatever breaks it ends the process: nobody is left to talk to.

    Where the worker was forked, `ct_fork.Channel` does the same in C, and knows of a faster way for small frames.
    """

    def __init__(self):
        self._fd, self._pending, self._lock, self._news = -1, b"", threading.Lock(), select.poll()

    def open(self, fd):
        self._fd = fd
        os.set_inheritable(fd, False)
        self._news.register(fd, select.POLLIN)

    def send(self, kind, call_id=0, body=b"", flags=0):
        data = HEADER.pack(len(body), kind, flags, 0, call_id) + body
        try:
            with self._lock:
                sent = os.write(self._fd, data)
                while sent < len(data):
                    sent += os.write(self._fd, memoryview(data)[sent:])
        except OSError:
            os._exit(1)

    def receive(self):
        """Return (kind, call_id, body); does not return when the host is gone."""
        data = self._pending
        while len(data) < HEADER.size:
            data += self._read(READ_BYTES)
        length, kind, _, _, call_id = HEADER.unpack_from(data)
        if length > MAX_BODY_BYTES + EXEC_HEAD.size:
            os._exit(1)
        end = HEADER.size + length
        if len(data) < end:
            parts, have = [data], len(data)
            while have < end:
                parts.append(self._read(min(end - have, 1 << 20)))
                have += len(parts[-1])
            data = b"".join(parts)
        self._pending = data[end:]
        return kind, call_id, data[HEADER.size : end]

    def _read(self, count):
        # A process that sleeps in read() of a unix socket is also woken when the host has taken what was written: the
        # kernel tells all who wait that there is room. One that sleeps in poll() is woken for what it asked for only.
        try:
            self._news.poll()
            data = os.read(self._fd, count)
        except OSError:
            os._exit(1)
        if not data:
            os._exit(0)
        return data

    def fileno(self):
        return self._fd

    def forsake(self):
        """In a child that user code forked: what it says is not ours to say."""
        fd, self._fd = self._fd, -1
        try:
            os.close(fd)
        except OSError:
            return  # user code was quicker


class CallLog:
    """One call's printed output on its way to the host, bounded; id 0 is what no call printed."""

    def __init__(self, channel, call_id, limit):
        self._channel, self._id, self.left, self._open = channel, call_id, limit, ["", ""]

    def write(self, text, flag):
        if self.left < 0:
            return
        text = self._open[flag] + text
        line_end = text.rfind("\n") + 1
        if not line_end and len(text) > LINE_BYTES:
            line_end = len(text)
        self._open[flag] = text[line_end:]
        if line_end:
            self._send(text[:line_end], flag)

    def flush(self):
        for flag in (0, LOG_STDERR):
            if self._open[flag]:
                text, self._open[flag] = self._open[flag], ""
                self._send(text, flag)

    def _send(self, text, flag):
        if self.left < 0:
            return
        raw = text.encode("utf-8", "replace")
        if len(raw) > self.left:
            raw = raw[: self.left].decode("utf-8", "ignore").encode()
            self.left, flag = -1, flag | LOG_CUT
        else:
            self.left -= len(raw)
        self._channel.send(LOG, self._id, raw, flag)


class LogStream(io.TextIOBase):
    """`sys.stdout` and `sys.stderr` of the function: text goes to the log of the call that printed it."""

    encoding, errors, newlines = "utf-8", "replace", None

    def __init__(self, worker, flag):
        self._worker, self._flag, self.buffer = worker, flag, None
        self.buffer = LogBytes(self)

    def write(self, text):
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self._worker.log().write(text, self._flag)
        return len(text)

    def writable(self):
        return True

    def fileno(self):
        return 2 if self._flag else 1


class LogBytes(io.RawIOBase):
    """The `buffer` of such a stream."""

    def __init__(self, text):
        self._text = text

    def write(self, data):
        raw = bytes(data)
        self._text.write(raw.decode("utf-8", "replace"))
        return len(raw)

    def writable(self):
        return True
