"""What lime's tabular draws make of a model's boxes and curves: probabilities instead of samples.

The draws are those of every sampler but `lime`: a bin of one value keeps that value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from limecli.leaf_boxes import LeafBoxes
from limecli.neighborhood.tabular_space import BinNormals, bin_normals
from limecli.types import Column

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limecli.types import FloatArray

_PANELS, _POINTS = 32, 8  # a curve may have kinks, so many short pieces
_REACH = 81.0  # z² - (the least z²)² beyond which a normal has no mass that a double could show
_LOST = 0.125  # of the distance between doubles: a spread below it vanishes when added to a mean
_NO_TAIL = 1e6  # deviations from a mean beyond which a bin's values all lie at its nearer end


@dataclass(frozen=True, eq=False)
class BinLaws:
    """What happens inside the bins, or to the categories, of some columns; each by column.

    `frequencies` are `float[n_codes]`, how often each code is drawn. `masses` are
    `float[n_factors of the column, n_codes]`: the probability that a value drawn from that bin lies
    in the set of that factor, `bool` for categories; the factors have the order that they have
    among the boxes. `curves` are `float[n_codes, n_outputs]`, the mean of the column's curve in
    that bin. For codes that are never drawn the last two say nothing.
    """

    frequencies: Mapping[int, FloatArray]
    masses: Mapping[int, NDArray[Any]]
    curves: Mapping[int, FloatArray]


@dataclass(frozen=True, eq=False)
class NormalLaws:
    """The draws of an undiscretised background: N(mean, scale²), and `categories` as in bins.

    `means` and `scales` are `float[n_features]`. `nodes` and `node_weights` integrate a function of
    a standard normal variable.
    """

    means: FloatArray
    scales: FloatArray
    categories: BinLaws
    nodes: FloatArray
    node_weights: FloatArray


def bin_laws(columns: Sequence[Column], boxes: LeafBoxes) -> BinLaws:
    """The laws of all columns of a discretised background."""
    return _laws(columns, boxes, range(len(columns)))


def normal_laws(columns: Sequence[Column], boxes: LeafBoxes) -> NormalLaws:
    """The laws of an undiscretised background's columns."""
    categorical = [j for j, column in enumerate(columns) if not column.continuous]
    nodes, weights = _nodes(np.array([-np.inf]), np.array([np.inf]))
    return NormalLaws(
        np.array([column.mean for column in columns]),
        np.array([column.scale for column in columns]),
        _laws(columns, boxes, categorical),
        nodes[0],
        weights[0],
    )


def _laws(columns: Sequence[Column], boxes: LeafBoxes, wanted: Iterable[int]) -> BinLaws:
    frequencies, curves = {}, {}
    masses: dict[int, NDArray[Any]] = {}
    order = np.argsort(boxes.feature, kind="stable")
    ends = np.searchsorted(boxes.feature[order], np.arange(len(columns) + 1))
    normals = bin_normals(columns)
    for j in wanted:
        column, factors = columns[j], order[ends[j] : ends[j + 1]]
        shares = _frequencies(column)
        frequencies[j] = shares
        bins = _Bins(column, normals[j], shares > 0) if column.continuous else None
        if bins is None:
            masses[j] = _of_width(boxes.codes[factors], len(shares))
        else:
            inside = bins.masses(boxes.low[factors], boxes.high[factors])
            masses[j] = np.column_stack([inside, boxes.missing[factors]])
        if j in boxes.curves:
            curve, drawn = boxes.curves[j], shares > 0
            curves[j] = _of_codes(curve, drawn) if bins is None else bins.curve_means(curve, drawn)
    return BinLaws(frequencies, masses, curves)


def _frequencies(column: Column) -> FloatArray:
    n_codes = len(column.bins) + 2 if column.categories is None else len(column.categories)
    shares = np.zeros(n_codes)
    shares[np.array(column.feature_values, np.intp)] = column.feature_frequencies
    shares /= shares.sum()
    return shares


def _of_width(codes: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """The first `width` codes; those that the model has never heard of lie in no set."""
    unheard = max(width - codes.shape[1], 0)
    return np.pad(codes[:, :width], ((0, 0), (0, unheard)))


def _of_codes(curve: Callable[[FloatArray], FloatArray], drawn: NDArray[np.bool_]) -> FloatArray:
    codes = np.flatnonzero(drawn)
    values = curve(codes.astype(np.float64))
    found = np.zeros((len(drawn), values.shape[1]))
    found[codes] = values
    return found


class _Bins:
    """The bins of one column of numbers: truncated normals, and atoms where there is one value."""

    def __init__(self, column: Column, normals: BinNormals, drawn: NDArray[np.bool_]) -> None:
        self._normals, self._drawn = normals, drawn[:-1]
        self._low, self._high = np.array(column.mins), np.array(column.maxs)
        means, stds = normals.means, normals.stds
        nearest = np.maximum(normals.a, -normals.b)
        one = ~normals.wide[:-1] | (stds < _LOST * np.spacing(np.abs(means)))
        self._atoms = one | (nearest > _NO_TAIL)
        self._values = np.clip(means, self._low, self._high)

    def masses(self, low: FloatArray, high: FloatArray) -> FloatArray:
        """P(low < x <= high) in each bin, `float[n_sets, n_bins]`."""
        normals = self._normals
        found = np.zeros((len(low), len(self._atoms)))
        wide = np.flatnonzero(self._drawn & ~self._atoms)
        below_high, below_low = self._distribution(high, wide), self._distribution(low, wide)
        share = np.abs(below_high - below_low)
        if normals.far is None:
            share /= normals.mass[wide]
        else:
            share /= np.where(normals.far, 1.0, normals.mass)[wide]
        found[:, wide] = np.where((high > low)[:, None], share, 0.0)
        atoms = np.flatnonzero(self._drawn & self._atoms)
        values = self._values[atoms]
        found[:, atoms] = (low[:, None] < values) & (values <= high[:, None])
        return found

    def _distribution(self, ends: FloatArray, bins: NDArray[np.intp]) -> FloatArray:
        """Phi of each end in each bin, or of its mirror image; of a far bin, the share below it."""
        from scipy.special import ndtr

        normals = self._normals
        z = np.clip(ends[:, None], self._low[bins], self._high[bins])
        z -= normals.means[bins]
        z /= normals.stds[bins]
        if normals.mirrored is not None:
            np.negative(z, out=z, where=normals.mirrored[bins])
        found: FloatArray = ndtr(z)
        if normals.far is not None:
            from scipy.stats import truncnorm

            far = normals.far[bins]
            z = np.where(normals.a[bins] >= 0, -z, z)[:, far]
            found[:, far] = truncnorm.cdf(z, normals.a[bins[far]], normals.b[bins[far]])
        return found

    def curve_means(
        self, curve: Callable[[FloatArray], FloatArray], drawn: NDArray[np.bool_]
    ) -> FloatArray:
        """The mean of a curve in each bin and of missing values, `float[n_codes, n_outputs]`."""
        normals, bins = self._normals, np.flatnonzero(self._drawn)
        wide = bins[~self._atoms[bins]]
        z, weights = _nodes(normals.a[wide], normals.b[wide])
        x = normals.means[wide, None] + normals.stds[wide, None] * z
        x = np.clip(x, self._low[wide, None], self._high[wide, None])
        atoms = bins[self._atoms[bins]]
        missing = np.full(int(drawn[-1]), np.nan)
        values = curve(np.concatenate([x.ravel(), self._values[atoms], missing]))
        found = np.zeros((len(drawn), values.shape[1]))
        inside = values[: x.size].reshape(*x.shape, values.shape[1])
        found[wide] = np.einsum("bn,bno->bo", weights, inside)
        found[atoms] = values[x.size : x.size + len(atoms)]
        if drawn[-1]:
            found[-1] = values[-1]
        return found


def _nodes(a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Points and weights, `float[n, n_points]`, for the mean of a function of a standard normal
    variable between a and b, `float[n]`: Gauss-Legendre in z on short pieces, times the density.
    """
    nearest = np.clip(0.0, a, b)
    reach = np.sqrt(nearest**2 + _REACH)
    start, end = np.maximum(a, -reach), np.minimum(b, reach)
    points, weights = np.polynomial.legendre.leggauss(_POINTS)
    steps = (np.arange(_PANELS)[:, None] + (points + 1) / 2).ravel() / _PANELS
    z = start[:, None] + (end - start)[:, None] * steps
    density = np.exp(-(z - nearest[:, None]) * (z + nearest[:, None]) / 2)
    density *= np.tile(weights, _PANELS)
    return z, density / density.sum(axis=1, keepdims=True)
