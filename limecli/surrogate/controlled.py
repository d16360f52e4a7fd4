"""A control variate on replicates: what is learned of a model's outputs needs no evaluations.

The weights are those of the control, over a large pool of draws that costs nothing, and those of
what it leaves on the evaluated samples. Each replicate of the samples, and as many draws of the
pool, are judged by a control that never saw its outputs: so each says for itself what the weights
are, and their spread is an honest error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from limecli.surrogate.blocks import BlockedSamples, BlockedTarget, Moments, of_usual_size
from limecli.surrogate.fit import Fit, assembled, compared, fit_replicates, importance, r2_of
from limecli.surrogate.intervals import Errors
from limecli.surrogate.sandwich import errors_on_all, replicate_effects
from limecli.surrogate.selection import choose

if TYPE_CHECKING:
    from limecli.types import FloatArray


def fit_controlled_replicates(
    samples: BlockedSamples,
    outputs: FloatArray,
    control: FloatArray,
    pool: BlockedSamples,
    pool_control: FloatArray,
    first: FloatArray,
    method: str,
    k: int,
    scored: Sequence[int] | None = None,
) -> Fit:
    """`fit_replicates` with a control variate: `control`, `float[n]`, for the samples, and
    `pool_control`, `float[m]`, for a pool of draws in as many replicates.

    It is `fit_replicates` itself where that has no intervals, or the control explains nothing.
    """
    plain = fit_replicates(samples, outputs, first, method, k, scored)
    if plain.errors is None:
        return plain
    values, exponent = of_usual_size(outputs)
    target = BlockedTarget(samples, values)
    left = BlockedTarget(samples, values - np.ldexp(control, -exponent))
    if left.total_squares >= target.total_squares:
        return plain
    known = BlockedTarget(pool, np.ldexp(pool_control, -exponent))
    features = choose(together(known, left), first, method, k, 0.0)[0]
    r, d = samples.blocks, samples.n_features
    coefficients, effects = np.zeros(len(features)), np.zeros((r, len(features)))
    everything, variances = np.zeros(d), np.zeros(d)
    for part in (known, left):
        inverted = part.samples.inverse_on(features)
        found = inverted @ part.pooled.products[0, features]
        coefficients = coefficients + found
        effects = effects + replicate_effects(part, features, found, inverted)
        on_all = part.pooled.ridge(0.0)[0]
        everything = everything + on_all
        variances += errors_on_all(part, *compared(method, features, found, on_all), None) ** 2
    errors = Errors(
        features, coefficients, effects.T @ effects * (r / (r - 1)), r - 1.0, everything,
        np.sqrt(variances), importance(method, k, first, samples.gram.diagonal()),
        coefficients + r * effects,
    )  # fmt: skip
    intercept = known.mean + left.mean - float(pool.means[features] @ coefficients)
    return assembled(
        exponent, intercept, features, coefficients, first, r2_of(target, features, coefficients),
        plain.fidelity, k, "replicates", errors, "",
    )  # fmt: skip


def together(known: BlockedTarget, left: BlockedTarget) -> Moments:
    """The pool's Gram matrix with the products of both parts, to choose features by."""
    pool, some = known.pooled, left.pooled
    share = known.samples.total / left.samples.total
    return replace(pool, products=pool.products + some.products * share)
