"""XGBoost's and LightGBM's models as an offset and a forest, on the scale of their margin."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from limecli.errors import NotExactError
from limecli.models.box_forest import Forest, join, refuse_leaves, with_gap
from limecli.trees import lightgbm_trees, xgboost_document_trees

if TYPE_CHECKING:
    from limecli.types import FloatArray

_LOGISTIC = ("binary:logistic", "binary:logitraw", "reg:logistic")
_XGBOOST_LOG = ("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox", "survival:aft")
_XGBOOST_BENT = (*_XGBOOST_LOG, *_LOGISTIC, "binary:hinge", "multi:softprob", "multi:softmax")
_LIGHTGBM_BENT = ("binary", "multiclass", "multiclassova", "cross_entropy", "cross_entropy_lambda",
                  "poisson", "gamma", "tweedie")  # fmt: skip


def booster_of(model: Any) -> Any:
    """The Booster of XGBoost or LightGBM that a wrapper holds, or the model itself."""
    if hasattr(model, "get_booster"):
        return model.get_booster()
    return getattr(model, "booster_", model)


def xgboost_document(model: Any) -> dict[str, Any]:
    """What XGBoost writes of a model. Raises NotExactError where that has too many leaves."""
    booster = booster_of(model)
    text = bytes(booster.save_raw("json"))
    nodes = [int(count) for count in re.findall(rb'"num_nodes":"(\d+)"', text)]
    best, rounds = booster.attr("best_iteration"), booster.num_boosted_rounds()
    if best is not None and rounds:
        nodes = nodes[: len(nodes) * (int(best) + 1) // rounds]
    refuse_leaves((sum(nodes) + len(nodes)) // 2, 1)
    document: dict[str, Any] = json.loads(text)
    return document


def margin_only(name: str) -> NotExactError:
    """What to say of models whose sum goes through a curve before it is a prediction."""
    return NotExactError(f"{name} is a sum over boxes on the margin only: --output margin")


def xgboost_forest(model: Any, sparse: bool, scale: str) -> tuple[FloatArray, Forest | None]:
    """`sparse`: rows come as sparse matrices, in which 0 is missing to XGBoost."""
    import numpy as np

    name = type(model).__name__
    document = xgboost_document(model)
    learner = document["learner"]
    objective = learner["objective"]["name"]
    if scale != "margin" and objective in _XGBOOST_BENT:
        raise margin_only(f"XGBoost's {objective}")
    booster = learner["gradient_booster"]
    if booster["name"] == "gblinear":
        raise NotExactError("XGBoost's gblinear is not read")
    inner = booster.get("gbtree", booster)["model"]
    parameters = learner["learner_model_param"]
    if int(parameters.get("num_target") or 1) > 1:
        raise NotExactError(f"{name} predicts several targets")
    n_outputs = max(int(parameters["num_class"]), 1)
    base = np.ravel(json.loads(parameters["base_score"])).astype(float)
    offset = np.zeros(n_outputs) + np.array([_margin(value, objective) for value in base])
    trees = list(xgboost_document_trees(document))[: _used(learner, inner)]
    if any(tree.value.shape[1] > 1 for tree in trees):
        raise NotExactError(f"{name} has trees of several outputs")
    if not trees:
        return offset, None
    weights = np.array(booster.get("weight_drop") or np.ones(len(trees)))[: len(trees)]
    output = np.array(inner["tree_info"])[: len(trees)]
    forest = join(trees, weights, output, "single, below", beyond_left=True)
    refuse_leaves(forest.n_leaves, n_outputs)
    return offset, _with_missing(model, forest, sparse)


def _used(learner: dict[str, Any], inner: dict[str, Any]) -> int:
    """How many trees count: after early stopping, those up to the best round."""
    best = (learner.get("attributes") or {}).get("best_iteration")
    if best is None:
        return len(inner["trees"])
    rounds = int(best) + 1
    ends = inner.get("iteration_indptr")
    if ends:
        return int(ends[min(rounds, len(ends) - 1)])
    parameters = inner["gbtree_model_param"]
    groups = max(int(learner["learner_model_param"]["num_class"]), 1)
    return rounds * groups * max(int(parameters.get("num_parallel_tree") or 1), 1)


def _margin(base: float, objective: str) -> float:
    """The base score before the objective's curve."""
    if objective in _LOGISTIC:
        return math.log(base / (1 - base)) if 0 < base < 1 else 0.0
    if objective in _XGBOOST_LOG:
        return math.log(base) if base > 0 else 0.0
    return base


def _with_missing(model: Any, forest: Forest, sparse: bool) -> Forest:
    """Zeros that are missing: those of sparse rows, or where `missing=0` was asked for."""
    import numpy as np

    marker = getattr(model, "missing", None)
    marker = math.nan if marker is None else float(marker)
    if not math.isnan(marker) and marker != 0:
        raise NotExactError(f"{type(model).__name__} takes {marker:g} for a missing value")
    if not sparse and math.isnan(marker):
        return forest
    if (forest.by >= 0).any():
        raise NotExactError(f"{type(model).__name__} takes zeros for missing categories")
    width = 0.0 if math.isnan(marker) else 2.0**-150  # what is 0 as float32
    return with_gap(forest, np.flatnonzero(forest.left >= 0), width)


def lightgbm_forest(model: Any, scale: str) -> tuple[FloatArray, Forest | None]:
    """A LightGBM model. Random forests predict the mean of their trees; their margin is the sum."""
    import numpy as np

    text = booster_of(model).model_to_string()
    head, _, body = text.partition("\nTree=")
    pairs = {key: value for key, _, value in (line.partition("=") for line in head.split("\n"))}
    objective, *options = pairs.get("objective", "").split(" ")
    bent = objective in _LIGHTGBM_BENT or "sqrt" in options
    if scale != "margin" and bent:
        raise margin_only(f"LightGBM's {objective}")
    if "\nis_linear=1" in body:
        raise NotExactError("LightGBM's linear_tree has slopes in its leaves")
    n_outputs = int(pairs["num_tree_per_iteration"])
    leaves = re.findall(r"^num_leaves=(\d+)", body, re.MULTILINE)
    refuse_leaves(sum(map(int, leaves)), n_outputs)
    trees = [replace(tree, threshold=_as_seen(tree.threshold)) for tree in lightgbm_trees(text)]
    offset = np.zeros(n_outputs)
    if not trees:
        return offset, None
    averaged = "average_output" in pairs and scale != "margin"
    mean = n_outputs / len(trees) if averaged else 1.0
    output = np.arange(len(trees)) % n_outputs
    return offset, join(trees, np.full(len(trees), mean), output, "double")


def _as_seen(threshold: FloatArray) -> FloatArray:
    """LightGBM takes numbers of 1e-35 or less for 0: thresholds with the same effect on all."""
    import numpy as np

    zero = float(np.float32(1e-35))
    under = np.nextafter(-zero, -np.inf)
    return np.where(np.abs(threshold) > zero, threshold, np.where(threshold >= 0, zero, under))
