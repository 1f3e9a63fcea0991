"""Latencies in log-linear buckets: bounded memory, bounded relative error, exact extremes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# 2,048 buckets an octave bound the error of a value by 1/2048, under 0.05 %: three significant digits.
_SUB_BITS = 11
_SUB = 1 << _SUB_BITS


class Histogram:
    """Counts of whole numbers (here: microseconds). Values below 2,048 are exact; above, to 0.05 %."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.count = 0
        self.min = 0
        self.max = 0
        self._sum = 0

    def record(self, value: int, times: int = 1) -> None:
        """Count one value; below 0 it is 0 (a clock that was read in two places)."""
        value = max(value, 0)
        index = _index(value)
        self._counts[index] = self._counts.get(index, 0) + times
        self.min = value if self.count == 0 else min(self.min, value)
        self.max = max(self.max, value)
        self.count += times
        self._sum += value * times

    @classmethod
    def from_buckets(cls, told: Mapping[str, Any]) -> Histogram:
        """Return what ct-load printed: the same buckets, each by its largest value, with exact sum and extremes."""
        histogram = cls()
        for value, times in told["buckets"]:
            histogram.record(value, times)
        if histogram.count:
            histogram.min, histogram.max, histogram._sum = told["min_us"], told["max_us"], told["sum_us"]
        return histogram

    def percentile(self, percent: float) -> int:
        """Return the smallest value that at least `percent` of all values do not exceed; 0 when there are none."""
        if self.count == 0:
            return 0
        if percent >= 100:
            return self.max
        wanted = max(1, -(-self.count * percent // 100))
        seen = 0
        for index in sorted(self._counts):
            seen += self._counts[index]
            if seen >= wanted:
                return max(self.min, min(_highest(index), self.max))
        return self.max

    @property
    def mean(self) -> float:
        return self._sum / self.count if self.count else 0.0

    def add(self, other: Histogram) -> None:
        """Count everything that `other` counted."""
        if other.count == 0:
            return
        for index, times in other._counts.items():
            self._counts[index] = self._counts.get(index, 0) + times
        self.min = other.min if self.count == 0 else min(self.min, other.min)
        self.max = max(self.max, other.max)
        self.count += other.count
        self._sum += other._sum


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The figures that are printed, in milliseconds."""

    count: int
    mean_ms: float
    min_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float


def summary(histogram: Histogram) -> Summary:
    """Return the figures of a histogram of microseconds."""

    def ms(percent: float) -> float:
        return histogram.percentile(percent) / 1000

    return Summary(
        count=histogram.count,
        mean_ms=histogram.mean / 1000,
        min_ms=histogram.min / 1000,
        p50_ms=ms(50),
        p90_ms=ms(90),
        p99_ms=ms(99),
        p999_ms=ms(99.9),
        max_ms=histogram.max / 1000,
    )


def _index(value: int) -> int:
    shift = max(0, value.bit_length() - _SUB_BITS - 1)
    return (shift << _SUB_BITS) + (value >> shift)


def _highest(index: int) -> int:
    """Return the largest value that falls into a bucket."""
    shift = 0 if index < 2 * _SUB else (index >> _SUB_BITS) - 1
    sub = index - (shift << _SUB_BITS)
    return ((sub + 1) << shift) - 1
