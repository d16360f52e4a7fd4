"""lime's large-sample weights of a sum of boxes and curves: an expectation instead of a sample.

Under lime's kernel the draws' columns stay independent (`tilted`), and the limit of its fit is
beta_j = Cov~(f, z_j) / Var~(z_j) (Garreau & von Luxburg 2020). For the box of a leaf that is

    P~(box) s_j   with   s_j = Cov~(1[x_j in its set], z_j) / (Var~(z_j) P~(x_j in its set))

so that one product a leaf serves all of its columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from limecli.leaf_boxes import LeafBoxes
from limecli.surrogate.fit import Fit, Weight, compared_top
from limecli.surrogate.tilted import (
    CodeLaws,
    NumberLaws,
    Tilted,
    TiltedBins,
    TiltedNormals,
    kept,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limecli.types import FloatArray, IntArray

_ROUNDING = 1e-13  # of the terms of a sum: a sum below that is rounding, the truth is 0
_TIE = 1e-12  # of the largest score
_CELLS = 1 << 17  # numbers that are worked on at a time, to stay in the cache
_ROWS = 2  # rows that are worked on at a time


@dataclass(frozen=True, eq=False)
class Moments:
    """Expectations under one row's kernel-weighted draws, for the `labels` asked for.

    `beta` is `float[n_features, n_labels]`, `expected` the model's mean, `float[n_labels]`; `mean`
    and `variance` are those of z, `float[n_features]`. `undefined` says where z never varies (a
    category that the background lacks, a constant column): beta is 0 there.
    """

    labels: tuple[int, ...]
    beta: FloatArray
    mean: FloatArray
    variance: FloatArray
    expected: FloatArray
    undefined: NDArray[np.bool_]


class _Leaves:
    """The leaves that say something of some labels. `place[factor]` is a factor's place among all
    of them sorted by feature.
    """

    def __init__(self, boxes: LeafBoxes, place: IntArray, labels: Sequence[int]) -> None:
        from scipy.sparse import csr_matrix

        values = boxes.values[:, labels]
        told = (values != 0).any(axis=1)
        of_told = told[boxes.leaf]
        leaf, self._factor = boxes.leaf[of_told], place[boxes.factor[of_told]]
        self._starts = np.flatnonzero(np.diff(leaf, prepend=-1))
        self._values = values[told]
        features = np.sort(boxes.feature)
        self._feature_starts = np.flatnonzero(np.diff(features, prepend=-1))
        self._features = features[self._feature_starts]
        number = (np.cumsum(told) - 1)[leaf]
        self._by_factor = csr_matrix(
            (np.ones(len(leaf)), (self._factor, number)), (len(place), len(self._values))
        )

    @property
    def n_pairs(self) -> int:
        """How many sides all boxes together have."""
        return len(self._factor)

    def add_to(self, totals: _Totals, tilted: Tilted) -> None:
        """Add the boxes' part."""
        if not self.n_pairs:
            return
        sides = tilted.shares.take(self._factor, axis=0)
        reach = np.multiply.reduceat(sides, self._starts, axis=0)  # P~ of each box
        totals.expected += self._values.T @ reach
        for i, values in enumerate(self._values.T):
            terms = (self._by_factor @ (values[:, None] * reach)) * tilted.slopes
            totals.beta[i, self._features] += self._by_feature(terms)
            if values.min() < 0:
                terms = (self._by_factor @ (np.abs(values)[:, None] * reach)) * tilted.slopes
            totals.size[i, self._features] += self._by_feature(np.abs(terms))

    def _by_feature(self, terms: FloatArray) -> FloatArray:
        return np.asarray(np.add.reduceat(terms, self._feature_starts, axis=0))


class _Totals:
    """What the parts of a model add up to: `expected`, `[n_labels, n_rows]`, and `beta`,
    `[n_labels, n_features, n_rows]`. `size` is the sum of the absolute terms of beta.
    """

    def __init__(self, offset: FloatArray, n_features: int, n_rows: int) -> None:
        self.expected: FloatArray = np.repeat(offset[:, None], n_rows, axis=1)
        self.beta = np.zeros((len(offset), n_features, n_rows))
        self.size = np.zeros_like(self.beta)

    def add_curves(self, tilted: Tilted) -> None:
        """Add the part of functions of one column."""
        for curve in tilted.curves:
            self.expected += curve.mean
            self.beta[:, curve.feature] += curve.slope
            self.size[:, curve.feature] += curve.size

    def moments(self, labels: tuple[int, ...], tilted: Tilted) -> list[Moments]:
        """One for each row."""
        self.beta[np.abs(self.beta) <= _ROUNDING * self.size] = 0.0
        by_row = (
            np.ascontiguousarray(part.T)
            for part in (self.beta, tilted.mean, tilted.variance, self.expected, tilted.undefined)
        )
        return [Moments(labels, *parts) for parts in zip(*by_row, strict=True)]


class Exact:
    """A model among the draws of a background; built once for both."""

    def __init__(self, boxes: LeafBoxes, tilt: TiltedBins | TiltedNormals) -> None:
        self._boxes, self._tilt = boxes, tilt
        order = np.argsort(boxes.feature, kind="stable")
        self._place = np.empty_like(order)
        self._place[order] = np.arange(len(order))
        self._leaves: dict[tuple[int, ...], _Leaves] = {}

    def moments(self, row: NDArray[Any], width: float, labels: Sequence[int]) -> Moments:
        """The moments of one row, `[n_features]`, for some labels at a kernel width."""
        return self.many(row[None], width, labels)[0]

    def many(self, rows: NDArray[Any], width: float, labels: Sequence[int]) -> list[Moments]:
        """The moments of each row, `[n_rows, n_features]`; faster than one by one."""
        wanted = tuple(int(label) for label in labels)
        some, n_pairs = list(wanted), len(self._boxes.leaf)
        leaves = kept(
            self._leaves, wanted, lambda: _Leaves(self._boxes, self._place, some), 3 * n_pairs
        )
        widest = max(leaves.n_pairs, len(self._place), self._tilt.n_features * len(some), 1)
        step = min(max(_CELLS // widest, 1), _ROWS)
        found: list[Moments] = []
        for start in range(0, len(rows), step):
            block = rows[start : start + step]
            real = len(block)
            # Sums over other numbers of rows may round otherwise: there are always as many.
            block = np.concatenate([block, np.repeat(block[-1:], step - real, axis=0)])
            tilted = self._tilt(block, width, some)
            totals = _Totals(self._boxes.offset[some], self._tilt.n_features, len(block))
            leaves.add_to(totals, tilted)
            totals.add_curves(tilted)
            found += totals.moments(wanted, tilted)[:real]
        return found


def exact_bins(boxes: LeafBoxes, laws: CodeLaws) -> Exact:
    """For a discretised background, of `laws.bin_laws`. Rows are codes, z = 1 in the row's bin."""
    return Exact(boxes, TiltedBins(laws))


def exact_normals(boxes: LeafBoxes, laws: NumberLaws, around: bool) -> Exact:
    """For an undiscretised background, of `laws.normal_laws`, drawn `around` the row or not. Rows
    are numbers and codes of categories, z the scaled number or whether the category is the row's.
    """
    return Exact(boxes, TiltedNormals(laws, boxes, around))


def exact_fit(moments: Moments, label: int, first: FloatArray, method: str, k: int) -> Fit:
    """The surrogate of one label, as lime would choose its features without sampling error.

    `first` is `float[n_features]`, z of the instance itself, `method` and `k` say how many features
    and which; see `selection.select`. R² needs the model's variance and stays None.
    """
    place = moments.labels.index(label)
    beta = moments.beta[:, place]
    scores = _scores(moments, beta, first, method)
    order, ranks = _ranked(scores)
    top = (k + 1.0 - ranks[:, 0]) / (1.0 + ranks[:, 1] - ranks[:, 0])
    top = np.minimum(np.maximum(top, 0.0), 1.0)
    chosen = order if method == "none" else order[:k]
    if method == "lasso_path" and scores.any():
        chosen = chosen[scores[chosen] > 0]  # the others never enter the path
    elif method == "lasso_path":
        chosen = order  # a path without steps leaves lime all features
    chosen = np.sort(chosen)
    order, ranks = _ranked(np.abs(beta[chosen]))
    features, ranks = chosen[order], ranks[order]
    weights = tuple(
        Weight(j, weight, weight, weight, None if weight == 0 else 1.0, among, (first_, last))
        for j, weight, among, (first_, last) in zip(
            features.tolist(), beta[features].tolist(), top[features].tolist(), ranks.tolist(),
            strict=True,
        )
    )  # fmt: skip
    intercept = float(moments.expected[place] - beta[chosen] @ moments.mean[chosen])
    local = intercept + float(beta[chosen] @ first[chosen])
    stability = 1.0 if beta.any() else None
    return Fit(
        intercept, weights, None, local, stability=stability, interval="exact",
        stability_top=compared_top(k, len(beta)),
    )  # fmt: skip


def _scores(moments: Moments, beta: FloatArray, first: FloatArray, method: str) -> FloatArray:
    """What each method takes the features by: since they are independent, one score each.

    By that of `highest_weights` also the strongest are told where all are taken.
    """
    if method == "forward_selection":
        return np.abs(beta) * np.sqrt(moments.variance)  # the root of its part of R²
    if method == "lasso_path":
        return np.abs(beta) * moments.variance  # the penalty below which the feature enters
    return np.abs(beta * first)


def _ranked(scores: FloatArray) -> tuple[NDArray[np.intp], IntArray]:
    """Places by falling score, equal ones by place, and the first and last rank that each shares
    with its equals, `int[n, 2]`.
    """
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    tie = _TIE * falling[0] if len(falling) else 0.0
    if (falling[:-1] - falling[1:] > tie).all():  # as it is nearly always
        ranks = np.empty((len(scores), 2), np.int64)
        ranks[order] = np.arange(1, len(scores) + 1)[:, None]
        return order, ranks
    new = np.ones(len(scores), np.bool_)
    new[1:] = falling[:-1] - falling[1:] > tie
    group = np.cumsum(new) - 1
    ends = np.append(np.flatnonzero(new), len(scores))
    ranks = np.empty((len(scores), 2), np.int64)
    ranks[order, 0], ranks[order, 1] = ends[group] + 1, ends[group + 1]
    return order[np.lexsort((order, group))], ranks
