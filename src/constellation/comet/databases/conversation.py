"""One session as both sides hear it: which statements are in hand, how long, how much they have given back.

Pure decisions: bytes are passed on by whoever feeds this. What a guest says of itself, and what it sets on the server,
changes nothing here: limits are counted on what passes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from constellation.comet.databases.statement import LOOKED_AT_CHARS, shown
from constellation.comet.databases.wire import HEAD_BYTES, Piece, Refused, error, error_fields, message, text_at
from constellation.nova.domain.database import DatabaseLimits

MAX_IN_HAND = 1024  # chosen: messages of a pipeline that the server has not answered; then the guest waits
MAX_NAMES = 1024  # chosen: prepared statements and portals whose text the log knows
FLUSH_AFTER_S = 0.5  # chosen: answers that the server holds back are asked for, to know what it works on
CUT_GRACE_S = 2.0  # chosen: from a statement's cancelling to the end of the session

_Q, _P, _B, _D, _E, _C, _S, _H, _X = b"QPBDECSHX"
_COPY = frozenset(b"dcf")
_COPY_DATA, _COPY_ENDS = ord("d"), frozenset(b"cf")
_ENDS_STATEMENT = frozenset(b"CIs")
_ANSWERS = {ord("1"): _P, ord("2"): _B, ord("3"): _C}
_DESCRIBED = frozenset(b"Tn")
_ROWS = frozenset(b"Dd")
_NO_TRANSACTION = ord("I")
_ERROR, _READY, _COPY_IN, _COPY_BOTH, _COMPLETE = b"EZGWC"
_TEXT = b"\0"  # a format of COPY, of which each row ends with a line's end


class Outcome(StrEnum):
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CUT = "cut"  # by a limit of ours
    REFUSED = "refused"  # it never came to the server


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A statement, and what became of it."""

    statement: str
    outcome: Outcome
    code: str
    rows: int
    bytes: int
    began_s: float
    took_s: float


@dataclass(slots=True)
class _InHand:
    kind: int
    text: str
    since_s: float


class Conversation:
    """State of a session after the login. `now_s` is monotonic."""

    def __init__(self, limits: DatabaseLimits, *, now_s: float, on_end: Callable[[Ended], None]) -> None:
        self._limits, self._on_end = limits, on_end
        self._in_hand: deque[_InHand] = deque()
        self._statements: dict[str, str] = {}
        self._portals: dict[str, str] = {}
        self._is_failed = False  # the server passes over what comes, up to a Sync
        self._is_copying_in = False
        self._has_lines = True  # what is copied in, as far as we know
        self._copied_lines = self._copied_bytes = 0  # by the guest, of the COPY in hand
        self._is_copy_refused = False  # the server was told; what the guest has left of it is dropped
        self._is_flushed = True
        self._is_synced = True
        self._transaction = _NO_TRANSACTION
        self._rows = self._bytes = 0  # of the statement at the head
        self._code = ""  # with which the query at the head has failed
        self._over = ""  # which limit it has met
        self._is_dropping = False  # the message that passes is beyond it
        self._cancelled_s: float | None = None
        self._moved_s = now_s  # when a statement came to its end, or the guest said something
        self._heard_s = now_s  # when the guest said something last

    @property
    def is_busy(self) -> bool:
        return bool(self._in_hand)

    @property
    def is_idle(self) -> bool:
        """Nothing is in hand, and no transaction is open: time changes nothing."""
        return not self._in_hand and self._is_synced and self._transaction == _NO_TRANSACTION

    @property
    def is_full(self) -> bool:
        """So much is in hand that the guest should not be read on."""
        return len(self._in_hand) >= MAX_IN_HAND

    def passed_on(self, piece: Piece) -> bytes:
        """Return what the server gets of what `from_guest` was told: all, unless a COPY takes in more than it may.

        What comes before the server asks for it counts as well: it is read as soon as it does.
        """
        if piece.kind not in _COPY:
            self._is_copy_refused = False
            return piece.raw
        if self._is_copy_refused:
            return b""
        if piece.kind == _COPY_DATA:
            if piece.is_first:
                self._copied_bytes += piece.size - HEAD_BYTES
            if self._has_lines:
                self._copied_lines += piece.raw.count(b"\n", HEAD_BYTES if piece.is_first else 0)
            over = self._copied_over()
            if over and piece.is_first:  # a message that has begun must end
                self._over, self._is_copy_refused, self._cancelled_s = over, True, self._heard_s
                return message("f", over.encode() + b"\0")
        return piece.raw

    def _forget_copy(self) -> None:
        self._is_copying_in, self._has_lines = False, True
        self._copied_lines = self._copied_bytes = 0

    def _copied_over(self) -> str:
        limits = self._limits
        if self._has_lines and self._copied_lines > limits.max_rows:
            return f"the statement takes in more than {limits.max_rows} rows, the most that the platform lets through"
        if self._copied_bytes > limits.max_bytes:
            return f"the statement takes in more than {limits.max_bytes} bytes, the most that the platform lets through"
        return ""

    def from_guest(self, piece: Piece, *, now_s: float) -> int:
        """Take note of what is passed on to the server; return how many statements it runs."""
        kind, self._heard_s = piece.kind, now_s
        if not piece.is_first or kind == _X:
            return 0
        if kind in _COPY:
            self._is_copying_in = self._is_copying_in and kind not in _COPY_ENDS
            return 0
        if kind == _S:
            self._synced(now_s)
            return 0
        if kind == _H:
            self._is_flushed = True
            return 0
        text = self._text_of(piece)
        if self._is_failed:
            return 0
        if not self._in_hand:
            self._moved_s = now_s
        self._is_flushed = self._is_synced = kind == _Q
        self._in_hand.append(_InHand(kind, text, now_s))
        return kind in (_Q, _E)

    def _synced(self, now_s: float) -> None:
        if self._is_copying_in:  # the server passes over it
            return
        self._is_failed, self._is_flushed, self._is_synced = False, True, True
        self._in_hand.append(_InHand(_S, "", now_s))

    def _text_of(self, piece: Piece) -> str:
        body = piece.raw[HEAD_BYTES : HEAD_BYTES + LOOKED_AT_CHARS]
        match piece.kind:
            case k if k == _Q:
                return text_at(body)[0]
            case k if k == _P:
                name, at = text_at(body)
                text = text_at(body, at)[0]
                _remember(self._statements, name, text)
                return text
            case k if k == _B:
                portal, at = text_at(body)
                text = self._statements.get(text_at(body, at)[0], "")
                _remember(self._portals, portal, text)
                return text
            case k if k == _E:
                return self._portals.get(text_at(body)[0], "")
        return ""

    def from_server(self, piece: Piece, *, now_s: float) -> bytes:
        """Return what the guest gets of it.

        Raises:
            Refused: a statement came to its end beyond a limit.
        """
        kind = piece.kind
        head = self._in_hand[0] if self._in_hand else None
        if not piece.is_first:
            return b"" if self._is_dropping else piece.raw
        self._bytes += piece.size  # of all of it: once its beginning has passed, so must the rest
        self._rows += kind in _ROWS
        self._over = self._over or self._exceeded()
        self._is_dropping = bool(self._over) and kind in _ROWS
        if kind in _ROWS:
            return b"" if self._is_dropping else piece.raw
        if kind == _ERROR:
            return self._failed(piece, head, now_s)
        if kind in _ENDS_STATEMENT:
            if self._over:
                raise Refused("54000", self._over)
            if kind == _COMPLETE and not self._rows:
                self._rows = _touched(piece)
            if head is not None and head.kind == _E:
                self._pop(Outcome.SUCCEEDED, "", now_s)
            self._moved_s, self._cancelled_s = now_s, None
            self._forget_copy()
        elif kind == _READY:
            self._ready(piece, now_s)
        elif kind in (_COPY_IN, _COPY_BOTH):
            self._is_copying_in, self._has_lines = True, piece.body[:1] == _TEXT
            if head is not None and head.kind == _E:  # those behind it were for nothing: it reads them as no data
                self._in_hand = deque([head])
        elif head is not None and (_ANSWERS.get(kind) == head.kind or (kind in _DESCRIBED and head.kind == _D)):
            self._in_hand.popleft()
            self._rows = self._bytes = 0
        return piece.raw

    def _failed(self, piece: Piece, head: _InHand | None, now_s: float) -> bytes:
        code = error_fields(piece.body).get("C") or "XX000"
        said = piece.raw
        is_late = head is not None and now_s - head.since_s >= self._limits.statement_timeout_s
        outcome = Outcome.CUT if code == "57014" and is_late else Outcome.FAILED
        if self._over and code == "57014":
            code, outcome = "54000", Outcome.CUT
            said = error(code, self._over)
        elif self._cancelled_s is not None and code == "57014":
            outcome = Outcome.CUT
            said = error(code, f"the statement took longer than {self._limits.statement_timeout_s:g} s")
        self._over, self._cancelled_s = "", None
        self._forget_copy()
        self._moved_s = now_s
        if head is None:
            return said
        if head.kind == _Q:
            self._code = code
            self._end(head, outcome, code, now_s)
            return said
        while self._in_hand and self._in_hand[0].kind not in (_S, _Q):
            failed = self._in_hand.popleft()
            if failed is head:
                self._end(failed, outcome, code, now_s)
        self._is_failed = not self._in_hand
        return said

    def _ready(self, piece: Piece, now_s: float) -> None:
        self._transaction = piece.raw[HEAD_BYTES] if len(piece.raw) > HEAD_BYTES else _NO_TRANSACTION
        while self._in_hand:
            ended = self._in_hand.popleft()
            if ended.kind == _Q and not self._code:
                self._end(ended, Outcome.SUCCEEDED, "", now_s)
            if ended.kind in (_Q, _S):
                break
        self._rows = self._bytes = 0
        self._code, self._over, self._cancelled_s = "", "", None
        self._moved_s = now_s

    def _pop(self, outcome: Outcome, code: str, now_s: float) -> None:
        self._end(self._in_hand.popleft(), outcome, code, now_s)
        self._rows = self._bytes = 0

    def _end(self, ended: _InHand | None, outcome: Outcome, code: str, now_s: float) -> None:
        if ended is None or ended.kind == _S:
            return
        self._on_end(
            Ended(
                statement=shown(ended.text),
                outcome=outcome,
                code=code,
                rows=self._rows,
                bytes=self._bytes,
                began_s=ended.since_s,
                took_s=now_s - ended.since_s,
            )
        )

    def _exceeded(self) -> str:
        limits = self._limits
        if self._rows > limits.max_rows:
            return f"the statement gives back more than {limits.max_rows} rows, the most that the platform lets through"
        if self._bytes > limits.max_bytes:
            return (
                f"the statement gives back more than {limits.max_bytes} bytes, the most that the platform lets through"
            )
        return ""

    def tick(self, *, now_s: float) -> Wanted:
        """Say what is to be done as time goes by.

        Raises:
            Refused: the session has to end.
        """
        limits = self._limits
        if not self._in_hand:
            if not self.is_idle and now_s - self._moved_s > limits.idle_transaction_s:
                raise Refused("25P03", f"the transaction stood idle for more than {limits.idle_transaction_s:g} s")
            return Wanted()
        if self._cancelled_s is not None:
            if now_s - self._cancelled_s > CUT_GRACE_S:
                raise Refused("57014", "the statement went on after it was cancelled")
            return Wanted()
        in_hand_s = now_s - max(self._in_hand[0].since_s, self._moved_s)
        if self._over or in_hand_s > limits.statement_timeout_s:
            self._cancelled_s = now_s
            return Wanted(is_cancel=True)
        return Wanted(is_flush=not self._is_flushed and (self.is_full or in_hand_s > FLUSH_AFTER_S))

    def cut(self, code: str, *, now_s: float) -> None:
        """The session ends: note down what was in hand."""
        if self._in_hand and not self._code:
            self._end(self._in_hand[0], Outcome.CUT, code, now_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What time asks for."""

    is_cancel: bool = False  # the statement in hand, at the server
    is_flush: bool = False  # the answers that the server holds back


def _touched(piece: Piece) -> int:
    """How many rows a statement changed, by its tag: "INSERT 0 3"."""
    count = piece.body[:64].rstrip(b"\0").rpartition(b" ")[2]
    return int(count[:18]) if count.isdigit() else 0


def _remember(known: dict[str, str], name: str, text: str) -> None:
    known.pop(name, None)
    while len(known) >= MAX_NAMES:
        del known[next(iter(known))]
    known[name] = text
