"""Weighted ridge regressions on subsets of features, all from one Gram matrix."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from limecli.surrogate.blocks import BlockedSamples, BlockedTarget

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limecli.types import FloatArray


_FOLDS = 8  # to measure fidelity by
_MOST_GRAMS = 1 << 22  # numbers in their Gram matrices
HIGHEST_ALPHA = 0.01  # lime's
_CONSTANT = 1e-13  # a standard deviation below this share of the mean is rounding
_BLOCK = 1 << 17  # numbers that are worked on at a time, to stay in the cache


class WeightedSamples:
    """Interpretable samples and their weights, ready for any number of fits: `--sampler lime`.

    `z` is `[n_features, n]`, `weights` is `float[n]`. With S = sqrt(w) (z - mean) and r likewise,
    the normal equations of a ridge on the features J are (S_J S_J' + alpha I) beta = S_J r: every
    label, subset and alpha shares S S'. S itself, which may be eight times as large as z, is made
    anew where it is needed, a block at a time. `folds` are the same samples in parts to leave out,
    None where there are too many features for that.
    """

    def __init__(self, z: NDArray[Any], weights: FloatArray) -> None:
        self.z, self.weights = z, weights
        self.n_features, self.n = z.shape
        # With more features than samples S S' would be the larger of the two products.
        self.is_wide = self.n_features > self.n
        folded = not self.is_wide and _FOLDS * self.n_features**2 <= _MOST_GRAMS
        self.folds = BlockedSamples(z, weights, _FOLDS) if folded else None
        self._all = np.arange(self.n_features)
        self._gram: FloatArray | None = None
        self.means: FloatArray
        if self.folds is not None:
            self.total, self.means = self.folds.total, self.folds.means
            self._gram = self.folds.gram
            return
        self.total = float(weights.sum())
        sums = np.zeros(self.n_features)
        for part in self._parts():
            sums += z[:, part].astype(np.float64) @ weights[part]
        self.means = sums / self.total

    @cached_property
    def _roots(self) -> FloatArray:
        return np.sqrt(self.weights)

    def _parts(self) -> Iterator[slice]:
        step = max(_BLOCK // self.n_features, self.n_features)  # a Gram matrix is added each time
        return _slices(self.n, step)

    def _scaled(self, features: Any, part: slice) -> FloatArray:
        """S for some features and samples."""
        scaled: FloatArray = self.z[features, part].astype(np.float64)
        scaled -= self.means[features, None]
        scaled *= self._roots[part]
        return scaled

    def scaled(self, features: NDArray[np.intp], part: slice) -> FloatArray:
        """S for some features and samples, `[k, m]`."""
        if self.folds is not None:
            return self.folds.scaled(features, part)
        return self._scaled(features, part)

    def products(self, residuals: FloatArray) -> FloatArray:
        """S r, `float[n_features]`. The first call computes the Gram matrix on the way."""
        if self.is_wide:
            return np.concatenate([s @ residuals for s in self._by_feature(self._all)])
        products = np.zeros(self.n_features)
        gram = None if self._gram is not None else np.zeros((self.n_features, self.n_features))
        for part in self._parts():
            scaled = self._scaled(slice(None), part)
            products += scaled @ residuals[part]
            if gram is not None:
                gram += scaled @ scaled.T
        self._gram = self._gram if gram is None else gram
        return products

    def _by_feature(self, features: NDArray[np.intp]) -> Iterator[FloatArray]:
        for part in _slices(len(features), max(1, _BLOCK // self.n)):
            yield self._scaled(features[part], slice(None))

    @property
    def gram(self) -> FloatArray:
        """S S', `float[n_features, n_features]`, unless the samples are wide."""
        if self._gram is None:
            self.products(np.zeros(self.n))
        return cast("FloatArray", self._gram)

    @cached_property
    def dead(self) -> NDArray[np.bool_]:
        """Features that never change among the samples that have a weight, `[n_features]`."""
        return np.asarray(self.variances() <= self.total * (_CONSTANT * self.means) ** 2)

    def variances(self) -> FloatArray:
        """The diagonal of S S', `float[n_features]`."""
        if self.is_wide:
            return np.concatenate(
                [np.einsum("ij,ij->i", s, s) for s in self._by_feature(self._all)]
            )
        return self.gram.diagonal().copy()

    def covariances(self, j: int) -> FloatArray:
        """A row of S S', `float[n_features]`."""
        return self.products(self._scaled([j], slice(None))[0]) if self.is_wide else self.gram[j]

    def solve(
        self, features: NDArray[np.intp], alpha: float, residuals: FloatArray, products: FloatArray
    ) -> FloatArray:
        """Coefficients of a ridge for r and S r: by S_J S_J', or by S_J' S_J where that is smaller
        (then beta = S_J (S_J' S_J + alpha I)^-1 r).
        """
        if not self.is_wide:
            return _solve(self.gram[np.ix_(features, features)], alpha, products[features])
        if len(features) <= self.n:
            scaled = self._scaled(features, slice(None))
            return _solve(scaled @ scaled.T, alpha, products[features])
        between = np.zeros((self.n, self.n))
        for s in self._by_feature(features):
            between += s.T @ s
        dual = _solve(between, alpha, residuals)
        return np.concatenate([s @ dual for s in self._by_feature(features)])

    def residuals(self, outputs: FloatArray) -> tuple[float, FloatArray]:
        """The weighted mean of y, and r = sqrt(w) (y - mean)."""
        mean = float(self.weights @ outputs) / self.total
        return mean, self._roots * (outputs - mean)

    @cached_property
    def rows(self) -> FloatArray:
        """Samples as lime holds them, `float[n, n_features]`, for scikit-learn's own fits."""
        return np.ascontiguousarray(self.z.T, dtype=np.float64)


def _slices(n: int, step: int) -> Iterator[slice]:
    return (slice(start, start + step) for start in range(0, n, step))


def _solve(matrix: FloatArray, alpha: float, right: FloatArray) -> FloatArray:
    matrix.flat[:: len(matrix) + 1] += alpha
    return np.asarray(np.linalg.solve(matrix, right), np.float64)


class Target:
    """One label's outputs, and `products`, `float[n_features]`: their weighted covariances with
    each feature, times the weights' sum.
    """

    def __init__(self, samples: WeightedSamples, outputs: FloatArray) -> None:
        self.samples, self.outputs = samples, outputs
        self.blocked = None
        if samples.folds is not None:
            self.blocked = blocked = BlockedTarget(samples.folds, outputs)
            self.mean, self.total_squares = blocked.mean, blocked.total_squares
            self.residuals = blocked.residuals.reshape(-1)[: samples.n]
            self.products = blocked.products.sum(axis=0)
            return
        self.mean, self.residuals = samples.residuals(outputs)
        self.total_squares = float(self.residuals @ self.residuals)
        self.products = samples.products(self.residuals)

    @cached_property
    def on_all(self) -> FloatArray:
        """Coefficients on all features that lime chooses the highest of."""
        return self.ridge(np.arange(self.samples.n_features), HIGHEST_ALPHA)[1]

    def ridge(self, features: NDArray[np.intp], alpha: float) -> tuple[float, FloatArray]:
        """Intercept and coefficients on some features; the intercept is not penalised."""
        coefficients = self.samples.solve(features, alpha, self.residuals, self.products)
        return self.mean - float(self.samples.means[features] @ coefficients), coefficients

    @cached_property
    def constant(self) -> bool:
        """Whether the model answers the same for every sample that has a weight."""
        seen = self.outputs[self.samples.weights > 0]
        return bool(np.ptp(seen) == 0) or self.total_squares == 0
