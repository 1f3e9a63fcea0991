"""One session as the proxy follows it: what is in hand, for how long, and what is beyond a limit."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constellation.comet.databases.conversation import MAX_IN_HAND, MAX_NAMES, Conversation, Outcome
from constellation.comet.databases.wire import FROM_GUEST, FROM_SERVER, Piece, Refused, error, error_fields, message
from constellation.nova.domain.database import DatabaseLimits

LIMITS = DatabaseLimits(max_rows=3, max_bytes=4096, statement_timeout_s=5.0, idle_transaction_s=7.0)
READY, BUSY = message("Z", b"I"), message("Z", b"T")


class Talk:
    """A conversation with a clock, and the log of its statements."""

    def __init__(self, limits=LIMITS):
        self.now_s, self.ended = 0.0, []
        self.conversation = Conversation(limits, now_s=0.0, on_end=self.ended.append)

    def ask(self, *messages):
        return sum(self.conversation.from_guest(Piece(each[0], each), now_s=self.now_s) for each in messages)

    def send(self, *messages):
        """Tell, and return what the server gets."""
        sent = b""
        for each in messages:
            self.ask(each)
            sent += self.conversation.passed_on(Piece(each[0], each))
        return sent

    def answer(self, *messages):
        return b"".join(self.conversation.from_server(Piece(each[0], each), now_s=self.now_s) for each in messages)

    def tick(self, after_s=0.0):
        self.now_s += after_s
        return self.conversation.tick(now_s=self.now_s)

    @property
    def log(self):
        return [(each.statement, each.outcome.value, each.code, each.rows) for each in self.ended]


def query(text):
    return message("Q", text.encode() + b"\0")


def prepared(text, name=b""):
    return (
        message("P", name + b"\0" + text.encode() + b"\0\0\0"),
        message("B", b"\0" + name + b"\0\0\0\0\0\0\0"),
        message("D", b"P\0"),
        message("E", b"\0" + struct.pack("!I", 0)),
    )


SYNC, ROW = message("S"), message("D", b"\0\1\0\0\0\1x")


def complete(tag):
    return message("C", tag.encode() + b"\0")


def test_a_simple_query_is_one_line_of_the_log():
    talk = Talk()
    assert talk.ask(query("SELECT 'x' FROM t")) == 1
    assert not talk.conversation.is_idle
    said = (message("T", b"\0\1"), ROW, ROW, complete("SELECT 2"), READY)
    assert talk.answer(*said) == b"".join(said)
    assert talk.log == [("SELECT ? FROM t", "succeeded", "", 2)]
    assert talk.conversation.is_idle


def test_a_statement_that_gives_nothing_back_tells_how_many_rows_it_touched():
    talk = Talk()
    talk.ask(query("DELETE FROM t"))
    talk.answer(complete("DELETE 17"), READY)
    assert talk.log == [("DELETE FROM t", "succeeded", "", 17)]


def test_pipelines_are_followed_statement_by_statement():
    talk = Talk()
    assert talk.ask(*prepared("SELECT 1"), *prepared("SELECT a"), SYNC) == 2
    one = (message("1"), message("2"), message("n"), ROW, complete("SELECT 1"))
    talk.answer(*one, *one, READY)
    assert [line[0] for line in talk.log] == ["SELECT ?", "SELECT a"]
    assert talk.conversation.is_idle


def test_what_follows_an_error_up_to_the_sync_is_passed_over():
    talk = Talk()
    talk.ask(*prepared("SELECT a"), *prepared("SELECT b"))
    talk.answer(message("1"), message("2"), error("42P01", "no such table"))
    talk.ask(*prepared("SELECT c"))  # the server passes over it
    talk.ask(SYNC, *prepared("SELECT d"), SYNC)
    talk.answer(READY, message("1"), message("2"), message("n"), complete("SELECT 0"), READY)
    assert talk.log == [("", "failed", "42P01", 0), ("SELECT d", "succeeded", "", 0)]
    assert talk.conversation.is_idle


def test_rows_beyond_the_limit_end_the_statement_with_an_error():
    talk = Talk()
    talk.ask(query("SELECT * FROM t"))
    assert talk.answer(*[ROW] * 6) == ROW * 3
    assert talk.tick().is_cancel
    said = error_fields(talk.answer(error("57014", "canceling statement due to user request"))[5:])
    assert (said["C"], said["S"]) == ("54000", "ERROR")
    talk.answer(READY)
    assert talk.log == [("SELECT * FROM t", "cut", "54000", 6)]
    talk.ask(query("SELECT 1"))
    assert talk.answer(ROW, complete("SELECT 1"), READY)
    assert talk.log[-1][1] == "succeeded"


def test_a_statement_that_was_through_before_it_was_cancelled_ends_the_session():
    talk = Talk()
    talk.ask(query("SELECT * FROM t"))
    talk.answer(*[ROW] * 4)
    with pytest.raises(Refused) as refused:
        talk.answer(complete("SELECT 4"))
    assert refused.value.code == "54000"
    talk.conversation.cut(refused.value.code, now_s=0)
    assert talk.log == [("SELECT * FROM t", "cut", "54000", 4)]


def test_bytes_beyond_the_limit_are_counted_before_a_row_begins_to_pass():
    talk = Talk()
    talk.ask(query("SELECT big"))
    head = b"D" + struct.pack("!I", 5000) + b"x" * 100
    assert talk.conversation.from_server(Piece(ord("D"), head, is_last=False), now_s=0) == b""
    assert talk.conversation.from_server(Piece(ord("D"), b"x", is_first=False), now_s=0) == b""
    assert talk.tick().is_cancel


def test_notices_count_as_bytes():
    talk = Talk()
    talk.ask(query("DO"))
    for _ in range(50):
        talk.answer(message("N", b"x" * 100))
    assert talk.tick().is_cancel


def test_copied_rows_count_and_copying_in_passes_over_syncs():
    talk = Talk()
    talk.ask(query("COPY t TO STDOUT"))
    assert talk.answer(message("H", b"\0\0\0"), *[message("d", b"1\n")] * 5).count(b"1\n") == 3
    talk = Talk()
    talk.ask(*prepared("COPY t FROM STDIN"), SYNC)
    talk.answer(message("1"), message("2"), message("n"), message("G", b"\0\0\0"))
    talk.ask(SYNC, *[message("d", b"1\n")] * 10, message("c"), SYNC)
    talk.answer(complete("COPY 10"), READY)
    assert talk.log == [("COPY t FROM STDIN", "succeeded", "", 10)]
    assert talk.conversation.is_idle


def test_a_statement_is_cancelled_when_its_time_is_up_whatever_the_guest_has_set():
    talk = Talk()
    talk.ask(query("SET statement_timeout = 0"))
    talk.answer(complete("SET"), READY)
    talk.ask(query("SELECT pg_sleep(100)"))
    assert not talk.tick(4.9).is_cancel
    assert talk.tick(0.2).is_cancel
    assert not talk.tick(1.0).is_cancel  # once
    said = error_fields(talk.answer(error("57014", "canceling statement due to user request"), READY)[5:])
    assert "longer than 5 s" in said["M"]
    assert talk.log[-1][1:3] == ("cut", "57014")


def test_a_session_whose_statement_resists_its_cancelling_ends():
    talk = Talk()
    talk.ask(query("DO"))
    assert talk.tick(5.1).is_cancel
    with pytest.raises(Refused):
        talk.tick(2.1)


def test_an_unanswered_message_without_a_sync_counts_as_well():
    talk = Talk()
    talk.ask(*prepared("SELECT forever()"))
    assert talk.tick(0.6).is_flush
    talk.ask(message("H"))
    assert not talk.tick(0.1).is_flush
    assert talk.tick(5).is_cancel


@pytest.mark.parametrize("garbage", [message("H"), message("d", b"x"), message("c")])
def test_an_idle_transaction_ends_the_session_and_garbage_keeps_it_not(garbage):
    talk = Talk()
    talk.ask(query("BEGIN"))
    talk.answer(complete("BEGIN"), BUSY)
    talk.tick(6.0)
    talk.ask(garbage)
    with pytest.raises(Refused) as refused:
        talk.tick(1.1)
    assert refused.value.code == "25P03"


def test_a_batch_without_a_sync_is_an_open_transaction():
    talk = Talk()
    talk.ask(*prepared("UPDATE t SET a = 1"), message("H"))
    talk.answer(message("1"), message("2"), message("n"), complete("UPDATE 1"))
    with pytest.raises(Refused):
        talk.tick(7.1)


def test_what_is_in_hand_and_what_is_known_by_name_are_bounded():
    talk = Talk()
    for number in range(MAX_NAMES * 2):
        talk.ask(*prepared("SELECT 1", name=b"s%d" % number)[:1])
    assert talk.conversation.is_full
    assert talk.tick().is_flush
    assert len(talk.conversation._statements) == MAX_NAMES
    talk.answer(*[message("1")] * (MAX_NAMES * 2 - MAX_IN_HAND + 1))
    assert not talk.conversation.is_full


def test_a_session_that_breaks_leaves_its_statement_in_the_log():
    talk = Talk()
    talk.ask(query("SELECT 1"))
    talk.conversation.cut("08006", now_s=1.0)
    assert talk.log == [("SELECT ?", "cut", "08006", 0)]
    assert talk.ended[0].took_s == 1.0


ANY = st.lists(
    st.one_of(
        st.tuples(st.just("guest"), st.sampled_from(sorted(FROM_GUEST)), st.binary(max_size=30)),
        st.tuples(st.just("server"), st.sampled_from(sorted(FROM_SERVER)), st.binary(max_size=30)),
        st.tuples(st.just("tick"), st.integers(0, 3), st.just(b"")),
    ),
    max_size=60,
)


@settings(deadline=None)  # a busy machine is no fault
@given(ANY)
def test_no_order_of_messages_breaks_it(steps):
    talk = Talk(DatabaseLimits())
    try:
        for who, what, body in steps:
            if who == "tick":
                talk.tick(float(what))
            elif who == "guest":
                talk.ask(message(chr(what), body))
            else:
                talk.answer(message(chr(what), body))
    except Refused:
        pass
    assert all(isinstance(each.outcome, Outcome) and each.took_s >= 0 for each in talk.ended)


COPY_IN, COPY_IN_BINARY = message("G", b"\0\0\0"), message("G", b"\1\0\0")
COPY_FAILED = error("57014", "COPY from stdin failed: ...")


def data(content):
    return message("d", content)


@pytest.mark.parametrize(
    ("begin", "lines"),
    [(COPY_IN, [b"1\n2\n", b"3\n4", b"\n"]), (COPY_IN_BINARY, [bytes(2000), bytes(2000), bytes(100)])],
)
def test_a_copy_takes_in_no_more_than_a_statement_gives_back(begin, lines):
    talk = Talk()
    talk.send(query("COPY t FROM STDIN"))
    talk.answer(begin)
    assert talk.send(*map(data, lines[:2])) == b"".join(map(data, lines[:2]))
    failed = talk.send(data(lines[2]))
    assert (failed[:1], b"takes in more than" in failed) == (b"f", True)
    assert talk.send(data(b"more\n"), message("c")) == b""  # and nothing of the rest
    assert not talk.tick(0.5).is_cancel  # the server ends it by itself; a cancel could meet what comes next
    said = talk.answer(COPY_FAILED, READY)
    assert error_fields(said[5:-6])["C"] == "54000"
    assert talk.log == [("COPY t FROM STDIN", "cut", "54000", 0)]
    again = (query("COPY t FROM STDIN"), data(b"1\n"), message("c"))
    assert talk.send(*again) == b"".join(again)  # before the server asks for it, and allowed as before
    talk.answer(COPY_IN, complete("COPY 1"), READY)
    assert talk.log[1:] == [("COPY t FROM STDIN", "succeeded", "", 1)]


def test_what_is_copied_before_the_server_asks_counts():
    talk = Talk()
    talk.send(query("COPY t FROM STDIN"))
    assert talk.send(data(b"x\n" * 4))[:1] == b"f"


def test_newlines_in_binary_are_no_rows():
    talk = Talk()
    talk.send(query("COPY t FROM STDIN (FORMAT binary)"))
    talk.answer(COPY_IN_BINARY)
    assert talk.send(data(b"\n" * 100)) == data(b"\n" * 100)
