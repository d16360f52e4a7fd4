"""Where a table's features may go when a flip is looked for: as far as the background's do."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from limecli.errors import UsageError
from limecli.surrogate.flips import Space
from limecli.types import Column

_POINT = 1e-10  # a standard deviation, by the size of the mean: lime adds 1e-11 to each


def flip_space(columns: Sequence[Column], immutable: Sequence[str]) -> Space:
    """Where a table's features may go: numbers as far as the background's."""
    names = [column.name for column in columns]
    for name in immutable:
        if name not in names:
            raise UsageError(
                f"--immutable {name}: the model has no such column",
                f"its columns are: {', '.join(names[:12])}",
            )
    ends = np.array([_ends(column) for column in columns]).reshape(-1, 2)
    numbers = np.array([column.continuous and not _atoms(column) for column in columns], np.bool_)
    return Space(
        np.array([name in immutable for name in names], np.bool_),
        numbers,
        numbers & (ends == np.rint(ends)).all(axis=1) & np.isfinite(ends).all(axis=1),
        ends[:, 0],
        ends[:, 1],
        np.array([
            -1 if column.continuous or column.missing_code is None else column.missing_code
            for column in columns
        ]),
    )  # fmt: skip


def _atoms(column: Column) -> bool:
    """Whether every bin of a column of numbers holds a single value: nothing lies in between."""
    bins = [int(code) for code in column.feature_values if code <= len(column.bins)]
    return all(column.stds[j] <= _POINT * max(1.0, abs(column.means[j])) for j in bins)


def _ends(column: Column) -> tuple[float, float]:
    """The lowest and highest number in those bins of a column that occur."""
    if column.continuous:
        bins = [int(code) for code in column.feature_values if code <= len(column.bins)]
        if bins:
            return min(column.mins[j] for j in bins), max(column.maxs[j] for j in bins)
    return -math.inf, math.inf
