"""Intervals for shares and means of decisions, as if these were a sample of like decisions."""

from __future__ import annotations

import math

from limecli.surrogate.intervals import quantile

_LEVEL = 0.975  # of a one-sided quantile: 95 % intervals
_NORMAL = 1.959963984540054


def wilson(count: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927); `of` is at least 1."""
    share, square = count / of, _NORMAL**2
    middle = (share + square / (2 * of)) / (1 + square / of)
    half = _NORMAL / (1 + square / of) * math.sqrt(share * (1 - share) / of + square / (4 * of**2))
    low = 0.0 if count == 0 else max(middle - half, 0.0)
    return low, 1.0 if count == of else min(middle + half, 1.0)


def newcombe(one: tuple[int, int], other: tuple[int, int]) -> tuple[float, float]:
    """The 95 % interval of the difference of two shares (count, of), from both Wilson intervals
    (Newcombe 1998, method 10).
    """
    p, q = one[0] / one[1], other[0] / other[1]
    (p_low, p_high), (q_low, q_high) = wilson(*one), wilson(*other)
    return (
        p - q - math.hypot(p - p_low, q_high - q),
        p - q + math.hypot(p_high - p, q - q_low),
    )


def of_mean(mean: float, variance: float, n: int) -> tuple[float | None, float | None]:
    """The 95 % t interval of a mean; none of a single value."""
    if n < 2 or not math.isfinite(variance):
        return None, None
    half = quantile(_LEVEL, n - 1) * math.sqrt(variance / n)
    return mean - half, mean + half


def of_difference(
    one: tuple[float, float, int], other: tuple[float, float, int]
) -> tuple[float | None, float | None]:
    """The 95 % interval of the difference of two means (mean, variance, n) (Welch 1947)."""
    (a, a_variance, a_n), (b, b_variance, b_n) = one, other
    if min(a_n, b_n) < 2 or not math.isfinite(a_variance + b_variance):
        return None, None
    a_part, b_part = a_variance / a_n, b_variance / b_n
    total = a_part + b_part
    if total == 0:
        return a - b, a - b
    degrees = total**2 / (a_part**2 / (a_n - 1) + b_part**2 / (b_n - 1))
    half = quantile(_LEVEL, degrees) * math.sqrt(total)
    return a - b - half, a - b + half
