"""What a sum over leaf boxes says of rows, and the values at which it may change its mind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from limecli.leaf_boxes import LeafBoxes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from limecli.types import FloatArray, IntArray

_ROWS = 2048
_CELLS = 1 << 22  # of a block that exists at a time
_ATOMS = 200


def evaluate(boxes: LeafBoxes, rows: FloatArray) -> FloatArray:
    """`float[n, n_outputs]` of rows `float[n, n_features]` of numbers (NaN: missing) and codes."""
    import numpy as np

    found = np.empty((len(rows), len(boxes.offset)))
    for start in range(0, len(rows), _ROWS):
        block = rows[start : start + _ROWS]
        found[start : start + _ROWS] = boxes.offset + _leaves(boxes, block)
    for j, curve in boxes.curves.items():
        found += curve(rows[:, j])
    return found


def _leaves(boxes: LeafBoxes, rows: FloatArray) -> FloatArray:
    """The sum of the values of the leaves that each row lies in; eight rows are one byte."""
    import numpy as np

    total = np.zeros((len(rows), len(boxes.offset)))
    inside = _packed(boxes, rows)
    starts = np.flatnonzero(np.diff(boxes.leaf, prepend=-1))
    at = 0
    while at < len(starts):
        # As many leaves as fit, at least one.
        last = np.searchsorted(starts, starts[at] + _CELLS // inside.shape[1], "right") - 1
        end = min(max(int(last), at + 1), at + max(1, _CELLS // len(rows)))
        stop = starts[end] if end < len(starts) else len(boxes.leaf)
        first = starts[at]
        pairs = inside[boxes.factor[first:stop]]
        hit = np.bitwise_and.reduceat(pairs, starts[at:end] - first, axis=0)
        reached = np.unpackbits(hit, axis=1, count=len(rows))
        total += reached.T.astype(float) @ boxes.values[boxes.leaf[starts[at:end]]]
        at = end
    return total


def _packed(boxes: LeafBoxes, rows: FloatArray) -> NDArray[np.uint8]:
    """`[n_factors, ceil(n / 8)]`: which rows lie in which factor."""
    import numpy as np

    packed = np.empty((len(boxes.feature), (len(rows) + 7) // 8), dtype=np.uint8)
    by_code: NDArray[np.bool_] = np.any(boxes.codes, axis=1)
    order = np.argsort(boxes.feature, kind="stable")
    starts = np.flatnonzero(np.diff(boxes.feature[order], prepend=-1))
    for factors in np.split(order, starts[1:]) if len(order) else ():
        x = rows[:, boxes.feature[factors[0]]]
        numbers, coded = factors[~by_code[factors]], factors[by_code[factors]]
        packed[numbers] = _between(boxes, numbers, x)
        if len(coded):
            packed[coded] = np.packbits(boxes.codes[coded][:, x.astype(np.int64)], axis=1)
    return packed


def _between(boxes: LeafBoxes, factors: IntArray, x: FloatArray) -> NDArray[np.uint8]:
    """Which of one column's values, `float[n]`, lie in these factors: the rows up to the upper
    bound without those up to the lower one. Bounds that part the rows alike share their bits.
    """
    import numpy as np

    missing = np.isnan(x)
    order = np.argsort(x, kind="stable")  # NaN last
    known = x[order[: len(x) - int(missing.sum())]]
    place = np.empty_like(order)
    place[order] = np.arange(len(x))
    under = np.searchsorted(known, boxes.low[factors], "right")
    up_to = np.maximum(np.searchsorted(known, boxes.high[factors], "right"), under)
    counts, where = np.unique(np.concatenate([under, up_to]), return_inverse=True)
    first = np.packbits(place < counts[:, None], axis=1)
    inside: NDArray[np.uint8] = first[where[len(factors) :]] ^ first[where[: len(factors)]]
    inside[boxes.missing[factors]] |= np.packbits(missing)
    return inside


def probes(boxes: LeafBoxes, n_features: int) -> Mapping[int, FloatArray]:
    """Values of each column of numbers at which the boxes could be wrong by a rounding.

    Every bound that boxes have there, the next number above it, and NaN: at most 200 values, evenly
    chosen among the bounds. Columns that no box bounds are left out.
    """
    import numpy as np

    found: dict[int, FloatArray] = {}
    numbers = ~boxes.codes.any(axis=1)
    for j in range(n_features):
        bounds = _bounds(boxes, numbers & (boxes.feature == j))
        if len(bounds):
            room = (_ATOMS - 1) // 2
            if len(bounds) > room:
                bounds = bounds[np.linspace(0, len(bounds) - 1, room).round().astype(int)]
            above = np.nextafter(bounds, np.inf)
            found[j] = np.append(np.union1d(bounds, above), np.nan)
    return found


def _bounds(boxes: LeafBoxes, chosen: NDArray[np.bool_]) -> FloatArray:
    import numpy as np

    bounds: FloatArray = np.unique(np.concatenate([boxes.low[chosen], boxes.high[chosen]]))
    return bounds[np.isfinite(bounds)]
