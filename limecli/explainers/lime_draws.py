"""Weights as lime's own draws have them, with errors: what other samplers are compared with.

lime's penalty (alpha = 1) shrinks the weights of rare bins, and lime counts the instance itself as
a sample. Both vanish with many samples, so no other sampler has them. Without them lime's draws
estimate the same weights as every other sampler's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from limecli.explainers.width import effective_samples
from limecli.types import Neighborhood

if TYPE_CHECKING:
    from limecli.types import FloatArray

_LEAST = 30.0  # effective samples, for an error of their mean to mean anything
_EACH_FEATURE = 5


@dataclass(frozen=True)
class DrawnWeight:
    """A weight and its standard error; `told` is False where too few samples tell of it."""

    weight: float
    error: float
    told: bool


def drawn_weights(
    found: Neighborhood, label: int, features: Sequence[int]
) -> dict[int, DrawnWeight]:
    """Weighted least squares of a label on some features, by feature; no penalty.

    The error is the larger one of two: HC3, and that of equally scattered residuals, which does
    not fail where the few samples of a bin happen to be alike.
    """
    z_all, weights = found.interpretable()
    chosen = np.array([j for j in dict.fromkeys(features) if j < len(z_all)], np.intp)
    near = weights > 0
    z, w = z_all[chosen][:, near].astype(np.float64), weights[near]
    if not len(chosen):
        return {}
    if effective_samples(w) < max(_LEAST, _EACH_FEATURE * (len(chosen) + 1)):
        return {int(j): DrawnWeight(0.0, 0.0, told=False) for j in chosen}
    coefficients, errors = _fitted(z, w, found.outputs[near, label])
    told = [_told(row, w) for row in z]
    return {
        int(j): DrawnWeight(float(weight), float(error), known)
        for j, weight, error, known in zip(chosen, coefficients, errors, told, strict=True)
    }


def _fitted(z: FloatArray, w: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weights and standard errors `[k]` for z `[k, n]`, kernel weights and outputs `[n]`."""
    total = float(w.sum())
    z = z - (z @ w / total)[:, None]
    unit = max(float(np.abs(y).max()), np.finfo(np.float64).tiny)  # squares must stay numbers
    y = y / unit
    y = y - float(w @ y) / total
    inverse = np.linalg.pinv((z * w) @ z.T, hermitian=True)
    maps = inverse @ (z * w)
    coefficients = maps @ y
    left = y - coefficients @ z
    leverages = np.minimum(w / total + (z * maps).sum(axis=0), 0.95)
    robust = (maps * (left / (1.0 - leverages))) ** 2
    n = effective_samples(w)
    scatter = float(w @ left**2) / total * n / (n - len(z) - 1)
    variances = np.maximum(robust.sum(axis=1), scatter * (maps**2).sum(axis=1))
    return unit * coefficients, unit * np.sqrt(variances)


def _told(z: FloatArray, w: FloatArray) -> bool:
    """Whether there are enough samples of both sorts, where z takes two values."""
    high = z == z.max()
    if len(np.unique(z[~high])) > 1:
        return True
    return min(effective_samples(w[high]), effective_samples(w[~high])) >= _LEAST
