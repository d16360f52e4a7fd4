"""Rows of a table as numbers and codes, many at a time: real ones, to judge explanations by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from limecli.inputs.row_encoder import category_key, codes_of, is_numeric
from limecli.inputs.table import Table
from limecli.types import Column

if TYPE_CHECKING:
    from limecli.types import FloatArray

MOST = 1000


def real_rows(table: Table, columns: tuple[Column, ...], most: int = MOST) -> FloatArray | None:
    """`float[m, n_features]` of at most `most` rows, evenly spread over the table.

    Rows with a category or a gap that the background does not know are left out. None when the
    table lacks a column, or holds words in a column of numbers: it is no data of this model's.
    """
    import numpy as np

    if not all(column.name in table.columns for column in columns) or not len(table):
        return None
    places = np.unique(np.linspace(0, len(table) - 1, most).astype(int))
    rows = np.empty((len(places), len(columns)))
    known = np.ones(len(places), np.bool_)
    for j, column in enumerate(columns):
        if column.categories is None:
            try:
                rows[:, j] = table.typed[column.name].iloc[places].astype(float)
            except (TypeError, ValueError):
                return None
            known &= column.has_missing | ~np.isnan(rows[:, j])
        else:
            rows[:, j] = _codes(table.raw[column.name].iloc[places], column)
            known &= ~np.isnan(rows[:, j])
    return rows[known & ~np.isinf(rows).any(axis=1)]


def _codes(values: Any, column: Column) -> FloatArray:
    """Each value's code; NaN for a category that the background does not have."""
    import numpy as np
    import pandas as pd

    numeric = is_numeric(column)
    codes = codes_of(column.categories or (), numeric)
    places, distinct = pd.factorize(values)
    found = [float(codes.get(category_key(value, numeric), np.nan)) for value in distinct]
    found.append(float(codes.get(category_key(None, numeric), np.nan)))  # place -1: missing
    return np.array(found)[places]
