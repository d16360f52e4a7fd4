"""One label's surrogate: choose features, fit a ridge on them, say how well it fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from limecli.surrogate.ridge import Target, WeightedSamples
from limecli.surrogate.selection import select

if TYPE_CHECKING:
    from limecli.types import FloatArray

_ALPHA = 1.0  # lime's
_USUAL = (
    300  # powers of two; lasso_path knows absolute tolerances, so usual outputs stay as they are
)


@dataclass(frozen=True)
class Weight:
    """One feature's weight; the other fields are those of `types.Attribution`."""

    feature: int
    weight: float
    low: float | None = None
    high: float | None = None
    sign_probability: float | None = None
    top_probability: float | None = None
    ranks: tuple[int, int] | None = None


@dataclass(frozen=True)
class Fit:
    """One label's surrogate as numbers, its weights strongest first; see `types.Surrogate`.

    `r2` is None where it is undefined: the model answers the same for every sample.
    """

    intercept: float
    weights: tuple[Weight, ...]
    r2: float | None
    local_prediction: float
    fidelity: float | None = None
    stability: float | None = None
    interval: str | None = None
    no_interval: str = ""

    @property
    def pairs(self) -> tuple[tuple[int, float], ...]:
        """(feature, weight) of each, strongest first."""
        return tuple((found.feature, found.weight) for found in self.weights)


def fit(
    samples: WeightedSamples, outputs: FloatArray, first: FloatArray, method: str, k: int
) -> Fit:
    """Fit `float[n]` outputs of one label (Ribeiro et al. 2016, algorithm 1; lime_base).

    `first` is z of the instance itself, `method` and `k` say how many features and which.
    """
    # Squares of any outputs must stay finite; a power of two costs no digit.
    exponent = int(np.frexp(np.abs(outputs).max())[1])
    exponent = exponent if abs(exponent) > _USUAL else 0
    target = Target(samples, np.ldexp(outputs, -exponent))
    features = select(target, first, method, k)
    if target.constant:
        zeros = tuple(Weight(int(j), 0.0) for j in features)
        mean = float(outputs[0])
        return Fit(mean, zeros, None, mean)
    intercept, coefficients = target.ridge(features, _ALPHA)
    order = np.argsort(-np.abs(coefficients), kind="stable")
    weights = np.ldexp(coefficients, exponent)
    return Fit(
        float(np.ldexp(intercept, exponent)),
        tuple(Weight(int(features[i]), float(weights[i])) for i in order),
        target.r2(features, coefficients),
        float(np.ldexp(intercept + first[features] @ coefficients, exponent)),
    )
