"""Comet's lane: unary invocations served in C (native/src/lane), and what of them Python is asked or told."""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import IntEnum
from typing import Any, NamedTuple

from constellation.native import _core
from constellation.native.errors import checked
from constellation.native.h2 import Port
from constellation.native.link import Links
from constellation.native.reactor import Event, Reactor
from constellation.native.table import Table
from constellation.native.table_values import FunctionHandle, MemberHandle, Verdict

_lib, _ffi = _core.lib, _core.ffi

_CASE = struct.Struct("=IIIIQQQQQdII")  # ct_lane_case, with its ct_verdict
_FOREVER_S = 86_400.0
assert _CASE.size == _ffi.sizeof("ct_lane_case")


class LaneEvent(IntEnum):
    """`enum ct_lane_event`."""

    REFUSES = _lib.CT_LANE_REFUSES
    EFFECTS = _lib.CT_LANE_EFFECTS
    RECORDS = _lib.CT_LANE_RECORDS


class LaneCase(NamedTuple):
    """What the words of a refusal depend on (`ct_lane_case`)."""

    verdict: Verdict
    function: FunctionHandle  # 0: the node refuses
    member: MemberHandle  # whose boot failed, or 0
    given_s: float  # what the caller gave the call
    timeout_s: float  # how long the handler had
    rate_per_s: float
    text: str  # the subject of a rate, the cause of a death


class Words(NamedTuple):
    """How a refusal is answered."""

    grpc_status: int
    message: str
    problem: bytes


class Lane:
    """Serves a port from `attach` to `close`; reactor, table and links outlive it.

    Args:
        authorization: what the metadata of that name must hold.
        words: answers a refusal; None where memory for its case ran out.
        on_effects: the table has effects for Python.
        on_records: the table has records; told once until `hear_records`.
    """

    def __init__(
        self,
        reactor: Reactor,
        table: Table,
        links: Links,
        *,
        authorization: str,
        words: Callable[[LaneCase | None], Words],
        on_effects: Callable[[], None],
        on_records: Callable[[], None],
    ) -> None:
        secret = authorization.encode()
        handle = _lib.ct_lane_new(reactor.handle, table.pointer, links.handle, secret, len(secret))
        if handle == _ffi.NULL:
            raise MemoryError("no memory for a lane")
        self._handle: Any = handle  # None once closed
        self._words, self._on_effects, self._on_records = words, on_effects, on_records
        self._kept = (reactor, table, links)
        reactor.take(LaneEvent, self._hear)

    @property
    def in_hand(self) -> int:
        """Calls that the lane has let in and not answered yet."""
        return 0 if self._handle is None else int(_lib.ct_lane_in_hand(self._handle))

    def attach(self, port: Port) -> None:
        """Serve what a port takes in, until the port is closed, and with it the lane.

        Raises:
            OSError: it has a port.
        """
        checked("lane", _lib.ct_lane_attach(self._handle, port.handle))
        port.on_close(self.close)

    def hear_records(self) -> None:
        """Be told of the next record again."""
        if self._handle is not None:
            _lib.ct_lane_records_heard(self._handle)

    def close(self) -> None:
        """End every call in hand as cancelled; may be repeated."""
        handle, self._handle = self._handle, None
        if handle is not None:
            _lib.ct_lane_free(handle)

    def _hear(self, event: Event) -> None:
        if self._handle is None:
            return
        if event.kind == LaneEvent.REFUSES:
            words = self._words(_case(event.data) if event.data else None)
            message = words.message.encode()
            _lib.ct_lane_refuse(
                self._handle,
                event.target,
                words.grpc_status,
                message,
                len(message),
                words.problem,
                len(words.problem),
            )  # stale: the lane was asked to forget it meanwhile
        elif event.kind == LaneEvent.EFFECTS:
            self._on_effects()
        else:
            self._on_records()


def _case(data: bytes) -> LaneCase:
    code, detail, http, retry_s, limit, function, member, given_ns, timeout_ns, rate, text_bytes, _ = _CASE.unpack_from(
        data
    )
    text = data[_CASE.size : _CASE.size + text_bytes].decode("utf-8", "replace")
    return LaneCase(
        Verdict(code, detail, http, retry_s, limit),
        FunctionHandle(function),
        MemberHandle(member),
        min(given_ns / 1e9, _FOREVER_S),
        timeout_ns / 1e9,
        rate,
        text,
    )
