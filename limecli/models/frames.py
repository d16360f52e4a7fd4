"""Between LIME's matrix of codes and the DataFrame of raw values that a tabular model takes."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from limecli.errors import PredictError
from limecli.leaf_boxes import LeafBoxes
from limecli.types import Column, Predictor

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from limecli.types import FloatArray


@lru_cache(maxsize=8)
def _header(names: tuple[str, ...]) -> pd.Index[Any]:
    """Made once: for a single row it takes longer than the rest of its frame."""
    import pandas as pd

    return pd.Index(names)


def decode(codes: FloatArray, columns: tuple[Column, ...]) -> pd.DataFrame:
    """`float[n, n_features]` of numbers and category codes -> the values as the file has them."""
    import numpy as np
    import pandas as pd

    if all(column.continuous for column in columns):
        return pd.DataFrame(codes, columns=_header(tuple(column.name for column in columns)))
    parts: dict[str, pd.Series[Any]] = {}
    for j, column in enumerate(columns):
        if column.categories is None:
            parts[column.name] = pd.Series(codes[:, j])
        else:
            # NaN, not None: what read_csv gives, and what encoders and imputers look for.
            raw = pd.Series([np.nan if value is None else value for value in column.categories])
            parts[column.name] = raw.take(codes[:, j].astype(int)).reset_index(drop=True)
    return pd.DataFrame(parts)


def bind_columns(predictor: Predictor, columns: tuple[Column, ...]) -> Predictor:
    """A Predictor that takes `float[n, n_features]` of codes in place of a DataFrame."""

    def predict_fn(codes: FloatArray) -> FloatArray:
        return predictor.predict_fn(decode(codes, columns))

    return replace(
        predictor,
        predict_fn=predict_fn,
        feature_names=tuple(column.name for column in columns),
        leaf_boxes=None if predictor.fitted is None else partial(_leaf_boxes, predictor, columns),
    )


def _leaf_boxes(predictor: Predictor, columns: tuple[Column, ...]) -> LeafBoxes:
    from limecli.models.boxes import leaf_boxes

    return leaf_boxes(predictor, columns)


def numbers_of(frame: pd.DataFrame, dtype: str, name: str) -> NDArray[Any]:
    """`[n, n_columns]` of a network's own type. Raises PredictError for a column of text."""
    try:
        return frame.to_numpy(dtype=dtype)
    except ValueError:
        raise PredictError(
            f"{name} takes numbers only, but a column holds text",
            "give the table as the network saw it, encoded",
        ) from None
