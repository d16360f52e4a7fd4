"""A fitted tree, forest, booster or linear model as LeafBoxes over the columns of the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from limecli.errors import NotExactError
from limecli.leaf_boxes import LeafBoxes
from limecli.models.box_boosters import booster_of, xgboost_document
from limecli.models.box_columns import Front
from limecli.models.box_models import Scale, Terms, read_model, unwrapped
from limecli.models.box_paths import boxes_of
from limecli.models.box_table import tabulate
from limecli.models.categories import matrix_of
from limecli.models.column_names import picked, renamed
from limecli.types import Column, Predictor

if TYPE_CHECKING:
    from limecli.types import FloatArray, IntArray

Curve = Callable[["FloatArray"], "FloatArray"]


def leaf_boxes(predictor: Predictor, columns: tuple[Column, ...]) -> LeafBoxes:
    """The model of a Predictor over these columns, on the scale of its `predict_fn`.

    Raises NotExactError, which says why, where the model is no such sum. Costs no evaluation of the
    model; its preparing steps are asked of some thousand rows at most a column.
    """
    scale: Scale = "value" if predictor.task == "regression" else "probability"
    if predictor.output in ("margin", "decision"):
        scale = "margin"
    try:
        terms = read_model(predictor.fitted, _front(predictor, columns), scale)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        # Saved by a version that kept its parts elsewhere.
        raise NotExactError(f"the model's parts cannot be read ({type(error).__name__})") from None
    if predictor.task == "classification" and len(terms.offset) == 1:
        terms = _both_classes(terms, scale)
    elif predictor.task == "regression" and len(terms.offset) != 1:
        raise NotExactError("the model predicts several numbers")
    n_outputs = len(terms.offset)
    parts = [
        boxes for front, forest in terms.forests for boxes in boxes_of(forest, front, n_outputs)
    ]
    offset, curves = _curves(terms)
    sizes = [0 if column.categories is None else len(column.categories) for column in columns]
    return tabulate(parts, sizes, offset, curves)


def _both_classes(terms: Terms, scale: Scale) -> Terms:
    """Of one column: [-v, v] of a margin, [1 - p, p] of a probability."""
    import numpy as np

    signs = np.array([[-1.0], [1.0]])
    forests = tuple(
        (front, replace(forest, value=forest.value @ signs.T)) for front, forest in terms.forests
    )
    first = np.array([0.0 if scale == "margin" else 1.0, 0.0])
    linear = tuple((front, signs @ coef) for front, coef in terms.linear)
    return Terms(first + signs @ terms.offset, forests, linear)


def _front(predictor: Predictor, columns: tuple[Column, ...]) -> Front:
    """How a DataFrame of the columns reaches the model, before any step of its own."""
    model = unwrapped(predictor.fitted)
    names, categories = _booster_columns(model, predictor.path)
    if categories is None:
        names = getattr(predictor.fitted, "feature_names_in_", None)
        if names is None:
            return Front(columns, lambda frame: frame.to_numpy(), tuple(range(len(columns))))
        wanted = [str(name) for name in names]
        return Front(columns, lambda frame: picked(frame, wanted), _order(columns, wanted))
    strict = type(model).__module__.startswith("xgboost")

    def start(frame: Any) -> FloatArray:
        return matrix_of(frame, names, categories, predictor.path, refuse_unknown=strict)

    return Front(columns, start, _order(columns, names))


def _booster_columns(model: Any, path: str) -> tuple[Sequence[str] | None, Any]:
    """Names and categories that XGBoost or LightGBM keep; no categories of any other model."""
    module = type(model).__module__
    if module.startswith("xgboost"):
        from limecli.models.xgboost_document import category_values

        document = xgboost_document(model)
        names = document["learner"].get("feature_names") or None
        return names, category_values(document, path)
    if module.startswith("lightgbm"):
        from limecli.models.lightgbm_text import read_header

        header = read_header(booster_of(model).model_to_string(num_iteration=-1), path)
        return header.feature_names if header.named else None, header.categories
    return None, None


def _order(columns: tuple[Column, ...], names: Sequence[str] | None) -> tuple[int, ...]:
    """The place of each of the model's columns among those of the table."""
    places = {column.name: j for j, column in enumerate(columns)}
    if names is None:
        return tuple(range(len(columns)))
    own = renamed(list(places), names)
    try:
        return tuple(places[own.get(name, name)] for name in names)
    except KeyError as error:
        raise NotExactError(f"the table lacks the model's column {error}") from None


def _curves(terms: Terms) -> tuple[FloatArray, dict[int, Curve]]:
    """What is left when every column has been given its own part of the linear terms."""
    import numpy as np

    offset = terms.offset.copy()
    parts: dict[int, list[Curve]] = {}
    for front, coef in terms.linear:
        routes = front.routes
        offset += coef[:, routes.column < 0] @ routes.base[routes.column < 0]
        for j in np.unique(routes.column[routes.column >= 0]).tolist():
            here = np.flatnonzero(routes.column == j)
            weights = coef[:, here].T
            if j in routes.table:
                curve = _by_code(routes.table[j][:, routes.place[here]] @ weights)
            elif routes.plain:
                curve = _by_slope(weights.sum(axis=0))
            else:
                curve = _by_front(front, j, here, weights)
            parts.setdefault(j, []).append(curve)
    return offset, {j: _sum(curves) for j, curves in sorted(parts.items())}


def _by_code(table: FloatArray) -> Curve:
    return lambda codes: table[codes.astype(int)]


def _by_slope(slope: FloatArray) -> Curve:
    return lambda numbers: numbers[:, None] * slope


def _by_front(front: Front, j: int, features: IntArray, weights: FloatArray) -> Curve:
    return lambda numbers: front.along(j, numbers)[:, features] @ weights


def _sum(curves: list[Curve]) -> Curve:
    if len(curves) == 1:
        return curves[0]
    return lambda values: sum((curve(values) for curve in curves[1:]), curves[0](values))
