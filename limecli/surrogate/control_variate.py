"""A logistic regression as control variate: what it explains of a model needs no evaluations.

The weights are those of the regression, over a large pool of masks that costs nothing, and those of
what it leaves on the evaluated masks. Each mask is judged by a regression fitted to other masks, so
the sum estimates the same limit however good the regression is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from limecli.surrogate.blocks import BlockedSamples, BlockedTarget, Moments, inverse
from limecli.surrogate.fidelity import held_out
from limecli.surrogate.fit import Fit, assembled, compared, fit_pairs, importance, r2_of
from limecli.surrogate.intervals import Errors
from limecli.surrogate.sandwich import PAIR, errors_on_all, hc3
from limecli.surrogate.selection import choose

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limecli.types import FloatArray

_SAMPLES_A_FEATURE = 5  # with fewer it hurts
_FOLDS = 4
_PENALTY = 1.0  # on the regression's coefficients, in samples
_FREE = 1e-6  # on its intercept
_STEPS = 8
_ENOUGH = 1e-4  # of the loss: a step that gains less is the last
_LEAST_STEP = 1e-3
_CERTAIN = 1e-3  # a mean probability nearer to 0 or 1 starts from here


def fit_controlled(
    samples: BlockedSamples,
    outputs: FloatArray,
    first: FloatArray,
    method: str,
    k: int,
    pool_z: NDArray[Any],
    pool_weights: FloatArray,
    scored: Sequence[int] | None = None,
) -> Fit:
    """`fit_pairs` with a control variate; `pool_z`, `[n_features, m]`, holds pairs of masks, too.

    It is `fit_pairs` itself with fewer than five samples a feature, for outputs that are no
    probabilities, and where the regression explains nothing.
    """
    plain = fit_pairs(samples, outputs, first, method, k, scored)
    if (
        plain.errors is None
        or samples.n < _SAMPLES_A_FEATURE * samples.n_features
        or outputs.min() < 0
        or outputs.max() > 1
    ):
        return plain
    pool = BlockedSamples(pool_z, pool_weights, samples.blocks, PAIR)
    control, pool_control = _control(samples, outputs, pool)
    left = BlockedTarget(samples, outputs - control)
    target = BlockedTarget(samples, outputs)
    if left.total_squares >= target.total_squares:
        return plain
    known = BlockedTarget(pool, pool_control)
    features = choose(_together(known, left), first, method, k, 0.0)[0]
    coefficients, covariance = np.zeros(len(features)), np.zeros((len(features), len(features)))
    everything, variances = np.zeros(samples.n_features), np.zeros(samples.n_features)
    for part in (known, left):
        found, spread = _fitted(part, features)
        on_all = part.pooled.ridge(0.0)[0]
        rest = compared(method, features, found, on_all)
        coefficients, covariance = coefficients + found, covariance + spread
        everything = everything + on_all
        variances = variances + errors_on_all(part, *rest, unit=PAIR) ** 2
    errors = Errors(
        features, coefficients, covariance, np.inf, everything, np.sqrt(variances),
        importance(method, first, samples.gram.diagonal()),
    )  # fmt: skip
    intercept = known.mean + left.mean - float(pool.means[features] @ coefficients)
    return assembled(
        0, intercept, features, coefficients, first, r2_of(target, features, coefficients),
        held_out(target, first, method, k, 0.0, scored), k, "pairs", errors, "",
    )  # fmt: skip


def _together(known: BlockedTarget, left: BlockedTarget) -> Moments:
    """The pool's Gram matrix with the products of both parts, a sample each."""
    pool, some = known.pooled, left.pooled
    size = known.samples.total
    products = pool.products + some.products * (size / left.samples.total)
    return replace(pool, products=products)


def _fitted(target: BlockedTarget, features: NDArray[np.intp]) -> tuple[FloatArray, FloatArray]:
    """Weights of one part on the chosen features, and their covariance."""
    samples = target.samples
    coefficients = target.pooled.only(0).ridge_on(features, 0.0)
    gram = samples.gram[features[:, None], features]
    inverted = inverse(gram, samples.dead[features], 0.0)
    residuals = target.residuals.reshape(-1)[: samples.n]
    return coefficients, hc3(samples, residuals, features, coefficients, inverted, PAIR)[1]


def _control(
    samples: BlockedSamples, outputs: FloatArray, pool: BlockedSamples
) -> tuple[FloatArray, FloatArray]:
    """What regressions make of each sample (fitted to other folds of pairs), and of the pool."""
    z = samples.z.T.astype(np.float64)
    weights = samples.weights * (samples.n / samples.total)
    step = PAIR * -(-samples.n // (PAIR * _FOLDS))
    control, pooled = np.empty(samples.n), np.zeros(pool.n)
    pool_z = pool.z.T.astype(np.float64)
    for start in range(0, samples.n, step):
        others = np.ones(samples.n, np.bool_)
        others[start : start + step] = False
        intercept, slopes = _logistic(z[others], outputs[others], weights[others])
        control[~others] = _expit(z[~others] @ slopes + intercept)
        pooled += _expit(pool_z @ slopes + intercept) * (step / samples.n)
    return control, pooled


def _expit(score: FloatArray) -> FloatArray:
    from scipy.special import expit

    return np.asarray(expit(score), np.float64)


def _logistic(z: FloatArray, outputs: FloatArray, weights: FloatArray) -> tuple[float, FloatArray]:
    """Intercept and slopes of a penalised logistic regression of probabilities (Newton's steps)."""
    means = z.mean(axis=0)
    columns = np.column_stack([np.ones(len(z)), z - means])
    penalty = np.full(columns.shape[1], _PENALTY)
    penalty[0] = _FREE
    level = float(np.clip(np.average(outputs, weights=weights), _CERTAIN, 1 - _CERTAIN))
    found = np.zeros(columns.shape[1])
    found[0] = np.log(level / (1 - level))

    def loss(at: FloatArray) -> float:
        score = columns @ at
        fitted = weights @ (np.logaddexp(0.0, score) - outputs * score)
        return float(fitted + 0.5 * (penalty * at) @ at)

    now = loss(found)
    for _ in range(_STEPS):
        chance = _expit(columns @ found)
        slope = columns.T @ (weights * (chance - outputs)) + penalty * found
        curvature = (columns * (weights * chance * (1 - chance))[:, None]).T @ columns
        curvature.flat[:: len(found) + 1] += penalty
        step, size = np.linalg.solve(curvature, slope), 1.0
        while (then := loss(found - size * step)) > now and size > _LEAST_STEP:
            size /= 2
        if then > now:
            break
        found, gained, now = found - size * step, now - then, then
        if gained <= _ENOUGH * abs(now):
            break
    return float(found[0] - found[1:] @ means), found[1:]
