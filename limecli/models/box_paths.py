"""Forests over features -> boxes over columns: one walk down all trees at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from limecli.errors import NotExactError
from limecli.models.box_columns import Front, Routes
from limecli.models.box_forest import Forest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from limecli.types import FloatArray, IntArray

    BoolArray = NDArray[np.bool_]

MAX_PAIRS = 4_000_000
_WALK = 200_000  # nodes to walk over at a time


class Boxes(NamedTuple):
    """Leaves with the sets of columns that lead to them; a leaf without pairs is everywhere.

    Pairs of numbers: `leaf`, `column`, `low`, `high`, `missing`. Pairs of categories: `coded_leaf`,
    `coded_column`, `codes` as bits, `uint8[n, n_bytes]`.
    """

    leaf: IntArray
    column: IntArray
    low: FloatArray
    high: FloatArray
    missing: BoolArray
    coded_leaf: IntArray
    coded_column: IntArray
    codes: NDArray[np.uint8]
    values: FloatArray


@dataclass(frozen=True)
class _Sides:
    """What each side of each split lets through: row 2 x split is its left, the next its right."""

    column: IntArray  # -1: everything or nothing
    low: FloatArray
    high: FloatArray
    missing: BoolArray
    codes: NDArray[np.uint8]  # of columns of categories, as bits
    coded: BoolArray
    empty: BoolArray
    whole: NDArray[np.uint8]  # [n_columns, n_bytes]: all codes that a column has


def boxes_of(forest: Forest, front: Front, n_outputs: int) -> Iterator[Boxes]:
    """The boxes of a forest behind a front, some trees at a time. Raises NotExactError."""
    import numpy as np

    routes = front.routes
    sides, row_of = _sides(forest, routes, front)
    sizes = np.bincount(forest.tree, minlength=len(forest.roots)).cumsum()
    group = sizes // _WALK
    spent = 0
    for number in np.unique(group):
        found = _walk(forest, sides, row_of, forest.roots[group == number], n_outputs)
        spent += len(found.leaf) + len(found.coded_leaf)
        refuse_size(len(found.values), spent)
        yield found


def refuse_size(leaves: int, pairs: int) -> None:
    """Raises NotExactError where the boxes would be too many to be quick."""
    if pairs > MAX_PAIRS:
        raise NotExactError(f"the model's leaves ({leaves:,} or more) have too many bounds")


def _sides(forest: Forest, routes: Routes, front: Front) -> tuple[_Sides, IntArray]:
    """Each split as sets of a column; also node -> its number among the splits."""
    import numpy as np

    nodes = forest.inner
    row_of = np.full(len(forest.left), -1)
    row_of[nodes] = np.arange(len(nodes))
    feature = forest.feature[nodes]
    column = routes.column[feature]
    n_codes = max((len(table) for table in routes.table.values()), default=0)
    low, high = np.full((len(nodes), 2), -np.inf), np.full((len(nodes), 2), np.inf)
    missing = np.zeros((len(nodes), 2), dtype=bool)
    empty = np.zeros((len(nodes), 2), dtype=bool)
    codes = np.zeros((len(nodes), 2, (n_codes + 7) // 8), dtype=np.uint8)
    coded = np.isin(column, list(routes.table))
    fixed = column < 0
    left = forest.goes_left(nodes[fixed], routes.base[feature[fixed]])
    empty[fixed] = np.stack([~left, left], axis=1)
    whole = np.zeros((len(front.columns), codes.shape[2]), dtype=np.uint8)
    for j, table in routes.table.items():
        all_codes = np.packbits(np.ones(len(table), dtype=bool))
        whole[j, : len(all_codes)] = all_codes
        here = np.flatnonzero(column == j)
        left = forest.goes_left(nodes[here], table[:, routes.place[feature[here]]]).T
        octets = np.stack([np.packbits(left, axis=1), np.packbits(~left, axis=1)], axis=1)
        codes[here, :, : octets.shape[2]] = octets
    here = np.flatnonzero(~fixed & ~coded)
    if (forest.by[nodes[here]] >= 0).any():
        name = front.columns[int(column[here][forest.by[nodes[here]] >= 0][0])].name
        raise NotExactError(
            f"the model takes the number column {name!r} for categories:"
            f" name it with --categorical {name}"
        )
    _halve(forest, routes, nodes, here, (low, high, missing))
    sides = _Sides(
        np.repeat(column, 2), low.ravel(), high.ravel(), missing.ravel(),
        codes.reshape(2 * len(nodes), codes.shape[2]), np.repeat(coded, 2), empty.ravel(), whole,
    )  # fmt: skip
    return sides, row_of


def _halve(
    forest: Forest,
    routes: Routes,
    nodes: IntArray,
    here: IntArray,
    into: tuple[FloatArray, FloatArray, BoolArray],
) -> None:
    """Write where the numbers of a column part: at the bound, or where the steps reach it."""
    import numpy as np

    low, high, missing = into
    at, feature = nodes[here], forest.feature[nodes[here]]
    bound, falls = forest.bound[at], routes.inverse.falls[feature]
    if not routes.plain:
        pairs, where = np.unique(np.stack([feature, bound]), axis=1, return_inverse=True)
        bound = routes.inverse(pairs[0].astype(np.int64), pairs[1])[where.ravel()]
    side = falls.astype(np.int64)  # the left side has the low numbers unless the feature falls
    high[here, side] = bound
    low[here, 1 - side] = bound
    left = forest.goes_left(at, routes.missing[feature])
    missing[here] = np.stack([left, ~left], axis=1)


def _walk(
    forest: Forest, sides: _Sides, row_of: IntArray, roots: IntArray, n_outputs: int
) -> Boxes:
    """Down all trees level by level, then up again from each leaf to collect its way."""
    import numpy as np

    node, came = [roots], [np.full(len(roots), -1)]
    parent = [np.full(len(roots), -1)]
    start, total, depth, n_ways = 0, len(roots), 0, 0
    while len(node[-1]):
        inner = np.flatnonzero(forest.left[node[-1]] >= 0)
        at = node[-1][inner]
        ways = np.concatenate([2 * row_of[at], 2 * row_of[at] + 1])
        alive = ~sides.empty[ways]
        came.append(ways[alive])
        parent.append(np.concatenate([inner, inner])[alive] + start)
        node.append(np.concatenate([forest.left[at], forest.right[at]])[alive])
        start, total, depth = total, total + len(node[-1]), depth + 1
        n_ways += depth * int((forest.left[node[-1]] < 0).sum())
        refuse_size(total, n_ways)  # before deep trees' ways are collected
    nodes, ways, parents = (np.concatenate(part) for part in (node, came, parent))
    leaves = np.flatnonzero(forest.left[nodes] < 0)
    current, number = leaves, np.arange(len(leaves))
    found_leaf, found_way = [], []
    for _ in range(depth):
        on = ways[current] >= 0
        current, number = current[on], number[on]
        found_leaf.append(number)
        found_way.append(ways[current])
        current = parents[current]
    leaf = np.concatenate([np.zeros(0, np.int64), *found_leaf])
    way = np.concatenate([np.zeros(0, np.int64), *found_way])
    return _merged(sides, leaf, way, _values(forest, nodes[leaves], n_outputs))


def _values(forest: Forest, leaves: IntArray, n_outputs: int) -> FloatArray:
    import numpy as np

    values = np.zeros((len(leaves), n_outputs))
    width = forest.value.shape[1]
    places = forest.output[forest.tree[leaves]][:, None] + np.arange(width)
    np.put_along_axis(values, places, forest.value[leaves], axis=1)
    return values


def _merged(sides: _Sides, leaf: IntArray, way: IntArray, values: FloatArray) -> Boxes:
    """One set a leaf and column; leaves that nothing reaches are gone, sets of everything too."""
    import numpy as np

    known = sides.column[way] >= 0
    leaf, way = leaf[known], way[known]
    coded = sides.coded[way]
    at_leaf, at_column, starts, ways = _grouped(sides, leaf[~coded], way[~coded])
    low, high, missing = sides.low[ways], sides.high[ways], sides.missing[ways]
    if len(starts):
        low, high = np.maximum.reduceat(low, starts), np.minimum.reduceat(high, starts)
        missing = np.logical_and.reduceat(missing, starts)
    dead = np.zeros(len(values), dtype=bool)
    dead[at_leaf[(low >= high) & ~missing]] = True
    whole = np.isneginf(low) & np.isposinf(high) & missing
    only_missing = low >= high
    low[only_missing] = high[only_missing] = np.inf
    coded_leaf, coded_column, starts, ways = _grouped(sides, leaf[coded], way[coded])
    codes = sides.codes[ways]
    if len(starts):
        codes = np.bitwise_and.reduceat(codes, starts, axis=0)
    dead[coded_leaf[~codes.any(axis=1)]] = True
    numbers = np.cumsum(~dead) - 1
    kept = ~dead[at_leaf] & ~whole
    coded_kept = ~dead[coded_leaf] & (codes != sides.whole[coded_column]).any(axis=1)
    return Boxes(
        numbers[at_leaf[kept]], at_column[kept], low[kept], high[kept], missing[kept],
        numbers[coded_leaf[coded_kept]], coded_column[coded_kept], codes[coded_kept],
        values[~dead],
    )  # fmt: skip


def _grouped(
    sides: _Sides, leaf: IntArray, way: IntArray
) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Leaf and column of each group, where it starts, and the ways in that order."""
    import numpy as np

    column = sides.column[way]
    key = leaf * (int(sides.column.max(initial=0)) + 1) + column
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))
    first = order[starts]
    return leaf[first], column[first], starts, way[order]
