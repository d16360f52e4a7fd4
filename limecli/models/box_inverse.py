"""Thresholds of a model's features, brought back to the numbers of the table to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from limecli.types import FloatArray, IntArray

_END = 1e30  # numbers beyond behave as those at the ends
_CELLS = 4_000_000  # of rows to ask at a time
_NEAR = 10  # tries beside the guess, ever farther away, before the rest is halved


@dataclass(frozen=True, eq=False)
class Inverse:
    """Of monotone features, by bisection through the real steps, all columns at once.

    `front` gives `float[n, m]` of `float[n, n_columns]`; `guess` is `[3, m]`: a number of the
    column, the feature there, and the slope. Where `low_nan`, the lowest numbers have no feature
    (a logarithm), and count as lower than all others in the column.
    """

    front: Callable[[FloatArray], FloatArray]
    base: FloatArray
    column: IntArray
    falls: NDArray[np.bool_]
    low_nan: NDArray[np.bool_]
    guess: FloatArray

    def __call__(self, feature: IntArray, bound: FloatArray) -> FloatArray:
        """For pairs of a feature and a bound: the largest number of its column at which the
        feature is at most the bound (where it falls: is still above it); -inf or inf where it is
        so nowhere or everywhere.
        """
        import numpy as np

        found = np.full(len(feature), -np.inf)
        block = _places(self.column[feature]) // max(
            1, _CELLS // max(len(self.base), len(self.column))
        )
        for number in range(int(block.max(initial=-1)) + 1):
            here = block == number
            found[here] = self._some(feature[here], bound[here])
        return found

    def _some(self, feature: IntArray, bound: FloatArray) -> FloatArray:
        import numpy as np

        found = np.full(len(feature), -np.inf)
        lowest, highest = (
            self._low_side(feature, bound, np.full(len(feature), end)) for end in (-_END, _END)
        )
        found[highest] = np.inf
        turns = lowest & ~highest
        feature, bound = feature[turns], bound[turns]
        at, value, slope = self.guess[:, feature]
        with np.errstate(all="ignore"):
            start = at + (bound - value) / slope
        start = np.clip(np.where(np.isfinite(start), start, 0.0), -_END / 2, _END / 2)
        found[turns] = _last(lambda numbers: self._low_side(feature, bound, numbers), start)
        return found

    def _low_side(
        self, feature: IntArray, bound: FloatArray, numbers: FloatArray
    ) -> NDArray[np.bool_]:
        """Whether the features at these numbers are at most the bound (falling: above it)."""
        import numpy as np

        column = self.column[feature]
        rows = _places(column)
        codes = np.repeat(self.base[None], rows.max(initial=-1) + 1, axis=0)
        codes[rows, column] = numbers
        features = self.front(codes)[rows, feature]
        side = (features <= bound) ^ self.falls[feature]
        return np.where(np.isnan(features), self.low_nan[feature], side)


def _places(column: IntArray) -> IntArray:
    """The how-manieth of its column each entry is: so many rows hold all, one entry a cell."""
    import numpy as np

    order = np.argsort(column, kind="stable")
    ordered = column[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    sizes = np.diff(np.append(starts, len(column)))
    places = np.empty(len(column), dtype=np.int64)
    places[order] = np.arange(len(column)) - np.repeat(starts, sizes)
    return places


def _last(low_side: Callable[[FloatArray], NDArray[np.bool_]], start: FloatArray) -> FloatArray:
    """The last number on the low side, where -_END is and _END is not.

    Doubles are counted through like whole numbers: 64 halvings at most.
    """
    import numpy as np

    if len(start) == 0:
        return start
    low, high = (_count(np.full(len(start), end)) for end in (-_END, _END))
    begun = np.zeros((2, len(start)), dtype=bool)  # whether low and high have moved
    tried = _count(start)
    for step in range(_NEAR + 70):
        if (high - 1 <= low).all():
            break
        side = low_side(_number(tried))
        low, high = np.where(side, tried, low), np.where(side, high, tried)
        begun |= [side, ~side]
        tried = (low >> 1) + (high >> 1) + (low & high & 1)
        if step < _NEAR:
            up = np.minimum(low, high - (1 << 3 * step)) + (1 << 3 * step)
            down = np.maximum(high, low + (1 << 3 * step)) - (1 << 3 * step)
            tried = np.where(begun.all(axis=0), tried, np.where(begun[0], up, down))
        tried = np.clip(tried, np.minimum(low + 1, high), np.maximum(high - 1, low))
    return _number(low)


def _count(numbers: FloatArray) -> IntArray:
    """Doubles as whole numbers of the same order, neighbors being 1 apart."""
    import numpy as np

    bits = (numbers + 0.0).view(np.int64)
    return bits ^ ((bits >> 63) & np.int64(0x7FFFFFFFFFFFFFFF))


def _number(counts: IntArray) -> FloatArray:
    import numpy as np

    bits = counts ^ ((counts >> 63) & np.int64(0x7FFFFFFFFFFFFFFF))
    return bits.view(np.float64)
