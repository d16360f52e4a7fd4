"""What z = 1 means for a table's feature, in words: "1.60 < petal length <= 4.35".

And what lime makes of unusual columns, for the engines that draw as it does.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING

from limecli.errors import InputError
from limecli.neighborhood.lime_stream import generator
from limecli.types import Column, Instance, LimeSettings

if TYPE_CHECKING:
    import numpy as np


def condition(column: Column, code: float) -> str:
    """The bin or category behind a code, named so that it cannot be confused with its neighbour."""
    name = column.name
    if column.categories is not None:
        category = column.categories[int(code)]
        return f"{name} is missing" if category is None else f"{name} = {category}"
    if code == column.missing_code:
        return f"{name} is missing"
    edges = edge_texts(column.bins)
    j = int(code)
    if not edges:
        return name
    if j == 0:
        return f"{name} <= {edges[0]}"
    if j == len(edges):
        return f"{name} > {edges[-1]}"
    return f"{edges[j - 1]} < {name} <= {edges[j]}"


def bin_code(column: Column, value: float) -> float:
    """The bin that a number falls into, as lime finds it; missing has a code of its own. The code
    of a category is the number itself.
    """
    if column.categories is not None:
        return value
    if math.isnan(value):
        return float(len(column.bins) + 1)
    return float(bisect_left(column.bins, value))


def edge_texts(edges: Sequence[float]) -> list[str]:
    """Numbers with two decimals, none when all are whole, more when it takes more to differ."""
    if all(edge.is_integer() and abs(edge) < 1e15 for edge in edges):
        return [f"{edge:.0f}" for edge in edges]
    for decimals in range(2, 9):
        texts = [f"{edge:.{decimals}f}" for edge in edges]
        # Distinct, and true to three digits: 0.004 must not read 0.00.
        close = all(
            abs(float(text) - edge) <= 0.005 * abs(edge)
            for text, edge in zip(texts, edges, strict=True)
        )
        if len(set(texts)) == len(texts) and close:
            return texts
    return [repr(edge) for edge in edges]


def seeded(settings: LimeSettings, columns: Sequence[Column]) -> np.random.RandomState:
    """The generator of one row. lime's entropy discretizer has grown a tree a column from it."""
    grown = settings.discretizer == "entropy"
    return generator(settings.seed, sum(c.continuous for c in columns) if grown else 0)


def lime_notes(columns: Sequence[Column], settings: LimeSettings) -> tuple[str, ...]:
    """Where lime's draws are not what one would expect, and where ours are not lime's."""
    if settings.discretizer == "none" or settings.sampler != "lime":
        return ()
    notes = []
    faulty = one_value_columns(columns)
    if faulty:
        notes.append(
            "lime perturbs bins with a single value to 0; columns with such a bin:"
            f" {', '.join(faulty)}"
        )
    gaps = [column.name for column in columns if column.continuous and column.has_missing]
    if gaps:
        notes.append(
            "a missing number is a bin of its own here, where lime has none; columns with missing"
            f" numbers: {', '.join(gaps)}"
        )
    return tuple(notes)


def one_value_columns(columns: Sequence[Column]) -> list[str]:
    """Columns with a bin that holds a single value, which lime perturbs to 0."""
    return [column.name for column in columns if _has_one_value_bin(column)]


def _has_one_value_bin(column: Column) -> bool:
    bounds = enumerate(zip(column.mins, column.maxs, strict=True))
    return any(low == high != 0 and j in column.feature_values for j, (low, high) in bounds)


def refuse_missing(instance: Instance, columns: Sequence[Column]) -> None:
    """Raise InputError for a row with a missing number, which an undiscretised draw cannot take."""
    for column, number in zip(columns, instance.payload, strict=True):
        if math.isnan(number):
            raise InputError(
                f"{instance.path}, row {instance.index}: {column.name!r} is missing, which"
                " --discretizer none cannot perturb",
                "--discretizer quartile treats missing as a bin of its own",
            )
