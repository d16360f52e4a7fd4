"""A model as a sum over boxes: what makes LIME's weights exact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LeafBoxes:
    """A model of a table's columns as a sum of boxes and of functions of one column each:

    f(x) = offset + sum over leaves of values[leaf] x [x lies in the box] + sum of curves[j](x_j)

    on the scale of `predict_fn`. A box is the product of sets of one column each: its pairs are
    those (`leaf`, `factor`) with that leaf, sorted by it; every leaf has at least one, and no
    column twice. A factor is a set of one column: `feature` says which, (`low`, `high`] the
    numbers inside, `missing` whether NaN is inside, and for a column of categories
    `codes[factor, code]` which are. `curves` map codes or numbers, `float[n]`, to
    `float[n, n_outputs]`.
    """

    leaf: IntArray  # [n_pairs]
    factor: IntArray  # [n_pairs]
    feature: IntArray  # [n_factors]
    low: FloatArray  # [n_factors]
    high: FloatArray  # [n_factors]
    missing: NDArray[np.bool_]  # [n_factors]
    codes: NDArray[np.bool_]  # [n_factors, n_codes], all False for a column of numbers
    values: FloatArray  # [n_leaves, n_outputs]
    offset: FloatArray  # [n_outputs]
    curves: Mapping[int, Callable[[FloatArray], FloatArray]] = field(default_factory=dict)
