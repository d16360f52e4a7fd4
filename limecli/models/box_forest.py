"""Many trees as one set of arrays, over the features that the model sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from limecli.errors import NotExactError
from limecli.trees import Tree

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from limecli.types import FloatArray, IntArray

    BoolArray = NDArray[np.bool_]

MAX_LEAVES = 70_000
MAX_VALUES = 6_000_000  # leaves x outputs
"""A model of so many leaves is read, checked on 2,500 rows and explained in a second or two."""

Comparison = Literal["double", "single", "single, below"]
"""How a number meets a threshold: as it is, as float32, or as float32 and by < in place of <=."""


@dataclass(frozen=True, eq=False)
class Forest:
    """Trees joined; `roots` are their first nodes, `tree` says to which a node belongs.

    A double x goes to the left where x <= `bound`; `by`, `sets`, `beyond_left` and `missing_left`
    are as in `Tree`. `value` is `float[n_nodes, width]`: what the leaf adds to the outputs from
    `output[tree]` on.
    """

    roots: IntArray
    tree: IntArray
    left: IntArray
    right: IntArray
    feature: IntArray
    bound: FloatArray
    missing_left: BoolArray
    by: IntArray
    sets: BoolArray
    beyond_left: bool
    value: FloatArray
    output: IntArray

    @property
    def inner(self) -> IntArray:
        """The nodes that split."""
        import numpy as np

        return np.flatnonzero(self.left >= 0)

    @property
    def n_leaves(self) -> int:
        """How many leaves all trees have."""
        return len(self.left) - len(self.inner)

    def goes_left(self, nodes: IntArray, x: FloatArray) -> BoolArray:
        """Where each node sends a feature's value: `[..., n_nodes]` of `x` in that shape."""
        import numpy as np

        with np.errstate(invalid="ignore"):
            left = x <= self.bound[nodes]
        missing = np.isnan(x)
        coded = self.by[nodes] >= 0
        if coded.any():
            values = x[..., coded]
            wrong = ~(values >= 0)
            codes = np.where(wrong, 0, np.minimum(values, self.sets.shape[1])).astype(np.int64)
            padded = np.pad(self.sets, ((0, 0), (0, 1)), constant_values=self.beyond_left)
            left[..., coded] = padded[self.by[nodes[coded]], codes]
            missing[..., coded] = wrong
        return np.where(missing, self.missing_left[nodes], left)


def refuse_leaves(leaves: int, n_outputs: int, counted_all: bool = True) -> None:
    """Raises NotExactError where the boxes would take too long: to be asked before any is made."""
    if leaves <= MAX_LEAVES and leaves * n_outputs <= MAX_VALUES:
        return
    count = f"{leaves / 1000:,.0f} thousand leaves" if leaves >= 1000 else f"{leaves} leaves"
    count += "" if counted_all else " or more"
    if leaves > MAX_LEAVES:
        most = f"{MAX_LEAVES / 1000:,.0f} thousand"
        raise NotExactError(f"the model's trees have {count}; up to {most} are added up")
    raise NotExactError(f"the model's trees have {count} for {n_outputs:,} classes, too many to"
                        " add up")  # fmt: skip


def join(
    trees: Sequence[Tree],
    weights: FloatArray,
    output: IntArray,
    comparison: Comparison,
    beyond_left: bool = False,
) -> Forest:
    """Forest of trees, each times its weight, adding to the outputs from `output[tree]` on."""
    import numpy as np

    sizes = np.array([len(tree.left) for tree in trees])
    starts = np.cumsum(sizes) - sizes
    number = np.repeat(np.arange(len(trees)), sizes)
    left, right = (
        np.concatenate([getattr(tree, side) for tree in trees]).astype(np.int64)
        for side in ("left", "right")
    )
    inner = left >= 0
    rows = np.array([len(tree.sets) for tree in trees])
    by = np.concatenate([tree.by for tree in trees])
    bound = np.concatenate([tree.threshold for tree in trees]).astype(np.float64)
    forest = Forest(
        starts,
        number,
        np.where(inner, left + starts[number], -1),
        np.where(inner, right + starts[number], -1),
        np.where(inner, np.concatenate([tree.feature for tree in trees]), -1),
        bound if comparison == "double" else _of_singles(bound, comparison == "single, below"),
        np.concatenate([tree.missing_left for tree in trees]),
        np.where(by >= 0, by + (np.cumsum(rows) - rows)[number], -1),
        _stacked([tree.sets for tree in trees], beyond_left),
        beyond_left,
        np.concatenate([tree.value for tree in trees]) * weights[number][:, None],
        output,
    )
    zero = np.concatenate([tree.zero_missing for tree in trees]) & inner
    return (
        with_gap(forest, np.flatnonzero(zero), float(np.float32(1e-35))) if zero.any() else forest
    )


def _stacked(sets: Sequence[BoolArray], beyond: bool) -> BoolArray:
    import numpy as np

    width = max((item.shape[1] for item in sets), default=0)
    found = np.full((sum(map(len, sets)), width), beyond)
    at = 0
    for item in sets:
        found[at : at + len(item), : item.shape[1]] = item
        at += len(item)
    return found


def _of_singles(threshold: FloatArray, below: bool) -> FloatArray:
    """The largest double whose float32 is at most (or below) the threshold.

    Halfway between that float32 and the next one, or just under it: ties go to the even one.
    """
    import numpy as np

    with np.errstate(over="ignore", invalid="ignore"):
        single = threshold.astype(np.float32)
        over = single >= threshold if below else single > threshold
        single = np.where(over, np.nextafter(single, np.float32(-np.inf)), single)
        above = np.nextafter(single, np.float32(np.inf))
        middle = (single.astype(np.float64) + above.astype(np.float64)) / 2
        kept = middle.astype(np.float32) <= single
    return np.where(kept, middle, np.nextafter(middle, -np.inf))


def with_gap(forest: Forest, nodes: IntArray, width: float) -> Forest:
    """These nodes send -width <= x <= width where they send what is missing.

    That is up to three comparisons: nodes are put in between, which share their children.
    """
    import numpy as np

    bound, default = forest.bound[nodes].copy(), forest.missing_left[nodes]
    under = np.nextafter(-width, -np.inf)
    inside = (bound >= -width) & (bound <= width)
    bound[inside & default] = width
    bound[inside & ~default] = under
    left, right = forest.left.copy(), forest.right.copy()
    bounds = forest.bound.copy()
    bounds[nodes] = bound
    # Left and yet missing to the right: under the gap? above it, and still at most the bound?
    holed = ~default & (bound > width)
    # Right and yet missing to the left: at most the bound? then between the ends of the gap?
    added = default & (bound < -width)
    chosen = np.flatnonzero(holed | added)
    old, hole = nodes[chosen], holed[chosen]
    n, m = len(forest.left), len(chosen)
    first, second = n + np.arange(m), n + m + np.arange(m)
    yes, no = left[old], right[old]
    right[old] = first
    bounds[old] = np.where(hole, under, bound[chosen])
    new_bounds = np.concatenate([
        np.where(hole, width, under), np.where(hole, bound[chosen], width)
    ])  # fmt: skip
    copies = np.concatenate([old, old])
    return replace(
        forest,
        tree=np.concatenate([forest.tree, forest.tree[copies]]),
        left=np.concatenate([left, no, yes]),
        right=np.concatenate([right, second, no]),
        feature=np.concatenate([forest.feature, forest.feature[copies]]),
        bound=np.concatenate([bounds, new_bounds]),
        missing_left=np.concatenate([forest.missing_left, forest.missing_left[copies]]),
        by=np.concatenate([forest.by, forest.by[copies]]),
        value=np.concatenate([forest.value, forest.value[copies]]),
    )
