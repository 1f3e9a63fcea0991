from __future__ import annotations

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import DataFrame, Frame, HeadersFrame, PingFrame, PriorityFrame, RstStreamFrame, WindowUpdateFrame

from constellation.rpc.http2 import FrameMeter

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def meter() -> FrameMeter:
    made = FrameMeter(now_s=0.0)
    assert made.count(PREFACE, now_s=0.0) == (0, None)
    return made


def many(frame: Frame, count: int) -> bytes:
    return frame.serialize() * count


@pytest.mark.parametrize("size", [1, 2, 8, 9, 10, 1000])
def test_frames_are_counted_however_they_come(size):
    data = PREFACE + b"".join(
        frame.serialize()
        for frame in (PingFrame(0), DataFrame(1, b"x" * 700), HeadersFrame(3, b"\x82"), RstStreamFrame(3), DataFrame(1))
    )
    whole, pieces = FrameMeter(now_s=0.0), FrameMeter(now_s=0.0)
    assert whole.count(data, now_s=0.0)[0] == 5
    assert sum(pieces.count(data[at : at + size], now_s=0.0)[0] for at in range(0, len(data), size)) == 5
    assert whole._left == pieces._left == 4000 - 1 - 1 - 10 - 1


@pytest.mark.parametrize(
    ("frame", "bound"),
    [
        (PingFrame(0, b"12345678"), 4000),
        (PriorityFrame(1, depends_on=0), 4000),
        (WindowUpdateFrame(0, 1), 4000),
        (DataFrame(1, b""), 4000),
        (DataFrame(1, b"x"), 4000),
        (RstStreamFrame(1), 400),
    ],
)
def test_frames_that_bring_nothing_have_a_bound(frame, bound):
    made = meter()
    assert made.count(many(frame, bound), now_s=0.0) == (bound, None)
    assert made.count(many(frame, 1), now_s=0.0) == (1, ErrorCodes.ENHANCE_YOUR_CALM)


def test_the_bound_moves_with_time_and_with_what_is_sent():
    made = meter()
    assert made.count(many(PingFrame(0), 4000), now_s=0.0) == (4000, None)
    assert made.count(many(PingFrame(0), 500), now_s=0.5) == (500, None)
    for _ in range(25):
        made.sent()
    assert made.count(many(WindowUpdateFrame(0, 1), 100), now_s=0.5) == (100, None)
    assert made.count(many(PingFrame(0), 1), now_s=0.5) == (1, ErrorCodes.ENHANCE_YOUR_CALM)


def test_a_body_has_no_bound_here():
    made = meter()
    assert made.count(many(DataFrame(1, b"x" * 16384), 400), now_s=0.0) == (400, None)
    assert made.count(many(DataFrame(1, b"", flags=["END_STREAM"]), 5000), now_s=0.0) == (5000, None)
    assert made.count(DataFrame(1, b"x" * 16385).serialize(), now_s=0.0) == (1, ErrorCodes.FRAME_SIZE_ERROR)
