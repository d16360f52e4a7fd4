"""Samples in equal blocks: replicates, or folds to leave out. All fits from their Gram matrices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limecli.types import FloatArray

_KEPT = 1 << 22  # numbers that are worth keeping between the fits of several labels
_AT_ONCE = 1 << 17  # numbers that are worked on at a time otherwise
_MOST_GRAMS = 1 << 25  # numbers in all Gram matrices; with more features there are fewer blocks
_USUAL = (
    300  # powers of two; lasso_path knows absolute tolerances, so usual outputs stay as they are
)
_RIDGE = 1e-10  # on correlations: what makes copies of a feature share its weight
_DEAD = 1e-10  # a variance below this share of what it was before centring
_CONSTANT = 1e-13  # a standard deviation below this share of the mean is rounding


@dataclass(frozen=True)
class Moments:
    """Weighted sums over samples, for any number of sets of samples at once (`...`).

    `gram` is `[..., d, d]`, `products` `[..., d]`, `squares` `[...]`: of z and y around the set's
    own means, which are `means` `[..., d]` and `mean` `[...]` away from a common origin. A feature
    is `dead` `[..., d]` where it never changes.
    """

    gram: FloatArray
    products: FloatArray
    squares: FloatArray
    means: FloatArray
    mean: FloatArray
    dead: NDArray[np.bool_]
    inverted: FloatArray | None = None  # of `gram`, where it is known

    def only(self, place: int) -> Moments:
        """One of the stack."""
        return Moments(
            self.gram[place], self.products[place], self.squares[place],
            self.means[place], self.mean[place], self.dead[place],
        )  # fmt: skip

    def ridge(self, alpha: float) -> FloatArray:
        """Coefficients on all features, `[..., d]`; alpha 0 gives dead features the weight 0."""
        if alpha == 0 and self.inverted is not None:
            return np.asarray((self.inverted @ self.products[..., None])[..., 0])
        return solve(self.gram, self.products, self.dead, alpha)

    def ridge_on(self, features: NDArray[np.intp], alpha: float) -> FloatArray:
        """Coefficients on some features, `[..., k]` for `features` `[k]` or `[..., k]`."""
        if features.ndim == 1:
            gram = self.gram[..., features[:, None], features]
            return solve(gram, self.products[..., features], self.dead[..., features], alpha)
        sets = np.arange(len(features))[:, None]
        gram = self.gram[sets[:, :, None], features[:, :, None], features[:, None, :]]
        return solve(gram, self.products[sets, features], self.dead[sets, features], alpha)


def of_usual_size(outputs: FloatArray) -> tuple[FloatArray, int]:
    """Outputs whose squares are finite, and the power of two that they were divided by."""
    exponent = int(np.frexp(np.abs(outputs).max())[1])
    if abs(exponent) <= _USUAL:
        return outputs, 0
    return np.ldexp(outputs, -exponent), exponent


def solve(
    gram: FloatArray, products: FloatArray, dead: NDArray[np.bool_], alpha: float
) -> FloatArray:
    """(gram + alpha I)^-1 products, for stacks of both. Singular matrices are no harm."""
    d = gram.shape[-1]
    places = np.arange(d)
    if alpha > 0:
        matrix = gram.copy()
        matrix[..., places, places] += alpha
        return np.asarray(np.linalg.solve(matrix, products[..., None])[..., 0])
    scales = 1.0 / np.sqrt(np.where(dead, 1.0, gram[..., places, places]))
    scales[dead] = 0.0
    matrix = gram * scales[..., None]
    matrix *= scales[..., None, :]
    matrix[..., places, places] = 1.0 + _RIDGE
    right = products * scales
    return np.asarray(np.linalg.solve(matrix, right[..., None])[..., 0] * scales)


def inverse(gram: FloatArray, dead: NDArray[np.bool_], alpha: float) -> FloatArray:
    """(gram + alpha I)^-1 as `solve` takes it, for one matrix."""
    d = len(gram)
    scales = np.ones(d)
    if alpha == 0:
        scales = 1.0 / np.sqrt(np.where(dead, 1.0, gram.diagonal()))
        scales[dead] = 0.0
    matrix = gram * scales[:, None] * scales
    if alpha > 0:
        matrix.flat[:: d + 1] += alpha
    else:
        matrix.flat[:: d + 1] = 1.0 + _RIDGE
    return np.asarray(np.linalg.inv(matrix) * scales[:, None] * scales)


class BlockedSamples:
    """Interpretable samples and their weights, in blocks of equal size.

    `z` is `[n_features, n]`, numbers or booleans; `weights` is `float[n]`. One block's samples
    follow the other's. Samples come in groups of `unit` (2: pairs) that no block parts; where the
    groups do not divide evenly the last block is smaller (and there may be one block less).

    `grams` `[blocks, d, d]` and `sums` `[blocks, d]` are of w (z - mean) (z - mean)' and of
    w (z - mean), with the mean of all samples; `totals` `[blocks]` are sums of w.
    """

    def __init__(self, z: NDArray[Any], weights: FloatArray, blocks: int, unit: int = 1) -> None:
        self.z, self.weights = z, weights
        self.n_features, self.n = z.shape
        blocks = max(2, min(blocks, _MOST_GRAMS // self.n_features**2))
        self.size = unit * -(-self.n // (unit * blocks))
        self.blocks = -(-self.n // self.size)
        self.total = float(weights.sum())
        self._padded = self.blocks * self.size != self.n
        self._roots = self._by_block(np.sqrt(weights))
        self.totals: FloatArray = np.einsum("bi,bi->b", self._roots, self._roots)
        self._step = self.blocks
        self._flat: FloatArray | None = None  # [d, blocks x size], and the same by blocks
        self._kept: FloatArray | None = None
        if self.z.size > _KEPT:
            self._step = max(1, _AT_ONCE // (self.n_features * self.size))
        else:
            self._flat = np.empty((self.n_features, self.blocks * self.size))
            self._flat[:, : self.n] = z
            self._flat[:, self.n :] = 0.0
        self.means = self._mean()
        if self._flat is not None:
            part = self._flat[:, : self.n]
            part -= self.means[:, None]
            part *= self._roots.reshape(-1)[: self.n]
            self._kept = self._flat.reshape(self.n_features, self.blocks, self.size).swapaxes(0, 1)
        grams, sums = [], []
        for scaled, roots in self._parts():
            grams.append(scaled @ scaled.swapaxes(1, 2))
            sums.append((scaled @ roots[:, :, None])[:, :, 0])
        self.grams: FloatArray = grams[0] if len(grams) == 1 else np.concatenate(grams)
        self.sums: FloatArray = sums[0] if len(sums) == 1 else np.concatenate(sums)
        self.gram: FloatArray = self.grams.sum(axis=0)

    def _by_block(self, values: FloatArray) -> FloatArray:
        """`[blocks, size]` of `[n]`, zeros at the end where the last block is smaller."""
        if self._padded:
            values = np.concatenate([values, np.zeros(self.blocks * self.size - self.n)])
        return values.reshape(self.blocks, self.size)

    def _mean(self) -> FloatArray:
        if self.total == 0:
            return np.zeros(self.n_features)
        means = np.zeros(self.n_features)
        step = max(_AT_ONCE // self.n_features, 1)
        for start in range(0, self.n, step):
            part = slice(start, min(start + step, self.n))
            z = self.z[:, part].astype(np.float64) if self._flat is None else self._flat[:, part]
            means += z @ self.weights[part]
        return means / self.total

    def _parts(self) -> Iterator[tuple[FloatArray, FloatArray]]:
        """sqrt(w) (z - mean) and sqrt(w), `[b, d, size]` and `[b, size]`, some blocks at a time."""
        if self._kept is not None:
            yield self._kept, self._roots
            return
        for start in range(0, self.blocks, self._step):
            roots = self._roots[start : start + self._step]
            first, last = start * self.size, min((start + len(roots)) * self.size, self.n)
            scaled = np.zeros((self.n_features, roots.size))
            part = scaled[:, : last - first]
            np.subtract(self.z[:, first:last], self.means[:, None], out=part)
            part *= roots.reshape(-1)[: last - first]
            yield scaled.reshape(self.n_features, len(roots), self.size).swapaxes(0, 1), roots

    def scaled(self, features: NDArray[np.intp], part: slice) -> FloatArray:
        """sqrt(w) (z - mean) of some features and samples, `[k, m]`."""
        if self._flat is not None:
            kept: FloatArray = self._flat[:, : self.n][features, part]
            return kept
        scaled: FloatArray = self.z[features, part].astype(np.float64)
        scaled -= self.means[features, None]
        scaled *= np.sqrt(self.weights[part])
        return scaled

    @cached_property
    def dead(self) -> NDArray[np.bool_]:
        """Features that never change, `[d]`."""
        return np.asarray(self.gram.diagonal() <= self.total * (_CONSTANT * self.means) ** 2)

    @cached_property
    def inverse(self) -> FloatArray:
        """(S S')^-1 of all samples and features, `[d, d]`."""
        return inverse(self.gram, self.dead, 0.0)

    def inverse_on(self, features: NDArray[np.intp]) -> FloatArray:
        """The same of some features, `[k, k]`."""
        return inverse(self.gram[features[:, None], features], self.dead[features], 0.0)


class BlockedTarget:
    """One label's outputs `float[n]`, best of about unit size, as sums over the blocks.

    `products` `[blocks, d]`, `sums` and `squares` `[blocks]` are sums of w (z - mean) (y - mean),
    w (y - mean) and w (y - mean)², with the means of all samples.
    """

    def __init__(self, samples: BlockedSamples, outputs: FloatArray) -> None:
        self.samples = samples
        seen = outputs if samples.weights.all() else outputs[samples.weights > 0]
        self.mean = float(samples.weights @ outputs) / samples.total if samples.total else 0.0
        roots = samples._roots
        residuals = samples._by_block(outputs - self.mean) * roots
        products = []
        start = 0
        for scaled, part in samples._parts():
            chunk = residuals[start : start + len(part), :, None]
            products.append((scaled @ chunk)[:, :, 0])
            start += len(part)
        self.residuals = residuals
        self.products: FloatArray = np.concatenate(products)
        self.sums: FloatArray = np.einsum("bi,bi->b", residuals, roots)
        self.squares: FloatArray = np.einsum("bi,bi->b", residuals, residuals)
        self.total_squares = float(self.squares.sum())
        self.constant = len(seen) == 0 or bool(np.ptp(seen) == 0) or self.total_squares == 0

    @cached_property
    def pooled(self) -> Moments:
        """Of all samples; a stack of one."""
        samples = self.samples
        return Moments(
            samples.gram[None], self.products.sum(axis=0)[None], np.array([self.total_squares]),
            np.zeros((1, samples.n_features)), np.zeros(1), samples.dead[None],
            samples.inverse[None],
        )  # fmt: skip

    def without(self, blocks: NDArray[np.intp]) -> Moments:
        """Of all samples but those of one block, for each of some blocks."""
        samples = self.samples
        return _centred(
            samples.gram - samples.grams[blocks],
            self.products.sum(axis=0) - self.products[blocks],
            self.total_squares - self.squares[blocks],
            -samples.sums[blocks],
            -self.sums[blocks],
            samples.total - samples.totals[blocks],
            samples.total * (_CONSTANT * samples.means) ** 2,
        )


def _centred(
    gram: FloatArray, products: FloatArray, squares: FloatArray,
    sums: FloatArray, output_sums: FloatArray, totals: FloatArray, floor: FloatArray,
) -> Moments:  # fmt: skip
    """Moments around the sets' own means, from those around a common origin."""
    known = totals > 0
    means = sums / np.where(known, totals, 1.0)[:, None]
    mean = output_sums / np.where(known, totals, 1.0)
    before = np.einsum("bjj->bj", gram)
    own = gram - sums[:, :, None] * means[:, None, :]
    dead = np.einsum("bjj->bj", own) <= np.maximum(_DEAD * before, floor)
    return Moments(
        own, products - sums * mean[:, None], squares - output_sums * mean, means, mean, dead
    )
