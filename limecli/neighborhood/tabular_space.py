"""A Background as arrays: the bins of a table's columns, their shares, the spread inside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from limecli.types import Column

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limecli.types import FloatArray

_LEAST_MASS = 1e-280  # below it a bin lies so far out in its normal that probabilities underflow


class TabularSpace:
    """What lime's tabular draws need of a background, column by column.

    `values[j]` are the codes that occur in column j, `cumulated[j]` their cumulated shares;
    `normals[j]` is there for each column of numbers.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = tuple(columns)
        self.n_features = len(columns)
        most = max(
            (max(len(c.bins) + 2, len(c.categories or ())) for c in columns),
            default=0,
        )
        self.code_type: type[np.integer] = np.uint8 if most < 256 else np.int32
        # None where the codes that occur are 0, 1, 2 ...
        self.values = [
            None if c.feature_values == tuple(range(len(c.feature_values)))
            else np.array(c.feature_values).astype(np.intp)
            for c in columns
        ]  # fmt: skip
        self.cumulated = [_cumulated(c.feature_frequencies) for c in columns]
        self.means: FloatArray = np.array([c.mean for c in columns])
        self.scales: FloatArray = np.array([c.scale for c in columns])
        # Inner edges of every column, level by level; above its last a column has infinite ones.
        self._edges = np.full(
            (max((len(c.bins) for c in columns), default=0), len(columns)), np.inf
        )
        for j, column in enumerate(columns):
            self._edges[: len(column.bins), j] = column.bins
        self._missing = np.array([len(c.bins) + 1 for c in columns])
        self.categorical = [j for j, c in enumerate(columns) if not c.continuous]

    @cached_property
    def normals(self) -> dict[int, BinNormals]:
        """The truncated normals of the columns of numbers."""
        return bin_normals(self._columns)

    def codes(self, rows: FloatArray) -> NDArray[np.integer]:
        """`int[n, n_features]`: the bin or category of each value of `float[n, n_features]`.

        Bin j covers (bins[j-1], bins[j]]; a missing number has the code after the last bin.
        """
        found = np.zeros(rows.shape, np.int64)
        for edges in self._edges:
            found += rows > edges
        found[:, self.categorical] = rows[:, self.categorical]
        missing = np.isnan(rows)
        if missing.any():
            found = np.where(missing, self._missing, found)
        return found

    @cached_property
    def never_repeats(self) -> bool:
        """Whether some column of numbers makes every row that is drawn from bins its own."""
        return any(normals.all_wide for normals in self.normals.values())

    def matches(self, drawn: NDArray[np.integer], codes: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Where the codes drawn are those of one row: z, as `bool[n_features, n]`."""
        # A category that the background never had gets a code that may not fit the type.
        none = np.iinfo(self.code_type).max
        wanted = np.minimum(codes, none).astype(self.code_type)
        same: NDArray[np.bool_] = drawn == wanted[:, None]
        return same


def _cumulated(shares: Sequence[float]) -> FloatArray:
    cumulated = np.array(shares).cumsum()
    cumulated /= cumulated[-1]
    return cumulated


@dataclass(frozen=True)
class BinNormals:
    """The normals of a column's bins, cut off at the edges of each bin.

    lime scales by means and stds of the bins: a = (min - mean) / std and b = (max - mean) / std.
    `wide` says where a and b differ; elsewhere lime takes a itself, `narrow_value`, which is near 0
    whatever the bin's only value is. The code of a missing number is not wide, its value is NaN.
    `all_wide` says that the background has values in wide bins only.

    Phi(a) is `start`, Phi(b) - Phi(a) is `mass`. In the right half, where `mirrored`, both are
    taken of the mirror image, so that small probabilities keep their digits; where they underflow
    nevertheless the bin is `far`.
    """

    a: FloatArray
    b: FloatArray
    means: FloatArray
    stds: FloatArray
    start: FloatArray
    mass: FloatArray
    mirrored: NDArray[np.bool_] | None
    far: NDArray[np.bool_] | None
    wide: NDArray[np.bool_]
    all_wide: bool

    @property
    def narrow_value(self) -> FloatArray:
        """By code, what lime takes where a bin is not wide."""
        return np.append(self.a, np.nan)

    def quantile(self, bins: NDArray[np.intp], uniform: FloatArray) -> FloatArray:
        """The value of each bin's truncated normal at `uniform`, both `[n]`.

        Phi^-1(Phi(a) + u (Phi(b) - Phi(a))), which scipy's truncnorm computes with logarithms.
        """
        from scipy.special import ndtri

        mirrored = None if self.mirrored is None else self.mirrored[bins]
        z: FloatArray = uniform if mirrored is None else np.where(mirrored, 1.0 - uniform, uniform)
        z = z * self.mass.take(bins)
        z += self.start.take(bins)
        ndtri(z, out=z)
        if mirrored is not None:
            np.negative(z, out=z, where=mirrored)
        if self.far is not None:
            self._ask_scipy(z, self.far[bins], bins, uniform)
        z *= self.stds.take(bins)
        z += self.means.take(bins)
        return z

    def _ask_scipy(
        self, z: FloatArray, far: NDArray[np.bool_], bins: NDArray[np.intp], uniform: FloatArray
    ) -> None:
        from scipy.stats import truncnorm

        z[far] = truncnorm.ppf(uniform[far], self.a[bins[far]], self.b[bins[far]])


def bin_normals(columns: Sequence[Column]) -> dict[int, BinNormals]:
    """The normals of all columns of numbers, by column; computed for all at once."""
    from scipy.special import ndtr

    numbers = [(j, column) for j, column in enumerate(columns) if column.continuous]
    mins, maxs, means, stds = (
        np.array([x for _, column in numbers for x in getattr(column, name)])
        for name in ("mins", "maxs", "means", "stds")
    )
    a, b = (mins - means) / stds, (maxs - means) / stds
    mirrored = a >= 0
    start = ndtr(np.where(mirrored, -b, a))
    mass = ndtr(np.where(mirrored, -a, b)) - start
    wide = a != b
    far = wide & (mass < _LEAST_MASS)
    found, end = {}, 0
    for j, column in numbers:
        bins = slice(end, end := end + len(column.means))
        occurring = np.zeros(len(column.means) + 1, np.bool_)
        occurring[:-1] = wide[bins]
        found[j] = BinNormals(
            a[bins], b[bins], means[bins], stds[bins], start[bins], mass[bins],
            mirrored[bins] if mirrored[bins].any() else None,
            far[bins] if far[bins].any() else None,
            occurring,
            bool(occurring.take(np.array(column.feature_values, np.intp)).all()),
        )  # fmt: skip
    return found
