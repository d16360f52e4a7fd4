"""Groups of decisions by the values of a protected column."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

MISSING, OTHER, NO_NUMBER = "(missing)", "(other)", "(not a number)"
POOLED = (OTHER, NO_NUMBER, MISSING)  # no single value; these stand last
_MOST_VALUES = 50
MOST_GROUPS = _MOST_VALUES + len(POOLED)
_MOST_NUMBERS = 20  # distinct numbers that are still groups of their own
_LONGEST = 200  # characters of a value
_QUARTILES = (0.25, 0.5, 0.75)


class Grouping(Protocol):
    """Gives each decision the code of its group, below MOST_GROUPS."""

    by: str  # "values", "bins" (of the background) or "quartiles" (of the first decisions)

    def code(self, value: str | None, bin_code: int | None) -> int:
        """The group of a value; `bin_code` is that of the feature of the same name, if any."""

    def names(self) -> list[str]:
        """What each code means, so far."""

    def order(self, counts: Sequence[int]) -> list[int]:
        """The codes as readers want them: numbers rising, values by falling count."""


def grouping(values: Sequence[str | None], bins: Sequence[int | None]) -> Grouping:
    """What suits the first decisions' values. More than 20 different numbers become the bins that
    the background has for them, or, where there are none, the quarters of those seen here.
    """
    known = [(value, code) for value, code in zip(values, bins, strict=True) if value is not None]
    distinct = {value for value, _ in known}
    numbers = [number for value in distinct if (number := _number(value)) is not None]
    if len(distinct) <= _MOST_NUMBERS or len(numbers) < len(distinct):
        return _Values(values)
    codes = {code for _, code in known}
    if None in codes:
        return _Quartiles([float(value) for value, _ in known])
    # As many codes as values: the background takes the numbers for categories.
    return _Bins() if len(codes) < min(len(distinct), _MOST_VALUES) else _Values(values)


class _Codes:
    """Codes of names, in the order in which these come."""

    def __init__(self) -> None:
        self.codes: dict[str | int, int] = {}

    def of(self, name: str | int) -> int:
        return self.codes.setdefault(name, len(self.codes))

    def names(self) -> list[str]:
        return [str(name) for name in self.codes]


class _Values:
    """Each value a group: the 50 most frequent at first, then those that come next."""

    by = "values"

    def __init__(self, first: Sequence[str | None]) -> None:
        self._own = _Codes()
        counts = Counter(_cut(value) for value in first if value is not None)
        for value, _ in counts.most_common(_MOST_VALUES):
            self._own.of(value)

    def code(self, value: str | None, bin_code: int | None) -> int:
        if value is None:
            return self._pool(MISSING)
        value = _cut(value)
        if value in self._own.codes or len(self._own.codes) < _MOST_VALUES:
            return self._own.of(value)
        return self._pool(OTHER)

    def _pool(self, name: str) -> int:
        return _MOST_VALUES + POOLED.index(name)

    def names(self) -> list[str]:
        own = self._own.names()
        return [*own, *[""] * (_MOST_VALUES - len(own)), *POOLED]

    def order(self, counts: Sequence[int]) -> list[int]:
        own = sorted(range(_MOST_VALUES), key=lambda code: -counts[code])
        return [*own, *range(_MOST_VALUES, MOST_GROUPS)]


class _Numbers:
    """Ranges of numbers; the last codes are pooled as those of `_Values`."""

    def code(self, value: str | None, bin_code: int | None) -> int:
        if value is None:
            return _MOST_VALUES + POOLED.index(MISSING)
        number = _number(value)
        if number is None:
            return _MOST_VALUES + POOLED.index(NO_NUMBER)
        return self._range(number, bin_code)

    def _range(self, number: float, bin_code: int | None) -> int:
        raise NotImplementedError

    def _names(self) -> list[str]:
        raise NotImplementedError

    def names(self) -> list[str]:
        own = self._names()
        return [*own, *[""] * (_MOST_VALUES - len(own)), *POOLED]


class _Bins(_Numbers):
    """The background's bins, named by the smallest and largest number that came into each."""

    by = "bins"

    def __init__(self) -> None:
        self._ranges: dict[int, tuple[int, float, float]] = {}

    def _range(self, number: float, bin_code: int | None) -> int:
        if bin_code is None or (bin_code not in self._ranges and len(self._ranges) >= _MOST_VALUES):
            return _MOST_VALUES + POOLED.index(OTHER)
        new = len(self._ranges), number, number
        code, low, high = self._ranges.get(bin_code, new)
        self._ranges[bin_code] = code, min(low, number), max(high, number)
        return code

    def _names(self) -> list[str]:
        return [_shown(low, high) for _, low, high in self._ranges.values()]

    def order(self, counts: Sequence[int]) -> list[int]:
        own = [code for code, _, _ in sorted(self._ranges.values(), key=lambda found: found[1:])]
        return [*own, *range(_MOST_VALUES, MOST_GROUPS)]


class _Quartiles(_Numbers):
    """The quarters of the first decisions' numbers."""

    by = "quartiles"

    def __init__(self, numbers: Sequence[float]) -> None:
        ordered = sorted(numbers)
        ends = (ordered[math.ceil(q * len(ordered)) - 1] for q in _QUARTILES)
        self._edges = sorted({end for end in ends if end < ordered[-1]})

    def _range(self, number: float, bin_code: int | None) -> int:
        return bisect_left(self._edges, number)

    def _names(self) -> list[str]:
        texts = [f"{edge:.6g}" for edge in self._edges]
        between = [f"> {low} to {high}" for low, high in pairwise(texts)]
        return [f"up to {texts[0]}", *between, f"> {texts[-1]}"] if texts else ["all numbers"]

    def order(self, counts: Sequence[int]) -> list[int]:
        return [*range(len(self._edges) + 1), *range(_MOST_VALUES, MOST_GROUPS)]


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _cut(value: str) -> str:
    return value if len(value) <= _LONGEST else f"{value[:_LONGEST]}..."


def _shown(low: float, high: float) -> str:
    one, other = f"{low:.6g}", f"{high:.6g}"
    return one if one == other else f"{one} to {other}"
