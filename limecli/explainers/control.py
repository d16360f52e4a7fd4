"""Boosted trees as control variate for rows of a table (`--control-variate`).

What trees learned of some replicates they say of the others, and of a pool of further draws, which
costs no evaluations: a fit of the pool and one of what the trees leave estimate the same limit as
the samples alone, however good the trees are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from limecli.neighborhood.lime_stream import TabularDraws
from limecli.neighborhood.sobol import SobolPlan
from limecli.surrogate.blocks import of_usual_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limecli.types import FloatArray

FOLDS = 4  # of replicates; with fewer there are no intervals, and no control
_POOL = 1 << 15  # draws, or
_TIMES = 8  # as many as there are samples, if that is more
_CELLS = 1 << 23  # of the pool, but never fewer draws than samples
_TREES, _RATE = 100, 0.1
_LEAVES, _MOST_LEAVES = 8, 31  # of a tree; more than 8 with more than
_A_LEAF = 128  # samples for each
_FEWEST = 5  # samples in a leaf
_MOST_CODES = 255  # scikit-learn's
_FLAT = 1e-12  # a spread below this share of the mean is rounding


def pool_plan(blocks: int, points: int, n_features: int) -> SobolPlan:
    """How many draws there are in the pool of `blocks` replicates of `points` samples each."""
    wanted = max(_POOL // blocks, _TIMES * points)
    wanted = max(min(wanted, _CELLS // (blocks * n_features)), points)
    return SobolPlan(blocks, 1 << (wanted.bit_length() - 1))


class Control:
    """The control variate of one neighborhood, for any label of its outputs.

    Row 0 of `draws` and of `pool` is no draw; both have as many replicates (`FOLDS` at
    least), one after the other. `categorical` are the columns of codes.
    """

    def __init__(
        self, draws: TabularDraws, pool: TabularDraws, blocks: int, categorical: list[int]
    ) -> None:
        self.draws, self.pool = draws, pool
        self._blocks = blocks
        few = [j for j in categorical if _fewer(draws, j) and _fewer(pool, j)]
        self._categorical = few or None
        self._known: dict[int, tuple[FloatArray, FloatArray]] = {}

    def of(self, label: int, outputs: FloatArray) -> tuple[FloatArray, FloatArray]:
        """What trees say of the draws, `float[n]`, and of the pool, `float[m]`, from a label's
        `outputs`, `float[n]`. Each replicate is judged by trees that have not seen its outputs.
        """
        if label not in self._known:
            self._known[label] = self._crossed(outputs)
        return self._known[label]

    def _crossed(self, outputs: FloatArray) -> tuple[FloatArray, FloatArray]:
        rows, pool = self.draws.rows[1:], self.pool.rows[1:]
        values, exponent = of_usual_size(outputs)
        mean, spread = float(values.mean()), float(values.std())
        if spread <= _FLAT * abs(mean):
            constant = float(np.ldexp(mean, exponent))
            return np.full(len(rows), constant), np.full(len(pool), constant)
        scaled = (values - mean) / spread  # trees add up in single precision
        said, of_pool = np.empty(len(rows)), np.empty(len(pool))
        fold, fold_of_pool = self._folds(len(rows)), self._folds(len(pool))
        for number in range(FOLDS):
            own, own_of_pool = fold == number, fold_of_pool == number
            said[own], of_pool[own_of_pool] = self._learned(
                rows[~own], scaled[~own], (rows[own], pool[own_of_pool])
            )
        found, found_of_pool = (
            np.ldexp(part * spread + mean, exponent) for part in (said, of_pool)
        )
        return found, found_of_pool

    def _folds(self, n: int) -> NDArray[np.intp]:
        """The fold of each draw; whole replicates belong to one."""
        return np.repeat(np.arange(self._blocks) % FOLDS, n // self._blocks)

    def _learned(
        self, rows: FloatArray, outputs: FloatArray, others: tuple[FloatArray, FloatArray]
    ) -> tuple[FloatArray, FloatArray]:
        """What trees grown on rows and outputs say of other rows."""
        from sklearn.ensemble import HistGradientBoostingRegressor
        from threadpoolctl import threadpool_limits

        empty = np.isnan(rows).all(axis=0)
        if empty.any():
            rows = np.where(empty, 0.0, rows)  # scikit-learn fails without any number
        trees = HistGradientBoostingRegressor(
            max_iter=_TREES,
            learning_rate=_RATE,
            max_leaf_nodes=min(max(_LEAVES, len(rows) // _A_LEAF), _MOST_LEAVES),
            min_samples_leaf=_FEWEST,
            categorical_features=self._categorical,
            early_stopping=False,
            random_state=0,
        )
        with threadpool_limits(1, user_api="openmp"):  # more would only wait for each other
            trees.fit(rows, outputs)
            first, second = (trees.predict(part) for part in others)
        return first, second


def _fewer(draws: TabularDraws, j: int) -> bool:
    """Whether a column's codes are such as scikit-learn takes for categories."""
    codes = draws.rows[1:, j]
    return bool(codes.max() < _MOST_CODES and codes.min() >= 0)
