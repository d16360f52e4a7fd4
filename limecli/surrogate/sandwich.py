"""Errors of one fit's weights: from the residuals of its samples, or from its replicates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limecli.surrogate.blocks import BlockedSamples, BlockedTarget
    from limecli.surrogate.ridge import WeightedSamples
    from limecli.types import FloatArray

PAIR = 2
_MOST_LEVERAGE = 0.95  # nearer to 1 a sample's own residual says nothing
_MOST_INVERTED = 300  # features; with more their correlations are neglected
_AT_ONCE = 1 << 17  # numbers that are worked on at a time, to stay in the cache


def hc3(
    samples: WeightedSamples | BlockedSamples,
    residuals: FloatArray,
    features: NDArray[np.intp],
    coefficients: FloatArray,
    inverted: FloatArray | None,
    unit: int = 1,
) -> tuple[float, FloatArray]:
    """Squares that a fit leaves, and the covariance of its weights, `[k, k]` (MacKinnon and White
    1985, HC3, by sample or by pair; zeros where `inverted` is None).

    `residuals` are r = sqrt(w) (y - mean), `[n]`, `inverted` is (S S' + alpha I)^-1 where S, as in
    `WeightedSamples`, is of the chosen features.
    """
    k = len(features)
    left_squares, covariance = 0.0, np.zeros((k, k))
    step = unit * max(1, _AT_ONCE // (unit * max(k, 1)))
    for start in range(0, samples.n, step):
        part = slice(start, start + step)
        scaled = samples.scaled(features, part)
        left = residuals[part] - coefficients @ scaled
        left_squares += float(left @ left)
        if inverted is None:
            continue
        maps = inverted @ scaled
        roots = np.sqrt(samples.weights[part] / samples.total)
        if unit == PAIR:
            maps *= _own_pairs(left, maps, scaled, roots)
            maps = maps[:, ::2] + maps[:, 1::2]
        else:
            scaled *= maps
            leverages = np.minimum(scaled.sum(axis=0) + roots * roots, _MOST_LEVERAGE)
            maps *= left / (1.0 - leverages)
        covariance += maps @ maps.T
    return left_squares, covariance


def _own_pairs(
    left: FloatArray, maps: FloatArray, scaled: FloatArray, roots: FloatArray
) -> FloatArray:
    """(I - H)^-1 times what is left of each pair, `[n]`; H is the fit's hat matrix of the pair."""
    own = np.minimum(np.einsum("ij,ij->j", maps, scaled) + roots * roots, _MOST_LEVERAGE)
    cross = np.einsum("ij,ij->j", maps[:, ::2], scaled[:, 1::2]) + roots[::2] * roots[1::2]
    first, second = 1.0 - own[::2], 1.0 - own[1::2]
    least = (1.0 - _MOST_LEVERAGE) * np.minimum(first, second)
    determinant = np.maximum(first * second - cross * cross, least)
    found = np.empty(len(left))
    found[::2] = (second * left[::2] + cross * left[1::2]) / determinant
    found[1::2] = (first * left[1::2] + cross * left[::2]) / determinant
    return found


def replicate_effects(
    target: BlockedTarget,
    features: NDArray[np.intp],
    coefficients: FloatArray,
    inverted: FloatArray,
) -> FloatArray:
    """How far each replicate pulls the pooled weights, `[blocks, k]`. Their sum is 0.

    It is `inverted`, (S S')^-1 of the chosen features, times the block's sum of w (z - mean) times
    what the pooled fit leaves.
    """
    return np.asarray(_left(target, features, coefficients)[:, features] @ inverted)


def errors_on_all(
    target: BlockedTarget,
    features: NDArray[np.intp],
    coefficients: FloatArray,
    unit: int | None,
) -> FloatArray:
    """Standard errors of a fit on all features, `[d]`, given what `features` leave of the outputs.

    They come from the spread over blocks. Few blocks tell little of one feature: where the samples
    are independent, or groups of `unit` are, all features share one variance of what is left.
    `unit` is None for replicates.
    """
    samples, r = target.samples, target.samples.blocks
    left = _left(target, features, coefficients)
    left = left - left.mean(axis=0)
    if unit and samples.n_features > _MOST_INVERTED:
        variances = samples.gram.diagonal()
        own = np.divide(1.0, variances, out=np.zeros(len(variances)), where=~samples.dead)
        effects = left * own
    else:
        own, effects = samples.inverse.diagonal(), left @ samples.inverse
    found = np.einsum("bj,bj->j", effects, effects) * (r / (r - 1))
    alive = ~samples.dead
    if unit and alive.any():
        groups = samples.n / unit
        fitted = min(len(features), groups / 2)  # what is left is smaller than what was there
        found = own * ((found[alive] / own[alive]).mean() * groups / (groups - fitted))
    return np.asarray(np.sqrt(found))


def _left(
    target: BlockedTarget, features: NDArray[np.intp], coefficients: FloatArray
) -> FloatArray:
    """S (what the weights leave), block by block, `[blocks, d]`."""
    weights = np.zeros(target.samples.n_features)
    weights[features] = coefficients
    return target.products - target.samples.grams @ weights
