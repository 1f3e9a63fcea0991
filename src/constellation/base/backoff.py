"""Exponential back-off with jitter, as a pure rule."""

from __future__ import annotations


def backoff_s(attempt: int, *, base_s: float, cap_s: float, jitter: float, spread: float = 0.25) -> float:
    """Return the wait before the next try, in seconds.

    Args:
        attempt: how many tries have failed, from 1.
        base_s: the wait after the first failure.
        cap_s: the longest wait before jitter.
        jitter: a random number in [0, 1), drawn by the caller so that the rule stays pure.
        spread: the wait is moved by up to this share in either direction.
    """
    # 2**63 would overflow a float product long before a job reaches such an attempt; 40 doublings exceed any cap.
    wait_s = min(cap_s, base_s * 2.0 ** min(attempt - 1, 40))
    return wait_s * (1 + spread * (2 * jitter - 1))
