"""Trees -> which training rows fell between which splits.

A leaf with 12 rows and the path `age > 30`, `age <= 41` says that 12 rows have an age in (30, 41].
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from limecli.trees import Tree

if TYPE_CHECKING:
    from limecli.types import FloatArray, IntArray

_BUDGET = 20_000_000  # leaf x feature cells to look at, at most
_BLOCK = 4_000_000


class Sink(Protocol):
    """What takes the findings, by feature, `float[n]` each, weights as shares of the tree's rows.

    `interval`: rows lie in (low, high]. `split`: of rows that no split of the feature has parted
    before, `share` lie at or below `threshold`.
    """

    def interval(
        self, feature: int, low: FloatArray, high: FloatArray, weight: FloatArray
    ) -> None: ...

    def split(
        self, feature: int, threshold: FloatArray, share: FloatArray, weight: FloatArray
    ) -> None: ...


def add_leaves(trees: Iterator[Tree], n_features: int, sink: Sink) -> set[int]:
    """Tell `sink` of every feature that a tree splits on.

    Returns the features that are split in other ways than by a threshold.
    """
    spent, others = 0, set[int]()
    for tree in trees:
        others |= tree.others
        if spent < _BUDGET and tree.left[0] >= 0:
            _read(tree, n_features, sink)
        spent += len(tree.left) * n_features
    return others


def _read(tree: Tree, n_features: int, sink: Sink) -> None:
    import numpy as np

    weight = tree.count / (tree.count[0] or 1.0)
    leaf = tree.left < 0
    feature_of = np.where(tree.numeric, tree.feature, -1)
    used = np.unique(feature_of[feature_of >= 0])
    used = used[used < n_features]
    width = max(1, _BLOCK // len(tree.left))
    for start in range(0, len(used), width):
        block = used[start : start + width]
        low, high = _bounds(tree, feature_of, block)
        for j, feature in enumerate(block):
            free = np.isneginf(low[:, j]) & np.isposinf(high[:, j])
            bound = leaf & ~free
            sink.interval(int(feature), low[bound, j], high[bound, j], weight[bound])
            first = free & (feature_of == feature) & (weight > 0)
            share = weight[tree.left[first]] / weight[first]
            sink.split(int(feature), tree.threshold[first], share, weight[first])


def _bounds(tree: Tree, feature_of: IntArray, features: IntArray) -> tuple[FloatArray, FloatArray]:
    """`float[n_nodes, len(features)]` lower and upper bounds of every node, level by level."""
    import numpy as np

    n = len(tree.left)
    low, high = np.full((n, len(features)), -np.inf), np.full((n, len(features)), np.inf)
    column = np.full(int(max(feature_of.max(), features.max())) + 2, -1)
    column[features] = np.arange(len(features))
    nodes = np.array([0])
    while True:
        nodes = nodes[tree.left[nodes] >= 0]
        if len(nodes) == 0:
            return low, high
        j = np.where(feature_of[nodes] < 0, -1, column[feature_of[nodes]])
        here = j >= 0
        for child, bounds, tighten in (
            (tree.left[nodes], high, np.minimum),
            (tree.right[nodes], low, np.maximum),
        ):
            low[child], high[child] = low[nodes], high[nodes]
            at = (child[here], j[here])
            bounds[at] = tighten(bounds[at], tree.threshold[nodes][here])
        nodes = np.concatenate([tree.left[nodes], tree.right[nodes]])
