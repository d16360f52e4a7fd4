"""Feature names that a model file could not keep as they were, and the columns that they stand for.

LightGBM writes "sepal_length_(cm)" and ONNX converters "sepal_length__cm_" for the column
"sepal length (cm)".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from limecli.types import Predictor

if TYPE_CHECKING:
    import pandas as pd


def renamed(known: Sequence[str], wanted: Sequence[str]) -> dict[str, str]:
    """Wanted name -> known name, for those that differ only in characters other than letters,
    digits and underscores. A name that fits two others is left out.
    """
    spare = _by_spelling([name for name in known if name not in wanted])
    missing = _by_spelling([name for name in wanted if name not in known])
    return {
        names[0]: spare[key][0]
        for key, names in missing.items()
        if len(names) == 1 and len(spare.get(key, ())) == 1
    }


def _by_spelling(names: Sequence[str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(re.sub(r"\W", "_", name), []).append(name)
    return groups


def called_as_in(predictor: Predictor, columns: Sequence[str]) -> Predictor:
    """The predictor under the table's own names, where the model's are rewritten ones of them."""
    names = predictor.feature_names
    if names is None or not predictor.rewritten_names:
        return predictor
    own = renamed(columns, names)
    return replace(
        predictor,
        feature_names=tuple(own.get(name, name) for name in names),
        text_features=tuple(own.get(name, name) for name in predictor.text_features),
    )


def picked(frame: pd.DataFrame, names: Sequence[str]) -> Any:
    """The columns of `names`, in that order and under these names."""
    if any(name not in frame.columns for name in names):
        own = renamed(list(frame.columns), names)
        frame = frame.rename(columns={theirs: name for name, theirs in own.items()})
    return frame[list(names)]
