"""Raw values of a table -> the numbers that gradient boosters were fitted on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from limecli.errors import PredictError
from limecli.models.column_names import picked

if TYPE_CHECKING:
    import pandas as pd

    from limecli.types import FloatArray, IntArray

Categories = Mapping[int, Sequence[Any] | None]
"""Column number -> its categories in code order; None: the column holds the codes themselves."""


def matrix_of(
    frame: pd.DataFrame,
    names: Sequence[str] | None,
    categories: Categories,
    path: str,
    refuse_unknown: bool,
) -> FloatArray:
    """`float[n, n_features]`, category columns coded, missing values NaN.

    A category that the model never saw raises PredictError, or is missing where the library treats
    it so.
    """
    import numpy as np

    if names is not None:
        frame = picked(frame, names)
    values = np.empty(frame.shape)
    for j, name in enumerate(frame.columns):
        column = frame.iloc[:, j]
        known = categories.get(j)
        if known is None:
            values[:, j] = _numbers(column, str(name), path)
        else:
            codes = codes_of(column, known, str(name), path, refuse_unknown)
            values[:, j] = np.where(codes < 0, np.nan, codes)
    return values


def unnamed_note(columns: Sequence[int], named: bool) -> tuple[str, ...]:
    """What to tell a user whose model has category columns and no names for them."""
    if named or not columns:
        return ()
    places = ", ".join(str(j + 1) for j in columns[:8]) + (", ..." if len(columns) > 8 else "")
    return (f"the model takes column {places} as categories: name it with --categorical",)


def with_category_dtype(
    frame: pd.DataFrame,
    categories: Mapping[str, Sequence[Any]],
    path: str,
    refuse_unknown: bool,
) -> pd.DataFrame:
    """The frame with these columns of category dtype, as at fit, and numbers in the others."""
    import pandas as pd
    from pandas.api.types import is_numeric_dtype

    frame = frame.copy(deep=False)
    for name in frame.columns:
        if name not in categories and not is_numeric_dtype(frame[name]):
            frame[name] = _numbers(frame[name], name, path)  # booleans with gaps, too
    for name, known in categories.items():
        codes = codes_of(frame[name], known, name, path, refuse_unknown)
        frame[name] = pd.Categorical.from_codes(codes, pd.Index(list(known)))
    return frame


def codes_of(
    column: pd.Series[Any], known: Sequence[Any], name: str, path: str, refuse_unknown: bool
) -> IntArray:
    """Places in `known`, -1 for missing values."""
    import numpy as np
    import pandas as pd

    code_of = _lookup(known)
    places, distinct = pd.factorize(column, use_na_sentinel=True)
    codes = [code_of(value) for value in distinct]
    if refuse_unknown and -1 in codes:
        value = distinct[codes.index(-1)]
        shown = ", ".join(map(str, known[:8])) + (", ..." if len(known) > 8 else "")
        number = isinstance(value, float | int | np.number)
        raise PredictError(
            f"{path}: unknown category {str(value)!r} in {name!r}; the model knows {shown}",
            f"if {name} became a number column: --categorical {name}" if number else "",
        )
    table: IntArray = np.array([*codes, -1])
    return table[places]  # -1 finds the last one


def _lookup(known: Sequence[Any]) -> Callable[[Any], int]:
    """The place of a category however a table spells it: 1, 1.0 and "1" are one, unless two."""
    exact = {(_type(value), value): code for code, value in enumerate(known)}

    def find(value: Any) -> int:
        value = value.item() if hasattr(value, "item") else value
        for key in _spellings(value):
            if key in exact:
                return exact[key]
        return -1

    return find


def _type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    return "text" if isinstance(value, str) else "number"


def _spellings(value: Any) -> list[tuple[str, Any]]:
    found = [(_type(value), value), ("text", str(value))]
    if isinstance(value, float) and value.is_integer():
        found.append(("text", str(int(value))))
    if isinstance(value, str):
        if value.lower() in ("true", "false"):
            found.append(("bool", value.lower() == "true"))
        with suppress(ValueError):
            found.append(("number", float(value)))
    return found


def _numbers(column: pd.Series[Any], name: str, path: str) -> Any:
    try:
        return column.astype("float64")
    except (TypeError, ValueError):
        raise PredictError(
            f"{path} takes numbers in {name!r}, but the table has text there",
            "give the table as the model saw it, encoded",
        ) from None
