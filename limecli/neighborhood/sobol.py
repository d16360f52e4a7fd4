"""Scrambled Sobol points around a row of a table: `--sampler sobol`.

Each replicate is a Sobol sequence with a scrambling of its own (Matousek 1998: a random linear map
of the digits, then a random shift), so replicates are independent draws of one law, and the spread
of what they say is an honest error.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from limecli.neighborhood.lime_stream import TabularDraws
from limecli.neighborhood.tabular_space import TabularSpace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limecli.types import FloatArray

    Words = NDArray[np.uint32]

MOST_FEATURES = 21201  # Joe and Kuo's direction numbers end there
_FEWEST, _MOST = 8, 16  # replicates
_POINTS_A_FEATURE = 4
_BITS = 30  # scipy's
_FEW = 16  # bins, or categories, up to which shares are compared one by one


@dataclass(frozen=True)
class SobolPlan:
    """`replicates` scramblings of `points` (a power of two) points each."""

    replicates: int
    points: int

    @property
    def n(self) -> int:
        """Samples in all."""
        return self.replicates * self.points


def sobol_plan(num_samples: int, n_features: int) -> SobolPlan | None:
    """8 to 16 replicates of at least four points a feature, nearest to `num_samples` in all.

    Of equal ones that with fewer replicates, whose error is a tenth to a quarter smaller. None
    where fewer than 8 would be nearer, or without direction numbers for so many features.
    """
    if not 0 < n_features <= MOST_FEATURES:
        return None
    points = 1 << (_POINTS_A_FEATURE * n_features - 1).bit_length()
    if _FEWEST * points > num_samples + points // 2:
        return None
    plans = []
    while _FEWEST * points <= 2 * num_samples:
        near = min(max(round(num_samples / points), _FEWEST), _MOST)
        plans.append(SobolPlan(near, points))
        points *= 2
    return min(plans, key=lambda plan: (abs(plan.n - num_samples), plan.replicates))


def draw_sobol(
    space: TabularSpace,
    plan: SobolPlan,
    seed: int,
    binned: bool,
    centre: FloatArray | None = None,
    start: int = 0,
) -> TabularDraws:
    """Rows, one replicate after the other; no row is kept for the instance.

    `binned` draws a bin by its frequency and a truncated normal inside it, else a normal around the
    background's means or around `centre`, `float[n_features]`. A feature's one coordinate says
    both. `start` leaves out the first points of each replicate: they are those of a smaller plan
    with as many replicates and the same seed.
    """
    uniform = _uniform(space.n_features, plan, seed, start)
    n = uniform.shape[1]
    codes = np.zeros((space.n_features, n), space.code_type)
    columns = np.empty((space.n_features, n))
    for j in range(space.n_features):
        if binned or j in space.categorical:
            columns[j], codes[j] = _from_bins(space, j, uniform[j])
        else:
            middle = space.means[j] if centre is None else centre[j]
            columns[j] = _standard_normal(uniform[j]) * space.scales[j] + middle
    return TabularDraws(np.ascontiguousarray(columns.T), codes)


def _standard_normal(uniform: FloatArray) -> FloatArray:
    from scipy.special import ndtri

    found: FloatArray = ndtri(uniform)
    return found


def _from_bins(
    space: TabularSpace, j: int, uniform: FloatArray
) -> tuple[FloatArray, NDArray[np.integer]]:
    """A column's values and codes, `[n]` each: the bin by `uniform`, the place by what is left."""
    cumulated, values = space.cumulated[j], space.values[j]
    if len(cumulated) > _FEW:
        places = cumulated.searchsorted(uniform, side="right")
    else:
        places = np.zeros(len(uniform), np.intp)
        for share in cumulated[:-1]:
            places += uniform >= share
    codes = places if values is None else values.take(places)
    normals = space.normals.get(j)
    if normals is None:
        return codes.astype(np.float64), codes
    before = np.concatenate([[0.0], cumulated[:-1]])
    shares = cumulated - before
    inside = uniform - before.take(places)
    inside /= shares.take(places)
    if normals.all_wide:
        return normals.quantile(codes, inside), codes
    wide = normals.wide[codes]
    # Unlike lime (its fault), a bin of one value holds that value.
    found: FloatArray = np.append(space._columns[j].mins, np.nan).take(codes)
    found[wide] = normals.quantile(codes[wide], inside[wide])
    return found, codes


def _uniform(n_features: int, plan: SobolPlan, seed: int, start: int) -> FloatArray:
    """`float[n_features, n]` in (0, 1), replicate by replicate."""
    streams = [
        np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(plan.replicates)
    ]
    keys = np.stack(
        [s.integers(0, 1 << _BITS, (_BITS + 1, n_features), np.uint32) for s in streams]
    )
    steps = _scrambled(_directions(n_features, (plan.points - 1).bit_length()), keys)
    points = np.empty((n_features, plan.replicates, plan.points), np.uint32)
    points[:, :, 0] = keys[:, _BITS].T
    for bit, step in enumerate(steps):
        half = 1 << bit
        np.bitwise_xor(points[:, :, :half], step.T[:, :, None], out=points[:, :, half : 2 * half])
    uniform: FloatArray = points[:, :, start:].reshape(n_features, -1).astype(np.float64)
    uniform += 0.5
    uniform *= 2.0**-_BITS
    return uniform


def _scrambled(directions: Words, keys: Words) -> Words:
    """Direction numbers `[m, n_features]` mapped by each replicate's lower triangular matrix of
    digits, `[m, replicates, n_features]`. Row p of `keys` holds column p of the matrix.
    """
    found = np.zeros((len(directions), len(keys), directions.shape[1]), np.uint32)
    for p in range(_BITS):
        digit = np.uint32(1 << (_BITS - 1 - p))
        column = (keys[:, p] & (digit - np.uint32(1))) | digit
        found ^= np.where((directions & digit)[:, None, :] != 0, column, np.uint32(0))
    return found


@lru_cache(maxsize=8)
def _directions(n_features: int, m: int) -> Words:
    """Joe and Kuo's direction numbers of the first m bits of a point's place, `[m, n_features]`.

    Each is made of earlier ones by the recurrence of a primitive polynomial (Bratley & Fox 1988).
    """
    polynomials, initial = _joe_kuo()
    numbers = np.ones((max(m, initial.shape[1]), n_features), np.uint64)  # the first is van der
    numbers[: initial.shape[1], 1:] = initial[1:n_features].T  # Corput's: ones only
    degrees = np.array([int(p).bit_length() - 1 for p in polynomials[:n_features]])
    degrees[0] = m
    for bit in range(m):
        now = np.flatnonzero(degrees <= bit)
        degree = degrees[now]
        found = numbers[bit - degree, now]
        for k in range(1, int(degree.max(initial=0)) + 1):
            place = np.maximum(degree - k, 0).astype(np.uint64)
            has = (k <= degree) & ((polynomials[now] >> place) & np.uint64(1)).astype(np.bool_)
            back = numbers[np.maximum(bit - k, 0), now] << np.uint64(k)
            found = np.where(has, found ^ back, found)
        numbers[bit, now] = found
    shifts = np.arange(_BITS - 1, _BITS - 1 - m, -1, dtype=np.uint64)
    return (numbers[:m] << shifts[:, None]).astype(np.uint32)


def _joe_kuo() -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Polynomials, and the numbers that the recurrences start from, as scipy ships them.

    They are read where they lie: importing scipy.stats takes most of a second.
    """
    from importlib.util import find_spec

    spec = find_spec("scipy.stats")
    folder = next(iter((spec and spec.submodule_search_locations) or ["."]))
    with np.load(f"{folder}/_sobol_direction_numbers.npz") as file:
        return file["poly"].astype(np.uint64), file["vinit"].astype(np.uint64)
