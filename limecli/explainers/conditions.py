"""What z = 1 means for a table's feature, in words: "1.60 < petal length <= 4.35"."""

from __future__ import annotations

import math
from collections.abc import Sequence

from limecli.types import Column


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
    """The bin that a number falls into, as lime finds it; missing has a code of its own."""
    if math.isnan(value):
        return float(len(column.bins) + 1)
    return float(sum(edge < value for edge in column.bins))


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
