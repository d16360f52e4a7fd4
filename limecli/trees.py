"""Fitted trees of every library as arrays. For whoever wants their splits, counts or leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from limecli.types import FloatArray, IntArray

    BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Tree:
    """One tree, arrays over its nodes, the root first; leaves have left = right = -1.

    A split by a number sends x <= threshold to the left (XGBoost's: x < threshold), one by
    categories those c with `sets[by, c]`; `by` is -1 for all other nodes. What is missing, negative
    or no category goes where `missing_left` says. A category past the end of its set goes right
    (XGBoost's: left). `zero_missing` says of a split that 0 counts as missing. `count` is the
    number (or, for XGBoost, the weight) of the training rows in a node.
    """

    left: IntArray
    right: IntArray
    feature: IntArray
    threshold: FloatArray
    count: FloatArray
    value: FloatArray  # [n_nodes, n_outputs]
    missing_left: BoolArray
    by: IntArray
    sets: BoolArray  # [n_sets, n_categories]
    zero_missing: BoolArray

    @property
    def numeric(self) -> BoolArray:
        """Which nodes compare a number with a threshold."""
        return (self.left >= 0) & (self.by < 0)

    @property
    def others(self) -> set[int]:
        """The features that are split by categories."""
        return set(self.feature[self.by >= 0].tolist())


def sklearn_trees(estimators: Any) -> Iterator[Tree]:
    """Decision trees of scikit-learn, out of any array of them. They see rows as float32."""
    import numpy as np

    nothing = np.zeros((0, 0), dtype=bool)
    for estimator in np.ravel(estimators):
        tree = estimator.tree_
        left, no = tree.children_left, np.zeros(tree.node_count, dtype=bool)
        missing = getattr(tree, "missing_go_to_left", no)  # since 1.3
        yield Tree(
            left,
            tree.children_right,
            tree.feature,
            tree.threshold,
            tree.n_node_samples.astype(float),
            tree.value[:, 0, :],
            missing.astype(bool),
            np.full(len(left), -1),
            nothing,
            no,
        )


def histogram_trees(model: Any) -> Iterator[Tree]:
    """The trees of HistGradientBoosting, round by round, one for each output."""
    import numpy as np

    for predictor in (item for stage in model._predictors for item in stage):
        nodes = predictor.nodes
        inner = ~nodes["is_leaf"].astype(bool)
        categorical = inner & nodes["is_categorical"].astype(bool)
        missing = nodes["missing_go_to_left"].astype(bool)
        by = np.full(len(nodes), -1)
        by[categorical] = np.arange(categorical.sum())
        yield Tree(
            np.where(inner, nodes["left"].astype(np.int64), -1),
            np.where(inner, nodes["right"].astype(np.int64), -1),
            np.where(inner, nodes["feature_idx"].astype(np.int64), -1),
            nodes["num_threshold"],
            nodes["count"].astype(float),
            nodes["value"][:, None],
            missing,
            by,
            _histogram_sets(model, predictor, nodes[categorical]),
            np.zeros(len(nodes), dtype=bool),
        )


def _histogram_sets(model: Any, predictor: Any, nodes: Any) -> BoolArray:
    """What goes left of these nodes: what they list, and what was never seen if missing does."""
    import numpy as np

    if len(nodes) == 0:
        return np.zeros((0, 0), dtype=bool)
    known, places = model._bin_mapper.make_known_categories_bitsets()
    left = _bits(predictor.raw_left_cat_bitsets)[nodes["bitset_idx"]]
    unknown = ~_bits(known)[places[nodes["feature_idx"]]]
    missing = nodes["missing_go_to_left"].astype(bool)[:, None]
    sets: BoolArray = left | (unknown & missing)
    return sets


def _bits(words: Any) -> BoolArray:
    """`bool[n, 32 * n_words]` of `uint32[n, n_words]`, the lowest bit first."""
    import numpy as np

    octets = np.ascontiguousarray(words, dtype="<u4").view(np.uint8)
    return np.unpackbits(octets, axis=1, bitorder="little").astype(bool)


def xgboost_trees(booster: Any) -> Iterator[Tree]:
    """The trees of an XGBoost booster. Counts are sums of hessians: rows, near enough."""
    document = json.loads(bytes(booster.save_raw("json")))
    yield from xgboost_document_trees(document)


def xgboost_document_trees(document: dict[str, Any]) -> Iterator[Tree]:
    """The trees of an XGBoost model in JSON. They see rows as float32."""
    import numpy as np

    booster = document["learner"]["gradient_booster"]
    booster = booster.get("gbtree", booster)  # dart wraps it
    for tree in booster.get("model", {}).get("trees", []):
        left = np.array(tree["left_children"])
        n = len(left)
        inner = left >= 0
        categorical = inner & (np.array(tree.get("split_type") or np.zeros(n)) == 1)
        width = int(tree["tree_param"].get("size_leaf_vector") or 1)
        # XGBoost's numbers are float32: the JSON has as many digits as these need.
        conditions = np.array(tree["split_conditions"], dtype=np.float32).astype(float)
        values = np.array(tree["base_weights"], dtype=float) if width > 1 else conditions
        by, sets = _xgboost_sets(tree, n)
        yield Tree(
            left,
            np.array(tree["right_children"]),
            np.where(inner, np.array(tree["split_indices"]), -1),
            np.where(inner & ~categorical, conditions, 0.0),
            np.array(tree["sum_hessian"], dtype=float),
            values.reshape(n, -1),
            np.array(tree["default_left"]).astype(bool),
            np.where(categorical, by, -1),
            sets,
            np.zeros(n, dtype=bool),
        )


def _xgboost_sets(tree: dict[str, Any], n: int) -> tuple[IntArray, BoolArray]:
    """XGBoost lists the categories that go right."""
    import numpy as np

    by = np.full(n, -1)
    nodes = tree.get("categories_nodes") or []
    listed = np.array(tree.get("categories") or [], dtype=np.int64)
    sets = np.ones((len(nodes), int(listed.max(initial=-1)) + 1), dtype=bool)
    for i, node in enumerate(nodes):
        start = tree["categories_segments"][i]
        sets[i, listed[start : start + tree["categories_sizes"][i]]] = False
        by[node] = i
    return by, sets


def lightgbm_trees(text: str) -> Iterator[Tree]:
    """The trees in what `Booster.model_to_string()` gives."""
    body = text.partition("\nend of trees")[0]
    for block in body.split("\nTree=")[1:]:
        lines = (line.partition("=") for line in block.split("\n")[1:])
        yield _lightgbm_tree({key: value for key, _, value in lines})


def _lightgbm_tree(pairs: dict[str, str]) -> Tree:
    """Nodes first, then leaves: LightGBM's own numbers, leaf l being -l-1."""
    import numpy as np

    def numbers(key: str, dtype: Any = float) -> NDArray[Any]:
        return np.array(pairs.get(key, "").split(), dtype=dtype)

    leaves = int(pairs["num_leaves"])
    nodes = leaves - 1
    ends, flags = np.full(leaves, -1), np.zeros(leaves, dtype=bool)
    children = [numbers(key, np.int64)[:nodes] for key in ("left_child", "right_child")]
    left, right = (np.where(child < 0, nodes - 1 - child, child) for child in children)
    kind = numbers("decision_type", np.int64)[:nodes]
    threshold = numbers("threshold")[:nodes]
    categorical, missing = (kind & 1) == 1, (kind >> 2) & 3  # 0 none, 1 zero, 2 NaN
    default_left = np.where(missing == 0, threshold >= 0, (kind & 2) == 2)  # none: NaN is 0
    by = np.where(categorical, threshold.astype(np.int64), -1)
    parts = (numbers("internal_count"), numbers("leaf_count"))
    counted = all(len(part) == size for part, size in zip(parts, (nodes, leaves), strict=True))
    value = np.concatenate([np.zeros(nodes), numbers("leaf_value")[:leaves]])
    return Tree(
        np.concatenate([left, ends]),
        np.concatenate([right, ends]),
        np.concatenate([numbers("split_feature", np.int64)[:nodes], ends]),
        np.concatenate([np.where(categorical, 0.0, threshold), np.zeros(leaves)]),
        np.concatenate(parts) if counted else np.zeros(nodes + leaves),
        value[:, None],
        np.concatenate([default_left & ~categorical, flags]),
        np.concatenate([by, ends]),
        _lightgbm_sets(numbers("cat_boundaries", np.int64), numbers("cat_threshold", np.int64)),
        np.concatenate([(missing == 1) & ~categorical, flags]),
    )


def _lightgbm_sets(starts: IntArray, words: IntArray) -> BoolArray:
    """LightGBM lists the categories that go left."""
    import numpy as np

    widths = np.diff(starts)
    table = np.zeros((len(widths), int(widths.max(initial=0))), dtype=np.uint32)
    for i, width in enumerate(widths):
        table[i, :width] = words[starts[i] : starts[i] + width]
    return _bits(table) if len(table) else np.zeros((0, 0), dtype=bool)
