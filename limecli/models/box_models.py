"""Which trees and coefficients a fitted model adds up, and behind which steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from limecli.errors import NotExactError
from limecli.models.box_boosters import lightgbm_forest, margin_only, xgboost_forest
from limecli.models.box_columns import Front
from limecli.models.box_forest import Forest, join, refuse_leaves
from limecli.models.box_steps import check_step, is_sampler, numbers_known
from limecli.trees import histogram_trees, sklearn_trees

if TYPE_CHECKING:
    from limecli.types import FloatArray, IntArray

Scale = Literal["probability", "margin", "value"]
"""What is asked of a model: its probabilities, its raw scores, or what a regression predicts."""

_DEPTH = 20
_THRESHOLDS = ("FixedThresholdClassifier", "TunedThresholdClassifierCV")
_LINEAR = {"LinearModel", "LinearClassifierMixin", "BaseSGDRegressor"}
_LINKED = {"_GeneralizedLinearRegressor"}
_REASONS = {
    "CalibratedClassifierCV": "bends the answers of its model",
    "TransformedTargetRegressor": "bends the answers of its model",
    "StackingClassifier": "feeds answers of models to another one",
    "StackingRegressor": "feeds answers of models to another one",
    "AdaBoostClassifier": "bends the sum of its votes",
    "AdaBoostRegressor": "takes a median of its models",
    "OneVsRestClassifier": "divides the answers of its models by their sum",
    "OneVsOneClassifier": "counts votes of its models",
    "CatBoostClassifier": "keeps its trees where they are not read",
    "CatBoostRegressor": "keeps its trees where they are not read",
}


@dataclass(frozen=True, eq=False)
class Terms:
    """offset + forests behind their fronts + `coef` `[n_outputs, m]` times the features there."""

    offset: FloatArray
    forests: tuple[tuple[Front, Forest], ...] = ()
    linear: tuple[tuple[Front, FloatArray], ...] = ()

    def scaled(self, factor: float) -> Terms:
        """Every part times a number."""
        return Terms(
            self.offset * factor,
            tuple((front, replace(f, value=f.value * factor)) for front, f in self.forests),
            tuple((front, coef * factor) for front, coef in self.linear),
        )

    def spread(self, places: IntArray, n_outputs: int) -> Terms:
        """The same with more outputs, of which it knows those at `places`."""
        import numpy as np

        known = np.zeros((n_outputs, len(self.offset)))
        known[places, np.arange(len(places))] = 1.0
        forests = []
        for front, forest in self.forests:
            if forest.value.shape[1] == 1:
                forests.append((front, replace(forest, output=places[forest.output])))
            else:
                forests.append((front, replace(forest, value=forest.value @ known.T)))
        linear = tuple((front, known @ coef) for front, coef in self.linear)
        return Terms(known @ self.offset, tuple(forests), linear)


def read_model(model: Any, front: Front, scale: Scale, depth: int = 0) -> Terms:
    """The terms of a model on a scale. Raises NotExactError where it is no such sum."""
    if depth > _DEPTH:
        raise NotExactError("the model holds models too deep inside each other")
    inner = unwrapped(model)
    if inner is not model:
        return read_model(inner, front, scale, depth + 1)
    name = type(model).__name__
    kinds = {cls.__name__ for cls in type(model).__mro__}
    if name in _REASONS:
        raise NotExactError(f"{name} {_REASONS[name]}")
    if getattr(model, "n_outputs_", 1) != 1:
        raise NotExactError(f"{name} predicts several targets")
    if isinstance(getattr(model, "steps", None), list):
        for _, step in model.steps[:-1]:
            front = _through(front, step)
        return read_model(model.steps[-1][1], front, scale, depth + 1)
    if name in ("RFE", "RFECV"):
        return read_model(model.estimator_, _through(front, model), scale, depth + 1)
    if {"VotingClassifier", "VotingRegressor"} & kinds:
        return _voting(model, front, scale, depth)
    if "BaseBagging" in kinds:
        return _bagging(model, front, scale, depth)
    module = type(model).__module__
    if module.startswith("xgboost"):
        return Terms(*_boosted(front, *xgboost_forest(model, front.sparse, scale)))
    if module.startswith("lightgbm"):
        return Terms(*_boosted(front, *lightgbm_forest(model, scale)))
    return _sklearn(model, kinds, front, scale)


def unwrapped(model: Any) -> Any:
    """What a search found best, or what only a threshold or a freezer hides."""
    inner = getattr(model, "best_estimator_", None)
    if inner is not None and hasattr(inner, "predict"):
        return unwrapped(inner)
    if type(model).__name__ == "FrozenEstimator":
        return unwrapped(model.estimator)
    return unwrapped(model.estimator_) if type(model).__name__ in _THRESHOLDS else model


def _through(front: Front, step: Any) -> Front:
    if step is None or isinstance(step, str) or is_sampler(step):
        return front
    check_step(step)
    return front.then(step.transform, tuple(numbers_known(step)))


def _boosted(
    front: Front, offset: FloatArray, forest: Forest | None
) -> tuple[FloatArray, tuple[tuple[Front, Forest], ...]]:
    return offset, () if forest is None else ((front, forest),)


def _added(found: Iterable[Terms]) -> Terms:
    """The sum, unless it gets too long on the way."""
    parts: list[Terms] = []
    leaves = 0
    for part in found:
        parts.append(part)
        leaves += sum(forest.n_leaves for _, forest in part.forests)
        refuse_leaves(leaves, len(part.offset), counted_all=False)
    return Terms(
        sum((part.offset for part in parts[1:]), parts[0].offset),
        tuple(item for part in parts for item in part.forests),
        tuple(item for part in parts for item in part.linear),
    )


def _voting(model: Any, front: Front, scale: Scale, depth: int) -> Terms:
    """Weighted means of answers; votes are counted only where somebody asks for classes."""
    import numpy as np

    if scale == "margin":
        raise NotExactError(f"{type(model).__name__} has no margin")
    weights = model._weights_not_none
    weights = np.ones(len(model.estimators_)) if weights is None else np.asarray(weights, float)
    return _added(
        read_model(part, front, scale, depth + 1).scaled(weight / weights.sum())
        for part, weight in zip(model.estimators_, weights, strict=True)
    )


def _bagging(model: Any, front: Front, scale: Scale, depth: int) -> Terms:
    """Means over models of some of the features, which may know some of the classes only."""
    return _added(_bagged(model, front, scale, depth))


def _bagged(model: Any, front: Front, scale: Scale, depth: int) -> Iterator[Terms]:
    import numpy as np

    n_outputs = int(getattr(model, "n_classes_", 1))
    share = 1 / len(model.estimators_)
    for part, features in zip(model.estimators_, model.estimators_features_, strict=True):
        if scale == "probability" and not hasattr(part, "predict_proba"):
            raise NotExactError(f"{type(model).__name__} counts votes of its models")
        own = front.pick(np.asarray(features))
        terms = read_model(part, own, scale, depth + 1).scaled(share)
        if scale == "probability" and len(terms.offset) != n_outputs:
            terms = terms.spread(np.asarray(part.classes_, dtype=np.int64), n_outputs)
        yield terms


def _sklearn(model: Any, kinds: set[str], front: Front, scale: Scale) -> Terms:
    import numpy as np

    name = type(model).__name__
    classes = getattr(model, "classes_", None) is not None
    if hasattr(model, "tree_") or "BaseForest" in kinds:
        if hasattr(model, "tree_") or hasattr(model, "estimators_"):
            return _averaged(model, front, scale, classes)
    elif "BaseHistGradientBoosting" in kinds or "BaseGradientBoosting" in kinds:
        if classes and scale != "margin":
            raise margin_only(name)
        if "BaseGradientBoosting" in kinds:
            return _stages(model, front)
        if type(model._loss.link).__name__ == "LogLink" and scale != "margin":
            raise margin_only(f"{name} with the loss {model.loss}")
        return _histogram(model, front)
    elif kinds & (_LINEAR | _LINKED) and hasattr(model, "coef_"):
        if (classes or kinds & _LINKED) and scale != "margin":
            raise margin_only(name)
        return _affine(model, front)
    elif name == "DummyRegressor":
        return Terms(np.ravel(model.constant_).astype(float))
    raise NotExactError(f"{name} is no sum over boxes of columns")


def _affine(model: Any, front: Front) -> Terms:
    import numpy as np

    coef = model.coef_.toarray() if hasattr(model.coef_, "toarray") else model.coef_
    coef = np.atleast_2d(np.asarray(coef, dtype=float))
    offset = np.zeros(len(coef)) + np.asarray(model.intercept_, dtype=float)
    return Terms(offset, (), ((front, coef),))


def _averaged(model: Any, front: Front, scale: Scale, classes: bool) -> Terms:
    """Trees and their means: of shares of the classes, or of numbers."""
    import numpy as np

    name = type(model).__name__
    if classes and scale == "margin":
        raise NotExactError(f"{name} has no margin")
    estimators = [model] if hasattr(model, "tree_") else model.estimators_
    _refuse_trees(estimators, int(model.n_classes_) if classes else 1)
    trees = list(sklearn_trees(estimators))
    if classes:
        trees = [replace(tree, value=_shares(tree.value)) for tree in trees]
    n_outputs = trees[0].value.shape[1]
    weights = np.full(len(trees), 1 / len(trees))
    forest = join(trees, weights, np.zeros(len(trees), np.int64), "single")
    return Terms(np.zeros(n_outputs), ((front, forest),))


def _refuse_trees(estimators: Any, n_outputs: int) -> None:
    import numpy as np

    nodes = [estimator.tree_.node_count for estimator in np.ravel(estimators)]
    refuse_leaves((sum(nodes) + len(nodes)) // 2, n_outputs)


def _shares(value: FloatArray) -> FloatArray:
    """Shares of the classes, out of counts (until scikit-learn 1.3) or weighted shares."""
    import numpy as np

    sums = value.sum(axis=1, keepdims=True)
    shares: FloatArray = value / np.where(sums == 0, 1.0, sums)
    return shares


def _stages(model: Any, front: Front) -> Terms:
    """GradientBoosting: what it begins with, and trees times the learning rate."""
    import numpy as np

    n_outputs = model.estimators_.shape[1]
    init = model.init_
    if isinstance(init, str):
        offset = np.zeros(n_outputs)
    elif type(init).__name__ in ("DummyClassifier", "DummyRegressor"):
        row = np.zeros((1, model.n_features_in_), dtype=np.float32)
        offset = np.ravel(model._raw_predict_init(row)).astype(float)
    else:
        raise NotExactError(f"{type(model).__name__} begins with a {type(init).__name__}")
    _refuse_trees(model.estimators_, n_outputs)
    trees = list(sklearn_trees(model.estimators_))
    weights = np.full(len(trees), float(model.learning_rate))
    output = np.arange(len(trees)) % n_outputs
    return Terms(offset, ((front, join(trees, weights, output, "single")),))


def _histogram(model: Any, front: Front) -> Terms:
    import numpy as np

    if getattr(model, "_preprocessor", None) is not None:
        front = front.then(model._preprocessor.transform)
    leaves = [int(tree.nodes["is_leaf"].sum()) for stage in model._predictors for tree in stage]
    refuse_leaves(sum(leaves), len(model._predictors[0]) if leaves else 1)
    trees = list(histogram_trees(model))
    offset = np.ravel(model._baseline_prediction).astype(float)
    output = np.arange(len(trees)) % len(offset)
    return Terms(offset, ((front, join(trees, np.ones(len(trees)), output, "double")),))
