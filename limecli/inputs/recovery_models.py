"""The model itself: the rows, class means, bins or trees that it keeps, however it is wrapped.

Models are recognised by the attributes that fitting gave them, so that no library is imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from limecli.inputs.evidence import Evidence, Link, Links
from limecli.inputs.leaves import add_leaves
from limecli.inputs.recovery_steps import transform
from limecli.inputs.spread import Intervals
from limecli.trees import Tree, histogram_trees, lightgbm_trees, sklearn_trees, xgboost_trees

if TYPE_CHECKING:
    from limecli.types import FloatArray

_DEPTH = 10
_STORED = ("_fit_X", "X_train_", "X_fit_", "support_vectors_")
_CELLS = 10_000_000  # of a sparse matrix that is worth filling
_TINY = 1e-9  # share of a variance that is left of it at least
_MANY_BINS = 200  # as many thresholds are quantiles, fewer lie between all distinct values


def read_model(evidence: Evidence, model: Any, links: Links, depth: int = 0) -> None:
    """Note what a model and everything inside it know. What is not recognised is passed over."""
    steps = getattr(model, "steps", None)
    try:
        if isinstance(steps, list) and steps:
            for name, step in steps[:-1]:
                links = transform(evidence, step, links, name)
            read_model(evidence, steps[-1][1], links, depth + 1)
            return
        if hasattr(model, "_bin_mapper") and getattr(model, "_preprocessor", None) is not None:
            links = transform(evidence, model._preprocessor, links, type(model).__name__)
    except LookupError:  # the way back is lost, what was found on it is not
        evidence.touch(links)
        return
    inner = list(_inner_models(model, links)) if depth < _DEPTH else []
    for part, own in inner:
        read_model(evidence, part, own, depth + 1)
    source = type(model).__name__
    _stored_rows(evidence, model, links, source)
    _class_means(evidence, model, links, source)
    _bin_thresholds(evidence, model, links, source)
    _boosters(evidence, model, links, source)
    trees = None if inner else _trees(model)
    if trees is not None:
        _leaves(evidence, trees, links, source)
    elif not inner:
        evidence.touch(links)


def _inner_models(model: Any, links: Links) -> Iterator[tuple[Any, Links]]:
    """The models that a model asks: of searches, votes, bags, stacks and calibrations."""
    for attribute in ("best_estimator_", "regressor_"):
        inner = getattr(model, attribute, None)
        if hasattr(inner, "predict"):
            yield inner, links
    for calibrated in getattr(model, "calibrated_classifiers_", None) or ():
        yield calibrated.estimator, links
    if type(model).__name__ == "FrozenEstimator":
        yield model.estimator, links
    if _trees(model) is not None:
        return
    inside = getattr(model, "estimators_", None)
    chosen = getattr(model, "estimators_features_", None)
    for i, inner in enumerate(inside if isinstance(inside, list | tuple) else ()):
        if hasattr(inner, "predict"):
            yield inner, links if chosen is None else [links[k] for k in chosen[i]]
    single = getattr(model, "estimator_", None)
    if inside is None and hasattr(single, "predict") and not hasattr(model, "get_support"):
        yield single, links


def _stored_rows(evidence: Evidence, model: Any, links: Links, source: str) -> None:
    for attribute in _STORED:
        rows: Any = getattr(model, attribute, None)
        if getattr(rows, "ndim", 0) != 2 or rows.shape[1] != len(links) or not rows.shape[0]:
            continue
        if hasattr(rows, "toarray"):
            if rows.shape[0] * rows.shape[1] > _CELLS:
                continue
            rows = rows.toarray()
        if attribute != "support_vectors_":
            evidence.count(len(rows))
        for j, link in enumerate(links):
            _stored_column(evidence, link, rows[:, j], source)


def _stored_column(evidence: Evidence, link: Link, values: FloatArray, source: str) -> None:
    spread = evidence.spread(link)
    if spread is None:
        return
    if link.indicator is not None:
        spread.known_shares.setdefault(link.indicator, float((link.back(values) > 0.5).mean()))
    else:
        evidence.say(link, "values", f"rows kept by {source}", link.back(values))


def _class_means(evidence: Evidence, model: Any, links: Links, source: str) -> None:
    """Gaussian naive Bayes: a mixture of one normal distribution a class."""
    import numpy as np

    means, variances = getattr(model, "theta_", None), getattr(model, "var_", None)
    if means is None or variances is None:
        return
    evidence.count(float(np.sum(getattr(model, "class_count_", 0))))
    for j, link in enumerate(links):
        # A share of the widest column's variance was added to each.
        own = np.maximum(variances[:, j] - getattr(model, "epsilon_", 0.0), _TINY * variances[:, j])
        weights = np.asarray(model.class_prior_)
        evidence.mixture(link, f"class means of {source}", means[:, j], np.sqrt(own), weights)


def _bin_thresholds(evidence: Evidence, model: Any, links: Links, source: str) -> None:
    """HistGradientBoosting's bins: quantiles where there are many values."""
    mapper = getattr(model, "_bin_mapper", None)
    # Categories have thresholds, too, but their links say that they are codes.
    for link, found in zip(links, getattr(mapper, "bin_thresholds_", ()), strict=False):
        if len(found) >= _MANY_BINS:
            evidence.between(link, f"bins of {source}", _with_ends(found))
        elif len(found) > 1:
            ends = _with_ends(found)
            evidence.limits(link, f"bins of {source}", ends[0], ends[-1])


def _with_ends(found: Any) -> FloatArray:
    """Thresholds half way between values, and the outermost values beyond them."""
    import numpy as np

    inside: FloatArray = np.asarray(found, dtype=float)
    gaps = np.diff(inside) if len(inside) > 1 else [_gap(inside[0])]
    low, high = inside[0] - gaps[0] / 2, inside[-1] + gaps[-1] / 2
    ends: FloatArray = np.array([max(low, 0.0) if inside[0] > 0 else low, high])
    return np.concatenate([ends[:1], inside, ends[1:]])


def _gap(only: float) -> float:
    """How far the values beside the only threshold may lie apart."""
    return 1.0 if only % 1 == 0.5 else abs(only) or 1.0


def _boosters(evidence: Evidence, model: Any, links: Links, source: str) -> None:
    """The ranges and categories in LightGBM's models, and CatBoost's borders."""
    booster = _lightgbm(model)
    if booster is not None:
        infos = booster.dump_model()["feature_infos"]
        categories = iter(booster.pandas_categorical or ())
        for name, link in zip(booster.feature_name(), links, strict=False):
            info = infos.get(name, {})
            if info.get("values"):
                known = next(categories, info["values"])
                evidence.categories(link, known, f"categories of {source}")
            elif info:
                low, high = info["min_value"], info["max_value"]
                evidence.limits(link, f"ranges of {source}", low, high)
    elif type(model).__module__.startswith("catboost") and hasattr(model, "get_borders"):
        for j, edges in model.get_borders().items():
            if len(edges):
                evidence.between(links[j], f"borders of {source}", _with_ends(edges))


class _Splits:
    """Takes what trees tell and gives it to the columns behind their features."""

    def __init__(self, evidence: Evidence, links: Links, source: str) -> None:
        self._evidence, self._links, self._source = evidence, links, source
        self.seen: set[int] = set()

    def _intervals(self, feature: int) -> Intervals | None:
        link = self._links[feature]
        spread = self._evidence.spread(link)
        self.seen.add(feature)
        if spread is None:
            return None
        spread.sources.setdefault("intervals", f"splits of {self._source}")
        if link.indicator is not None:
            return spread.indicators.setdefault(link.indicator, Intervals())
        return spread.intervals

    def interval(self, feature: int, low: FloatArray, high: FloatArray, weight: FloatArray) -> None:
        kept = self._intervals(feature)
        if kept is not None:
            back = self._links[feature].back
            kept.rows.append((back(low), back(high), weight))

    def split(
        self, feature: int, threshold: FloatArray, share: FloatArray, weight: FloatArray
    ) -> None:
        kept = self._intervals(feature)
        if kept is not None:
            kept.splits.append((self._links[feature].back(threshold), share, weight))


def _leaves(evidence: Evidence, trees: Iterator[Tree], links: Links, source: str) -> None:
    sink = _Splits(evidence, links, source)
    others = add_leaves(trees, len(links), sink)
    evidence.touch(links[j] for j in sink.seen | others if j < len(links))


def _lightgbm(model: Any) -> Any:
    booster = getattr(model, "booster_", model)
    return booster if type(booster).__module__.startswith("lightgbm") else None


def _trees(model: Any) -> Iterator[Tree] | None:
    """The trees of a model that consists of trees over all its features."""
    import numpy as np

    if hasattr(model, "tree_"):
        return sklearn_trees([model])
    inside = np.ravel(np.asarray(getattr(model, "estimators_", []), dtype=object))
    whole = not hasattr(model, "estimators_features_")
    if whole and len(inside) and all(hasattr(tree, "tree_") for tree in inside):
        return sklearn_trees(inside)
    if hasattr(model, "_predictors") and hasattr(model, "_bin_mapper"):
        return histogram_trees(model)
    if type(model).__module__.startswith("xgboost"):
        return xgboost_trees(model.get_booster() if hasattr(model, "get_booster") else model)
    booster = _lightgbm(model)
    return None if booster is None else lightgbm_trees(booster.model_to_string())
