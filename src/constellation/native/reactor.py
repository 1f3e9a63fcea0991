"""The C core's part of this process's event loop: one descriptor is watched, and what C cannot decide comes up as events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import structlog

from constellation.native import _core
from constellation.native.errors import checked

_lib, _ffi = _core.lib, _core.ffi
_BATCH = 128  # chosen: events a C call

log = structlog.get_logger()


class Event(NamedTuple):
    """`ct_event`; what its fields mean is said where `kind` is declared. A named tuple because thousands a second are made."""

    kind: int
    status: int
    target: int
    subject: int
    number: int
    flags: int
    data: bytes


class Reactor:
    """Owns the C reactor; what is made with `handle` ends before it."""

    def __init__(self) -> None:
        handle = _lib.ct_reactor_new()
        if handle == _ffi.NULL:
            raise MemoryError("no memory or no descriptor for a reactor")
        self._handle: Any = _ffi.gc(handle, _lib.ct_reactor_free)
        self._takers: dict[int, Callable[[Event], None]] = {}
        self._batch: Any = _ffi.new("ct_event[]", _BATCH)

    @property
    def handle(self) -> Any:
        """The `ct_reactor *`, for this package alone."""
        return self._handle

    def take(self, kinds: Iterable[int], taker: Callable[[Event], None]) -> None:
        """Have `taker` called, from the loop and without waiting, for every event of these kinds."""
        for kind in kinds:
            if kind in self._takers:
                raise ValueError(f"events of kind {kind} have a taker already")
            self._takers[kind] = taker

    @contextmanager
    def turning(self) -> Iterator[None]:
        """Let C have its turns in the running loop for the length of the block."""
        loop = asyncio.get_running_loop()
        fd, bell_fd = _lib.ct_reactor_fd(self._handle), _lib.ct_reactor_bell_fd(self._handle)
        # No frame of Python on a wake-up: a plain call has two in each plane, and Python's part of one costs more than C's.
        loop.add_reader(fd, _lib.ct_reactor_drain, self._handle)
        loop.add_reader(bell_fd, self._hear)
        try:
            yield
        finally:
            loop.remove_reader(fd)
            loop.remove_reader(bell_fd)

    def close(self) -> None:
        """Give its descriptors back, once all that was made with it has ended. Nothing may be called afterwards."""
        _ffi.release(self._handle)

    def catch_up(self) -> None:
        """Handle what is ready and hand out its events at once, for what else would be decided before they are heard."""
        _lib.ct_reactor_drain(self._handle)
        self._hear()

    def _hear(self) -> None:
        """Hand out the events that C's turns have made."""
        checked("reactor", _lib.ct_reactor_failure(self._handle))
        while count := _lib.ct_reactor_take(self._handle, self._batch, _BATCH):
            for event in self._copied(count):
                self._hand_out(event)

    def _copied(self, count: int) -> list[Event]:
        events = []
        for index in range(count):
            raw = self._batch[index]
            data = bytes(_ffi.buffer(raw.data, raw.len)) if raw.len else b""
            events.append(Event(raw.kind, raw.status, raw.target, raw.subject, raw.number, raw.flags, data))
            _lib.ct_event_done(_ffi.addressof(raw))
        return events

    def _hand_out(self, event: Event) -> None:
        try:
            self._takers[event.kind](event)
        except Exception:  # the supervision point of one event: it costs what it is about only
            log.exception("native.event_failed", kind=event.kind)
