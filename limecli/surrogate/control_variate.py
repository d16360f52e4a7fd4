"""A logistic regression as control variate: what it explains of a model needs no evaluations.

What is not linear in the regression has no weights; a large pool of masks, which costs nothing,
tells it from what is. It is taken away from the outputs of the evaluated masks, and with it much of
their noise. Each mask is judged by a regression fitted to other masks, so the limit stays the same
however good the regression is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from limecli.surrogate.blocks import BlockedSamples, BlockedTarget
from limecli.surrogate.fidelity import held_out
from limecli.surrogate.fit import Fit, alike, assembled, fit_pairs, importance, part_errors, r2_of
from limecli.surrogate.intervals import Alike, Errors
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
    probabilities, and where the regression explains nothing more than the surrogate does.
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
    bent, pool_control = _bent(samples, outputs, pool)
    target, left = BlockedTarget(samples, outputs), BlockedTarget(samples, outputs - bent)
    if _unexplained(left) >= _unexplained(target):
        return plain
    everything = left.pooled.ridge(0.0)[0]
    known = BlockedTarget(pool, pool_control)
    expected = replace(known.pooled, products=(pool.gram @ everything)[None])
    features = choose(expected, first, method, k, 0.0)[0]
    # Fewer features take over what the others share with them.
    share = pool.inverse_on(features) @ pool.gram[features]
    coefficients = share @ everything
    own, theirs = _covariance(left), _covariance(known, features)
    places = np.arange(samples.n_features)
    pool_errors = errors_on_all(known, places, known.pooled.ridge(0.0)[0], unit=PAIR)
    errors = Errors(
        features, coefficients, share @ own @ share.T + theirs, np.inf, everything,
        np.hypot(np.sqrt(own.diagonal()), pool_errors),
        importance(method, k, first, pool.gram.diagonal()),
        alike=_alike(method, k, known, left, features, own),
    )  # fmt: skip
    mean = left.mean + float((pool.means - samples.means) @ everything)
    intercept = mean - float(pool.means[features] @ coefficients)
    return assembled(
        0, intercept, features, coefficients, first, r2_of(target, features, coefficients),
        held_out(target, first, method, k, 0.0, scored), k, "pairs", errors, "",
    )  # fmt: skip


def _unexplained(target: BlockedTarget) -> float:
    """Squares that a fit on all features leaves."""
    pooled = target.pooled
    return target.total_squares - float(pooled.products[0] @ pooled.ridge(0.0)[0])


def _covariance(target: BlockedTarget, features: NDArray[np.intp] | None = None) -> FloatArray:
    """That of the weights of a fit on some features, or on all."""
    samples = target.samples
    if features is None:
        features, inverted = np.arange(samples.n_features), samples.inverse
    else:
        inverted = samples.inverse_on(features)
    residuals = _residuals(target)
    coefficients = inverted @ target.pooled.products[0, features]
    return hc3(samples, residuals, features, coefficients, inverted, PAIR)[1]


def _alike(
    method: str,
    k: int,
    known: BlockedTarget,
    left: BlockedTarget,
    features: NDArray[np.intp],
    own: FloatArray,
) -> Alike | None:
    """How forward selection sees the pool: with the pool's errors, and with those of the weights of
    what is `left`, whose covariance is `own`.
    """
    pool, samples = known.samples, left.samples
    coefficients = pool.inverse_on(features) @ known.pooled.products[0, features]
    found = alike(method, k, pool, _residuals(known), features, coefficients, PAIR)
    if found is None:
        return None
    everything = left.pooled.ridge(0.0)[0]
    places = np.arange(samples.n_features)
    errors = part_errors(samples, _residuals(left), places, everything, PAIR) @ samples.inverse
    # The samples' leverages, which make the errors of their weights larger, are known to `own`.
    errors *= np.sqrt(own.trace() / max((errors**2).sum(), np.finfo(float).tiny))
    errors *= np.sqrt(np.maximum(pool.gram.diagonal(), 0.0))
    return replace(found, errors=np.concatenate([found.errors, found.products(errors)]))


def _residuals(target: BlockedTarget) -> FloatArray:
    """sqrt(w) (y - mean), `[n]`."""
    return target.residuals.reshape(-1)[: target.samples.n]


def _bent(
    samples: BlockedSamples, outputs: FloatArray, pool: BlockedSamples
) -> tuple[FloatArray, FloatArray]:
    """What is not linear in regressions fitted to the other folds of pairs, for each sample; and
    the mean of the regressions for the pool.

    The pool tells what is linear. Without it the regressions' weights of all samples are 0, so the
    rest of the outputs has the weights of the outputs, and the folds' regressions differ less.
    """
    z, pool_z = samples.z.T.astype(np.float64), pool.z.T.astype(np.float64)
    weights = samples.weights * (samples.n / samples.total)
    step = PAIR * -(-samples.n // (PAIR * _FOLDS))
    bent, mean = np.empty(samples.n), np.zeros(pool.n)
    for start in range(0, samples.n, step):
        others = np.ones(samples.n, np.bool_)
        others[start : start + step] = False
        intercept, slopes = _logistic(z[others], outputs[others], weights[others])
        control = _expit(pool_z @ slopes + intercept)
        known = BlockedTarget(pool, control)
        linear = known.pooled.ridge(0.0)[0]
        own = z[~others]
        bent[~others] = _expit(own @ slopes + intercept) - known.mean - (own - pool.means) @ linear
        mean += control * (len(own) / samples.n)
    return bent, mean


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
