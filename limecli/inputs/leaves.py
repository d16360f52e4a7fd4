"""Trees of any library -> which training rows fell between which splits.

A leaf with 12 rows and the path `age > 30`, `age <= 41` says that 12 rows have an age in (30, 41].
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

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


@dataclass(frozen=True)
class Tree:
    """One tree, arrays over its nodes, children after their parents; leaves have left = -1.

    `feature` is -1 where a split is not `x <= threshold`; `others` are the features split so.
    `count` is the number (or, for XGBoost, the weight) of the training rows in a node.
    """

    left: IntArray
    right: IntArray
    feature: IntArray
    threshold: FloatArray
    count: FloatArray
    others: frozenset[int] = frozenset()


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
    used = np.unique(tree.feature[~leaf & (tree.feature >= 0)])
    used = used[used < n_features]
    width = max(1, _BLOCK // len(tree.left))
    for start in range(0, len(used), width):
        block = used[start : start + width]
        low, high = _bounds(tree, block)
        for j, feature in enumerate(block):
            free = np.isneginf(low[:, j]) & np.isposinf(high[:, j])
            bound = leaf & ~free
            sink.interval(int(feature), low[bound, j], high[bound, j], weight[bound])
            first = free & ~leaf & (tree.feature == feature) & (weight > 0)
            share = weight[tree.left[first]] / weight[first]
            sink.split(int(feature), tree.threshold[first], share, weight[first])


def _bounds(tree: Tree, features: IntArray) -> tuple[FloatArray, FloatArray]:
    """`float[n_nodes, len(features)]` lower and upper bounds of every node, level by level."""
    import numpy as np

    n = len(tree.left)
    low, high = np.full((n, len(features)), -np.inf), np.full((n, len(features)), np.inf)
    column = np.full(int(max(tree.feature.max(), features.max())) + 2, -1)
    column[features] = np.arange(len(features))
    nodes = np.array([0])
    while True:
        nodes = nodes[tree.left[nodes] >= 0]
        if len(nodes) == 0:
            return low, high
        j = np.where(tree.feature[nodes] < 0, -1, column[tree.feature[nodes]])
        here = j >= 0
        for child, bounds, tighten in (
            (tree.left[nodes], high, np.minimum),
            (tree.right[nodes], low, np.maximum),
        ):
            low[child], high[child] = low[nodes], high[nodes]
            at = (child[here], j[here])
            bounds[at] = tighten(bounds[at], tree.threshold[nodes][here])
        nodes = np.concatenate([tree.left[nodes], tree.right[nodes]])


def sklearn_trees(estimators: Any) -> Iterator[Tree]:
    """Decision trees of scikit-learn, out of any array of them."""
    import numpy as np

    for estimator in np.ravel(estimators):
        tree = estimator.tree_
        yield Tree(
            tree.children_left,
            tree.children_right,
            np.maximum(tree.feature, -1),
            tree.threshold,
            tree.n_node_samples.astype(float),
        )


def histogram_trees(predictors: Any) -> Iterator[Tree]:
    """The trees of HistGradientBoosting."""
    import numpy as np

    for predictor in (item for stage in predictors for item in stage):
        nodes = predictor.nodes
        leaf = nodes["is_leaf"].astype(bool)
        other = leaf | nodes["is_categorical"].astype(bool)
        yield Tree(
            np.where(leaf, -1, nodes["left"].astype(np.int64)),
            np.where(leaf, -1, nodes["right"].astype(np.int64)),
            np.where(other, -1, nodes["feature_idx"].astype(np.int64)),
            nodes["num_threshold"],
            nodes["count"].astype(float),
            frozenset(nodes["feature_idx"][other & ~leaf].tolist()),
        )


def xgboost_trees(booster: Any) -> Iterator[Tree]:
    """The trees of an XGBoost booster. Counts are sums of hessians: rows, near enough."""
    import numpy as np

    model = json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]
    model = model.get("gbtree", model)  # dart wraps it
    for tree in model.get("model", {}).get("trees", []):
        left = np.array(tree["left_children"])
        plain = np.array(tree.get("split_type", np.zeros(len(left)))) == 0
        feature = np.array(tree["split_indices"])
        yield Tree(
            left,
            np.array(tree["right_children"]),
            np.where((left >= 0) & plain, feature, -1),
            np.array(tree["split_conditions"], dtype=float),
            np.array(tree["sum_hessian"], dtype=float),
            frozenset(feature[(left >= 0) & ~plain].tolist()),
        )


def lightgbm_trees(content: dict[str, Any]) -> Iterator[Tree]:
    """The trees in what `Booster.dump_model()` gives."""
    import numpy as np

    for tree in content["tree_info"]:
        children: list[list[int]] = []
        feature, threshold, count, others = [], [], [], set[int]()
        waiting = [(tree["tree_structure"], -1, 0)]
        while waiting:
            node, parent, side = waiting.pop()
            number = len(children)
            if parent >= 0:
                children[parent][side] = number
            children.append([-1, -1])
            split = "split_feature" in node
            plain = split and node["decision_type"] == "<="
            if split and not plain:
                others.add(int(node["split_feature"]))
            feature.append(node["split_feature"] if plain else -1)
            threshold.append(float(node["threshold"]) if plain else 0.0)
            count.append(float(node["internal_count"] if split else node.get("leaf_count", 0)))
            if split:
                waiting += [(node["right_child"], number, 1), (node["left_child"], number, 0)]
        left, right = np.array(children).T
        yield Tree(left, right, np.array(feature), np.array(threshold), np.array(count),
                   frozenset(others))  # fmt: skip
