"""What the errors of the weights say: intervals, signs, ranks, and how two runs would agree."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limecli.types import FloatArray

_LEVEL = 0.975  # of a one-sided quantile: 95 % intervals
_RUNS = 128  # pairs of runs that are imagined
_ROUNDING = 1e-13  # of the largest weight: differences below it mean nothing
_SEED = 20161  # of the fixed draws; any other one serves as well
_COPIES = 0.999  # a correlation above it is that of copies
_MOST_STEPS = 20_000  # features times features chosen: with more, forward selection is not imagined


@dataclass(frozen=True, eq=False)
class Alike:
    """Features any two of which correlate alike, as those of masks do, chosen one after the other.

    z is scaled to a variance of 1. `errors` `[parts, d]` are what independent parts of the samples
    add to the errors of each feature's covariance with the outputs. `dead` `[d]` are features that
    never change.
    """

    correlation: float
    errors: FloatArray
    dead: NDArray[np.bool_]

    def products(self, weights: FloatArray) -> FloatArray:
        """Covariances with the outputs that weights `[..., d]` make."""
        shared = self.correlation * weights.sum(axis=-1, keepdims=True)
        return np.asarray((1.0 - self.correlation) * weights + shared)

    def chosen(self, products: FloatArray, k: int) -> NDArray[np.bool_]:
        """What forward selection takes by each row of `products`.

        What the chosen ones explain is the same share of each other feature, and leaves all of them
        the same variance: the largest rest is the largest gain.
        """
        chosen, explained = np.zeros(products.shape, np.bool_), np.zeros((len(products), 1))
        each = np.arange(len(products))
        for step in range(k):
            share = self.correlation / (1.0 + (step - 1) * self.correlation)
            sizes = np.abs(products - share * explained)
            sizes[:, self.dead] = -1.0
            sizes[chosen] = -2.0
            j = sizes.argmax(axis=1)
            chosen[each, j] = True
            explained[:, 0] += products[each, j]
        return chosen


def correlation_of_all(gram: FloatArray, alive: NDArray[np.bool_]) -> float:
    """The mean correlation of two features that are `alive`."""
    d = np.count_nonzero(alive)
    if d < 2:
        return 0.0
    scales = np.zeros(len(alive))
    scales[alive] = 1.0 / np.sqrt(gram.diagonal()[alive])
    return min(float(scales @ gram @ scales - d) / (d * (d - 1)), _COPIES)


@dataclass(frozen=True, eq=False)
class Errors:
    """How sure a fit is, in the unit of the outputs.

    `weights` `[k]` are those of the chosen `features` `[k]`, `covariance` `[k, k]` their errors',
    `degrees` the degrees of freedom of its estimate (inf where there are many). `all_weights` and
    `all_errors` `[d]` are of a fit on all features, each feature by itself; `importance` `[d]` is
    what a weight's size is multiplied by where features are chosen. `replicates` `[blocks, k]` are
    what each replicate says of `weights`, where there are any. `alike` is for features that
    correlate, and are chosen one after the other.
    """

    features: NDArray[np.intp]
    weights: FloatArray
    covariance: FloatArray
    degrees: float
    all_weights: FloatArray
    all_errors: FloatArray
    importance: FloatArray
    replicates: FloatArray | None = None
    alike: Alike | None = None

    @property
    def deviations(self) -> FloatArray:
        """Standard errors of `weights`, `[k]`."""
        deviations: FloatArray = np.sqrt(self.covariance.diagonal())
        return deviations

    def replicated(self, order: NDArray[np.intp], exponent: int) -> FloatArray | None:
        """`replicates` in the order of a Fit's weights, times two to the power of `exponent`."""
        if self.replicates is None:
            return None
        return np.asarray(np.ldexp(self.replicates[:, order], exponent))

    def half_widths(self) -> FloatArray:
        """Half the 95 % intervals of `weights`, `[k]`."""
        return quantile(_LEVEL, self.degrees) * self.deviations

    def signs(self) -> FloatArray:
        """How sure each sign of `weights` is, `[k]`: 1/2 for a weight that may be anything."""
        return probability(np.abs(self.weights), self.deviations, self.degrees)

    def gaps(self, order: NDArray[np.intp]) -> tuple[FloatArray, FloatArray]:
        """Differences of |weight| between neighbours in `order` (strongest first), `[k - 1]`, and
        their standard errors.
        """
        sizes = np.abs(self.weights)[order]
        signs = np.where(self.weights < 0, -1.0, 1.0)[order]
        covariance = self.covariance[order[:, None], order] * signs[:, None] * signs
        variances = covariance.diagonal()
        between = variances[:-1] + variances[1:] - 2.0 * covariance.diagonal(1)
        floor = _ROUNDING * (float(sizes[0]) if len(sizes) else 0.0)
        return sizes[:-1] - sizes[1:], np.sqrt(np.maximum(between, floor**2))

    def ranks(self, order: NDArray[np.intp]) -> list[tuple[int, int]]:
        """For each place in `order` the first and last rank that its feature may have: every other
        feature counts as stronger, or weaker, only where their difference is significant.
        """
        sizes = np.abs(self.weights)[order]
        signs = np.where(self.weights < 0, -1.0, 1.0)[order]
        covariance = self.covariance[order[:, None], order] * signs[:, None] * signs
        variances = covariance.diagonal()
        between = variances[:, None] + variances - 2.0 * covariance
        floor = _ROUNDING * (float(sizes[0]) if len(sizes) else 0.0)
        errors = np.sqrt(np.maximum(between, floor**2))
        stronger = sizes[:, None] - sizes > quantile(_LEVEL, self.degrees) * errors
        first = 1 + np.count_nonzero(stronger, axis=0)
        last = len(sizes) - np.count_nonzero(stronger, axis=1)
        return list(zip(first.tolist(), last.tolist(), strict=True))

    def outlook(self, k: int) -> tuple[FloatArray, float]:
        """How likely each of all features is among the k strongest, `[d]`, and the expected
        Jaccard index of the k strongest of two independent runs.
        """
        d = len(self.all_weights)
        if k >= d:
            return np.ones(d), 1.0
        runs = self._runs(k)
        one, other = runs[:_RUNS], runs[_RUNS:]
        shared = np.count_nonzero(one & other, axis=1)
        likely = np.count_nonzero(runs, axis=0) / (2.0 * _RUNS)
        return likely, float((shared / (2 * k - shared)).mean())

    def _runs(self, k: int) -> NDArray[np.bool_]:
        """Which features are the k strongest in each of some imagined runs, `[2 x runs, d]`."""
        d = len(self.all_weights)
        if self.alike is not None and k * d <= _MOST_STEPS:
            products = self.alike.products(self.all_weights * self.importance)
            errors = signs(_RUNS, len(self.alike.errors)) @ self.alike.errors
            return self.alike.chosen(products + errors, k)
        sizes = self.all_errors * normals(_RUNS, d)
        sizes += self.all_weights
        np.abs(sizes, out=sizes)
        sizes *= self.importance
        strongest = np.zeros(sizes.shape, np.bool_)  # just k a row, of equal ones too
        strongest[np.arange(len(sizes))[:, None], sizes.argpartition(-k, axis=1)[:, -k:]] = True
        return strongest


@lru_cache(maxsize=256)
def quantile(level: float, degrees: float) -> float:
    """Of Student's t, or of the normal law where `degrees` is inf."""
    from scipy.special import ndtri, stdtrit

    return float(ndtri(level) if np.isinf(degrees) else stdtrit(degrees, level))


def probability(sizes: FloatArray, errors: FloatArray, degrees: float) -> FloatArray:
    """P(t <= size / error), where both are 0 one half."""
    from scipy.special import ndtr, stdtr

    known = errors > 0
    ratios = np.where(sizes > 0, np.inf, 0.0)
    np.divide(sizes, errors, out=ratios, where=known)
    found: FloatArray = ndtr(ratios) if np.isinf(degrees) else stdtr(degrees, ratios)
    return found


@lru_cache(maxsize=16)
def normals(n: int, d: int) -> FloatArray:
    """Fixed draws `[2 n, d]`: in each half every column holds n even quantiles, in an order of its
    own.
    """
    from scipy.special import ndtri

    halves = []
    for place in (0, 1):
        rng = np.random.default_rng([_SEED, n, d, place])
        # A place of its own for each feature in the steps between, so that equal ones do not tie.
        steps = np.arange(n)[:, None] + rng.random(d)
        halves.append(rng.permuted(ndtri(steps / n), axis=0))
    drawn: FloatArray = np.concatenate(halves)
    drawn.setflags(write=False)
    return drawn


@lru_cache(maxsize=16)
def signs(n: int, parts: int) -> FloatArray:
    """Fixed random signs `[2 n, parts]`: as many imagined runs of samples in independent parts (the
    wild bootstrap).
    """
    drawn = np.ones((2 * n, parts))
    for place, half in enumerate((drawn[:n], drawn[n:])):
        rng = np.random.default_rng([_SEED, n, parts, place])
        half[rng.integers(0, 2, (n, parts)) == 0] = -1.0
    drawn.setflags(write=False)
    return drawn
