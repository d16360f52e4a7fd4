"""Which features a surrogate may use: lime's ways to choose, from the Gram matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from limecli.surrogate.blocks import Moments
from limecli.surrogate.ridge import HIGHEST_ALPHA, Target

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limecli.types import FloatArray

_TIE = 1e-10  # scores closer than this are told apart by rounding alone
_SINGULAR = 1e-10  # a pivot below this share of its variance
_CONSTANT = 1e-13  # a standard deviation below this share of the mean is rounding


def select(target: Target, first: FloatArray, method: str, k: int) -> NDArray[np.intp]:
    """The features of lime's `feature_selection`, in its order.

    `first` is `float[n_features]`, z of the instance itself. `method` is none, forward_selection,
    highest_weights or lasso_path.
    """
    d = target.samples.n_features
    if method == "none":
        return np.arange(d)
    if target.constant and method != "lasso_path":
        return np.arange(min(k, d))  # nothing to choose by
    if method == "forward_selection":
        return _forward(target, min(k, d))
    if method == "highest_weights":
        return _highest(target, first, min(k, d))
    return _lasso_path(target, k)


def _highest(target: Target, first: FloatArray, k: int) -> NDArray[np.intp]:
    """The k largest |coefficient x z of the instance| of a ridge over all features."""
    d = target.samples.n_features
    sizes = np.abs(target.on_all * first)
    order = np.argsort(-sizes, kind="stable")
    if k < d and sizes[order[k - 1]] - sizes[order[k]] <= _TIE * sizes[order[0]]:
        sizes = np.abs(_sklearn_coefficients(target) * first)
        order = np.argsort(-sizes, kind="stable")
    return order[:k]


def _sklearn_coefficients(target: Target) -> FloatArray:
    """What lime would have ranked by: the last digits decide."""
    from sklearn.linear_model import Ridge

    samples = target.samples
    model = Ridge(alpha=HIGHEST_ALPHA)
    model.fit(samples.rows, target.outputs, sample_weight=samples.weights)
    found: FloatArray = model.coef_
    return found


def _forward(target: Target, k: int) -> NDArray[np.intp]:
    """Greedy forward selection by R²: each time the feature of the largest b_j² / v_j.

    v and b are what is left of the features' variances and of their products with the outputs once
    the chosen features are projected out (a Cholesky factorisation of S S', pivot by pivot).
    """
    samples = target.samples
    v, b = samples.variances(), target.products.copy()
    least = np.maximum(_SINGULAR * v, samples.total * (_CONSTANT * samples.means) ** 2)
    free = np.ones(len(b), np.bool_)
    chosen: list[int] = []
    factor: list[FloatArray] = []
    singular = False
    while len(chosen) < k:
        sound = free & (v > least)
        gains = np.where(sound, b * b / np.where(sound, v, 1.0), np.where(free, 0.0, -np.inf))
        tied = np.flatnonzero(gains >= gains.max() - _TIE * target.total_squares)
        if singular:
            tied = np.flatnonzero(free)
        j = int(tied[0]) if len(tied) == 1 else _ask_sklearn(target, chosen, tied)
        chosen.append(j)
        free[j] = False
        if sound[j]:
            column = samples.covariances(j) - sum(part * part[j] for part in factor)
            root = float(v[j]) ** 0.5
            factor.append(column / root)
            b = b - factor[-1] * (b[j] / root)
            v = v - factor[-1] ** 2
        else:
            singular = True  # from here on rounding decides, in lime as here
    return np.array(chosen)


def _ask_sklearn(target: Target, chosen: list[int], candidates: NDArray[np.intp]) -> int:
    """The best of candidates that only rounding tells apart, fitted one by one as lime does it."""
    import warnings

    from sklearn.linear_model import Ridge

    samples = target.samples
    model = Ridge(alpha=0)
    best, best_score = int(candidates[0]), -np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of singular matrices, which is why we are here
        for j in candidates.tolist():
            columns = samples.rows[:, [*chosen, j]]
            model.fit(columns, target.outputs, sample_weight=samples.weights)
            score = model.score(columns, target.outputs, sample_weight=samples.weights)
            if score > best_score:
                best, best_score = j, score
    return best


def _lasso_path(target: Target, k: int) -> NDArray[np.intp]:
    """The last set of at most k features on the lasso path (scikit-learn's LARS)."""
    from sklearn.linear_model import lars_path

    samples, outputs = target.samples, target.outputs
    z, weights = samples.rows, samples.weights
    roots = np.sqrt(weights)
    centred = (z - np.average(z, axis=0, weights=weights)) * roots[:, None]
    answers = (outputs - np.average(outputs, weights=weights)) * roots
    _, _, path = lars_path(centred, answers, method="lasso")
    return _last_of_path(path, np.arange(samples.n_features), k)


def choose(
    moments: Moments, first: FloatArray, method: str, k: int, alpha: float
) -> NDArray[np.intp] | list[NDArray[np.intp]]:
    """The same choice for each of a stack of moments, `[sets, k]`, without asking scikit-learn how
    lime would decide between equals: the first of them is taken. `alpha` is 0 where what is
    estimated is the limit of many samples. A lasso path finds fewer or more: a list of sets.
    """
    sets, d = moments.products.shape
    k = d if method == "none" else min(k, d)
    if k == d and method != "lasso_path":
        return np.tile(np.arange(d), (sets, 1))
    if method == "forward_selection":
        return _forward_stack(moments, k)
    if method == "highest_weights":
        sizes = np.abs(moments.ridge(HIGHEST_ALPHA if alpha > 0 else 0.0) * first)
        return np.argsort(-sizes, axis=1, kind="stable")[:, :k]
    return [_lasso_of(moments.only(place), k) for place in range(sets)]


def _forward_stack(moments: Moments, k: int) -> NDArray[np.intp]:
    """`_forward` for a stack."""
    sets, d = moments.products.shape
    v, b = np.einsum("sjj->sj", moments.gram).copy(), moments.products.copy()
    least = np.where(moments.dead, np.inf, _SINGULAR * v)
    chosen = np.empty((sets, k), np.intp)
    factor = np.zeros((sets, k, d))
    each, score = np.arange(sets), np.empty((sets, d))
    free = np.ones((sets, d), np.bool_)
    for step in range(k):
        sound = free & (v > least)
        score.fill(-1.0)
        score[~free] = -2.0
        np.divide(b * b, v, out=score, where=sound)
        j = chosen[:, step] = score.argmax(axis=1)
        free[each, j] = False
        known = sound[each, j]
        roots = np.sqrt(np.where(known, v[each, j], 1.0))[:, None]
        column = moments.gram[each, j]
        if step:
            before = factor[:, :step]
            column = column - np.matmul(before[each, :, j][:, None, :], before)[:, 0]
        column = np.where(known[:, None], column / roots, 0.0)
        factor[:, step] = column
        b -= column * (b[each, j][:, None] / roots)
        v -= column**2
    return chosen


def _lasso_of(moments: Moments, k: int) -> NDArray[np.intp]:
    """`_lasso_path` of sums: of as few samples as have the same sums."""
    import warnings

    from sklearn.linear_model import lars_path

    alive = np.flatnonzero(~moments.dead)
    if len(alive) == 0 or moments.squares <= 0:
        return alive[:k]
    scale = float(np.sqrt(moments.squares))  # the path stops at absolute tolerances
    values, vectors = np.linalg.eigh(moments.gram[np.ix_(alive, alive)])
    roots = np.sqrt(np.maximum(values, _SINGULAR * values[-1]))
    rows = roots[:, None] * vectors.T
    outputs = vectors.T @ moments.products[alive] / (roots * scale)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of copies of a feature, one of which is left out
        _, _, path = lars_path(rows, outputs, method="lasso")
    return _last_of_path(path, alive, k)


def _last_of_path(path: FloatArray, features: NDArray[np.intp], k: int) -> NDArray[np.intp]:
    """Of the sets along a path, from its end, the first of at most k features."""
    found = features
    for step in range(path.shape[1] - 1, 0, -1):
        found = features[path[:, step].nonzero()[0]]
        if len(found) <= k:
            break
    return found
