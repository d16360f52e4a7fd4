"""Weighted ridge regressions on subsets of features, all from one Gram matrix."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limecli.types import FloatArray


class WeightedSamples:
    """Interpretable samples and their weights, ready for any number of fits.

    `z` is `[n_features, n]`, `weights` is `float[n]`. With S = sqrt(w) (z - mean) and r likewise,
    the normal equations of a ridge on the features J are (S_J S_J' + alpha I) beta = S_J r: every
    label, subset and alpha shares S S'.
    """

    def __init__(self, z: NDArray[Any], weights: FloatArray) -> None:
        self.z, self.weights = z, weights
        self.n_features = len(z)
        self.total = float(weights.sum())
        self._roots: FloatArray = np.sqrt(weights)
        self._scaled: FloatArray = z.astype(np.float64)
        self.means: FloatArray = (self._scaled @ weights) / self.total
        self._scaled -= self.means[:, None]
        self._scaled *= self._roots

    @cached_property
    def gram(self) -> FloatArray:
        """`float[n_features, n_features]`: weighted covariances times the sum of the weights."""
        return np.asarray(self._scaled @ self._scaled.T)

    def target(self, outputs: FloatArray) -> Target:
        """One label's outputs, `float[n]`, ready to be fitted."""
        return Target(self, outputs)

    def products(self, residuals: FloatArray) -> FloatArray:
        """S r for r = sqrt(w) (y - mean)."""
        return np.asarray(self._scaled @ residuals)

    def residuals(self, outputs: FloatArray) -> tuple[float, FloatArray]:
        """The weighted mean of y, and sqrt(w) (y - mean)."""
        mean = float(self.weights @ outputs) / self.total
        return mean, self._roots * (outputs - mean)

    def explained(self, features: NDArray[np.intp], coefficients: FloatArray) -> FloatArray:
        """What a surrogate makes of r, `float[n]`."""
        return np.asarray(coefficients @ self._scaled[features])

    @cached_property
    def rows(self) -> FloatArray:
        """Samples as lime holds them, `float[n, n_features]`, for scikit-learn's own fits."""
        return np.ascontiguousarray(self.z.T, dtype=np.float64)


class Target:
    """One label's outputs and their products with the features."""

    def __init__(self, samples: WeightedSamples, outputs: FloatArray) -> None:
        self.samples, self.outputs = samples, outputs
        self.mean, self._residuals = samples.residuals(outputs)
        self.total_squares = float(self._residuals @ self._residuals)

    @cached_property
    def products(self) -> FloatArray:
        """`float[n_features]`: weighted covariances with each feature, times the weights' sum."""
        return self.samples.products(self._residuals)

    def ridge(self, features: NDArray[np.intp], alpha: float) -> tuple[float, FloatArray]:
        """Intercept and coefficients on some features; the intercept is not penalised."""
        block = self.samples.gram[np.ix_(features, features)]
        block.flat[:: len(features) + 1] += alpha
        coefficients = np.asarray(np.linalg.solve(block, self.products[features]), np.float64)
        return self.mean - float(self.samples.means[features] @ coefficients), coefficients

    def r2(self, features: NDArray[np.intp], coefficients: FloatArray) -> float | None:
        """Weighted R² of a fit; None where the outputs of all weighted samples are the same."""
        if self.constant:
            return None
        left = self._residuals - self.samples.explained(features, coefficients)
        return 1.0 - float(left @ left) / self.total_squares

    @cached_property
    def constant(self) -> bool:
        """Whether the model answers the same for every sample that has a weight."""
        seen = self.outputs[self.samples.weights > 0]
        return bool(np.ptp(seen) == 0) or self.total_squares == 0
