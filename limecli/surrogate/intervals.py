"""What the errors of the weights say: intervals, signs, ranks, and how two runs would agree."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limecli.types import FloatArray

_LEVEL = 0.975  # of a one-sided quantile: 95 % intervals
_DRAWS = 256  # from the normal law of the weights
_RUNS = 128  # pairs of runs that are imagined
_ROUNDING = 1e-13  # of the largest weight: differences below it mean nothing
_SEED = 20161  # of the fixed draws; any other one serves as well


@dataclass(frozen=True, eq=False)
class Errors:
    """How sure a fit is, in the unit of the outputs.

    `weights` `[k]` are those of the chosen `features` `[k]`, `covariance` `[k, k]` their errors',
    `degrees` the degrees of freedom of its estimate (inf where there are many). `all_weights` and
    `all_errors` `[d]` are of a fit on all features, each feature by itself; `importance` `[d]` is
    what a weight's size is multiplied by where features are chosen. `replicates` `[blocks, k]` are
    what each replicate says of `weights`, where there are any.
    """

    features: NDArray[np.intp]
    weights: FloatArray
    covariance: FloatArray
    degrees: float
    all_weights: FloatArray
    all_errors: FloatArray
    importance: FloatArray
    replicates: FloatArray | None = None

    @property
    def deviations(self) -> FloatArray:
        """Standard errors of `weights`, `[k]`."""
        deviations: FloatArray = np.sqrt(self.covariance.diagonal())
        return deviations

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
        """For each place in `order` the first and last rank of those it is not told apart from."""
        gaps, errors = self.gaps(order)
        return tied(gaps > quantile(_LEVEL, self.degrees) * errors)

    def top_probabilities(self, k: int) -> FloatArray:
        """How likely each of all features is among the k strongest, `[d]`."""
        d = len(self.all_weights)
        if k >= d:
            return np.ones(d)
        drawn = normals(_DRAWS, d, 0) * self.all_errors
        drawn += self.all_weights
        return np.asarray(self._among(drawn, k).mean(axis=0))

    def _among(self, drawn: FloatArray, k: int) -> NDArray[np.bool_]:
        """Which features are among the k strongest of each row of weights."""
        sizes = np.abs(drawn)
        sizes *= self.importance
        least = np.partition(sizes, -k, axis=1)[:, -k]
        strongest: NDArray[np.bool_] = sizes >= least[:, None]
        return strongest

    def stability(self, k: int) -> float:
        """The expected Jaccard index of the k strongest features of two independent runs."""
        d = len(self.all_weights)
        if k >= d:
            return 1.0
        near, far = (self._agreement(k, extra) for extra in (0.0, 1.0))
        # The estimates already hold one run's noise. What more of it does tells what none would.
        return min(max(2.0 * near - far, 0.0), 1.0)

    def _agreement(self, k: int, extra: float) -> float:
        """The index of runs around the estimates, themselves moved by `extra` of their variance."""
        d = len(self.all_weights)
        first, second, moved = (normals(_RUNS, d, place) for place in (1, 2, 3))
        middle = self.all_weights + np.sqrt(extra) * self.all_errors * moved
        one, other = (self._among(middle + self.all_errors * noise, k) for noise in (first, second))
        shared = (one & other).sum(axis=1)
        return float((shared / (2 * k - shared)).mean())


def tied(parted: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last rank (from 1) of everyone's group; `parted[i]` parts rank i + 1 from i + 2."""
    ends = [0, *(int(i) + 1 for i in parted.nonzero()[0]), len(parted) + 1]
    return [(start + 1, end) for start, end in pairwise(ends) for _ in range(end - start)]


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
def normals(n: int, d: int, place: int) -> FloatArray:
    """Fixed draws `[n, d]`: every column holds the same n quantiles, in an order of its own."""
    from scipy.special import ndtri

    rng = np.random.default_rng([_SEED, n, d, place])
    levels = np.tile(ndtri((np.arange(n) + 0.5) / n)[:, None], (1, d))
    drawn: FloatArray = rng.permuted(levels, axis=0)
    drawn.setflags(write=False)
    return drawn
