"""Numbers and intervals as a page shows them."""

from __future__ import annotations

from collections.abc import Callable

from limecli.report import words


def place(value: float, low: float, high: float) -> float:
    """Where a value lies between two others, 0 to 1."""
    return min(max((value - low) / (high - low), 0.0), 1.0) if high > low else 0.5


def interval(low: float | None, high: float | None, largest: float) -> str:
    """Of weights; "exact" where both ends are one."""
    if low is None or high is None:
        return "-"
    if low == high:
        return "exact"
    ends = words.weight(low, largest, "-"), words.weight(high, largest, "-")
    return f"± {(high - low) / 2:.0e}" if ends[0] == ends[1] else " to ".join(ends)


def between(low: float | None, high: float | None, show: Callable[[float], str]) -> str:
    """An interval, its ends written by `show`."""
    return "no interval" if low is None or high is None else f"{show(low)} to {show(high)}"


def count(value: float) -> str:
    """A whole number."""
    return f"{value:,}"


def percent(value: float | None) -> str:
    """A share; "-" for none."""
    if value is None:
        return "-"
    return "< 0.1 %" if 0 < value < 0.001 else f"{100 * value:.1f} %"


def points(value: float) -> str:
    """A difference of shares, in percentage points."""
    return f"{100 * value:+.1f}"


def signed(value: float | None) -> str:
    """A difference of outputs."""
    return "-" if value is None else f"{'+' if value >= 0 else '-'}{words.number(abs(value))}"


def share(part: int, of: int) -> str:
    """So many of them all, in percent."""
    return percent(part / of) if of else "-"


def number(value: float | None) -> str:
    """An output, an association; "-" for none."""
    return "-" if value is None else words.number(value)


def r2(value: float | None) -> str:
    """R²; "-" for none."""
    return "-" if value is None else words.r2(value)
