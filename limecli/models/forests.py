"""scikit-learn's forests, asked without what surrounds each of their hundreds of calls.

Most of the time that a forest takes for a few rows goes into joblib and checks for each tree. The
trees' own answers, added up in the same order, are the same numbers to the last bit: what a model
says first is compared, and where it differs the forest itself is asked ever after.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from limecli.types import FloatArray

_CLASSES = ("RandomForestClassifier", "ExtraTreesClassifier")
_NUMBERS = ("RandomForestRegressor", "ExtraTreesRegressor")


def quick_forest(
    steps: Sequence[Any], final: Any, ask: Callable[[Any], Any]
) -> Callable[[Any], Any]:
    """`ask`, or something that answers the same faster: `final` is a model behind `steps`."""
    kind = type(final)
    plain = kind.__module__ == "sklearn.ensemble._forest" and kind.__name__ in _CLASSES + _NUMBERS
    if not plain or getattr(final, "n_outputs_", None) != 1:
        return ask
    quick: bool | None = None  # not known yet

    def answer(batch: Any) -> Any:
        nonlocal quick
        if quick:
            return _added_up(steps, final, batch)
        told = ask(batch)
        if quick is None:
            quick = _same(steps, final, batch, told)
        return told

    return answer


def _added_up(steps: Sequence[Any], final: Any, batch: Any) -> FloatArray:
    """`float[n, n_classes]`, or `float[n]` of a regression, as the forest itself adds it up."""
    import numpy as np

    for step in steps:
        batch = step.transform(batch)
    rows = final._validate_X_predict(batch)
    total: FloatArray = np.zeros((len(rows), getattr(final, "n_classes_", 1)))
    for tree in final.estimators_:
        total += tree.tree_.predict(rows)[:, : total.shape[1]]
    total /= len(final.estimators_)
    return total if type(final).__name__ in _CLASSES else total[:, 0]


def _same(steps: Sequence[Any], final: Any, batch: Any, told: Any) -> bool:
    import numpy as np

    try:
        return np.array_equal(_added_up(steps, final, batch), told)
    except Exception:  # a version of scikit-learn that is built otherwise
        return False
