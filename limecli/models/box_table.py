"""Boxes of many forests -> LeafBoxes: every set once, however many leaves share it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from limecli.leaf_boxes import LeafBoxes
from limecli.models.box_paths import Boxes, refuse_size

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from limecli.types import FloatArray, IntArray


def tabulate(
    parts: Sequence[Boxes],
    n_codes: Sequence[int],
    offset: FloatArray,
    curves: Mapping[int, Callable[[FloatArray], FloatArray]],
) -> LeafBoxes:
    """LeafBoxes of all parts. `n_codes` is how many categories each column has, 0 for numbers."""
    import numpy as np

    shifts = np.cumsum([0, *(len(part.values) for part in parts)])
    values = np.concatenate([np.zeros((0, len(offset))), *(part.values for part in parts)])
    leaf, coded_leaf = (
        np.concatenate([np.zeros(0, np.int64), *(
            getattr(part, name) + shift for part, shift in zip(parts, shifts, strict=False)
        )])
        for name in ("leaf", "coded_leaf")
    )  # fmt: skip
    refuse_size(len(values), len(leaf) + len(coded_leaf))
    table, factor = _numbers(parts)
    coded_column, codes, coded_factor = _categories(parts, n_codes)
    leaves = np.concatenate([leaf, coded_leaf])
    order = np.argsort(leaves, kind="stable")
    leaves = leaves[order]
    bounded = np.zeros(len(values), dtype=bool)
    bounded[leaves] = True
    empty, width = np.zeros(len(coded_column)), max(n_codes, default=0)
    return LeafBoxes(
        leaf=(np.cumsum(bounded) - 1)[leaves],
        factor=np.concatenate([factor, coded_factor + len(table)])[order],
        feature=np.concatenate([table["column"], coded_column]),
        low=np.concatenate([table["low"], empty - np.inf]),
        high=np.concatenate([table["high"], empty + np.inf]),
        missing=np.concatenate([table["missing"], empty.astype(bool)]),
        codes=np.concatenate([np.zeros((len(table), width), dtype=bool), codes]),
        values=values[bounded],
        offset=offset + values[~bounded].sum(axis=0),
        curves=curves,
    )


def _numbers(parts: Sequence[Boxes]) -> tuple[NDArray[np.void], IntArray]:
    """The different sets of numbers, and which of them each pair is."""
    import numpy as np

    column, low, high, missing = (
        np.concatenate([np.zeros(0, dtype), *(getattr(part, name) for part in parts)])
        for name, dtype in (
            ("column", np.int64), ("low", float), ("high", float), ("missing", bool)
        )
    )  # fmt: skip
    bounds, places = np.unique(np.concatenate([low, high]), return_inverse=True)
    below, above = places.reshape(2, -1)
    key = ((column * len(bounds) + below) * len(bounds) + above) * 2 + missing
    _, first, factor = np.unique(key, return_index=True, return_inverse=True)
    kinds = [("column", np.int64), ("low", float), ("high", float), ("missing", bool)]
    table = np.empty(len(first), dtype=kinds)
    for name, values in (("column", column), ("low", low), ("high", high), ("missing", missing)):
        table[name] = values[first]
    return table, factor


def _categories(
    parts: Sequence[Boxes], n_codes: Sequence[int]
) -> tuple[IntArray, NDArray[np.bool_], IntArray]:
    """Column and codes of the different sets of categories, and which of them each pair is."""
    import numpy as np

    width = (max(n_codes, default=0) + 7) // 8
    column = np.concatenate([np.zeros(0, np.int64), *(part.coded_column for part in parts)])
    rows = [np.zeros((0, width), np.uint8)]
    for part in parts:
        missing = width - part.codes.shape[1]
        rows.append(np.pad(part.codes, ((0, 0), (0, missing))))
    keys = np.column_stack([column.astype("<i8").view(np.uint8).reshape(len(column), 8),
                            np.concatenate(rows)])  # fmt: skip
    keys = np.ascontiguousarray(keys).view(f"V{8 + width}").ravel()
    _, first, factor = np.unique(keys, return_index=True, return_inverse=True)
    bits = np.unpackbits(np.concatenate(rows)[first], axis=1, count=max(n_codes, default=0))
    return column[first], bits.astype(bool), factor
