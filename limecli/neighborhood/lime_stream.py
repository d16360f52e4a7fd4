"""lime's own random stream, drawn in blocks: `--sampler lime`.

Every function takes from the legacy generator just what lime 0.2.0.1 takes, in its order, so that
the samples are those of a lime explainer with `random_state=seed`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from limecli.neighborhood.tabular_space import BinNormals, TabularSpace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limecli.types import FloatArray, IntArray

_TREE_SEED_RANGE = 0x7FFFFFFF  # what a scikit-learn tree draws from its generator at fit
_BLOCK = 16  # columns
_FEW = 16  # bins, or categories, up to which shares are compared one by one
_SEGMENTATION_SEEDS = 1000  # lime draws a seed for its segmentation first, used or not


@dataclass(frozen=True)
class TabularDraws:
    """Rows drawn from a background, which do not depend on the row to explain.

    `rows` is `float[n, n_features]`, what the model takes; `codes` is `int[n_features, n]`, the bin
    or category that each value lies in (continuous columns of an undiscretised draw: unused). Row 0
    of both is the instance's place.
    """

    rows: FloatArray
    codes: NDArray[np.integer]


def generator(seed: int, trees: int = 0) -> np.random.RandomState:
    """A fresh generator. `trees` is how many lime's entropy discretizer grows before it draws."""
    rng = np.random.RandomState(seed)
    for _ in range(trees):
        rng.randint(0, _TREE_SEED_RANGE)
    return rng


def draw_bins(rng: np.random.RandomState, space: TabularSpace, n: int) -> TabularDraws:
    """A bin by its frequency, then a truncated normal inside it (lime_tabular, discretised)."""
    codes = np.empty((space.n_features, n), space.code_type)
    for j in range(space.n_features):
        codes[j] = _choice(rng, space, j, n)
    rows = np.empty((n, space.n_features))
    block = np.empty((_BLOCK, n))  # columns are made in one piece, and turned while in the cache
    for start in range(0, space.n_features, _BLOCK):
        places = range(start, min(start + _BLOCK, space.n_features))
        for values, j in zip(block, places, strict=False):
            normals = space.normals.get(j)
            if normals is None:
                values[:] = codes[j]
            else:
                values[1:] = _inside(rng, normals, codes[j, 1:].astype(np.intp))
        rows[:, places.start : places.stop] = block[: len(places)].T
    return TabularDraws(rows, codes)


def _inside(rng: np.random.RandomState, normals: BinNormals, bins: NDArray[np.intp]) -> FloatArray:
    """A value in each bin, `[n]`. Bins of one value, and missing ones, take nothing from `rng`."""
    if normals.all_wide:
        return normals.quantile(bins, rng.random_sample(len(bins)))
    wide = normals.wide[bins]
    values = normals.narrow_value[bins]
    inside = bins[wide]
    values[wide] = normals.quantile(inside, rng.random_sample(len(inside)))
    return np.asarray(values)


def draw_normals(
    rng: np.random.RandomState, space: TabularSpace, n: int, centre: FloatArray | None = None
) -> TabularDraws:
    """A normal for each number, a frequency for each category (lime_tabular, undiscretised).

    The normals lie around the background's means, or around `centre`, `float[n_features]`.
    """
    size = n * space.n_features
    rows = rng.normal(0, 1, size).reshape(n, space.n_features) * space.scales
    rows += space.means if centre is None else centre
    codes = np.zeros((space.n_features, n), space.code_type)
    for j in space.categorical:
        codes[j] = _choice(rng, space, j, n)
        rows[:, j] = codes[j]
    return TabularDraws(rows, codes)


def _choice(rng: np.random.RandomState, space: TabularSpace, j: int, n: int) -> NDArray[np.integer]:
    """`rng.choice(values, n, p=frequencies)`, as RandomState computes it."""
    uniform, cumulated = rng.random_sample(n), space.cumulated[j]
    places: NDArray[np.integer]
    if len(cumulated) > _FEW:
        places = cumulated.searchsorted(uniform, side="right")
    else:
        places = np.zeros(n, np.uint8)  # some passes cost less than a search with random branches
        for share in cumulated[:-1]:
            places += uniform >= share
    values = space.values[j]
    return places if values is None else values.take(places)


def draw_words(rng: np.random.RandomState, n_words: int, n: int) -> NDArray[np.bool_]:
    """`bool[n, n_words]`: which words are kept. Any number of words is removed, equally likely."""
    removed = rng.randint(1, n_words + 1, n - 1)
    kept = np.ones((n, n_words), np.bool_)
    permutation = rng.permutation  # what `choice` without replacement draws, too
    for row, size in zip(kept[1:], removed.tolist(), strict=True):
        row[permutation(n_words)[:size]] = False
    return kept


def draw_superpixels(rng: np.random.RandomState, n_superpixels: int, n: int) -> NDArray[np.bool_]:
    """`bool[n, n_superpixels]`: which superpixels are shown, each one with probability 1/2."""
    rng.randint(0, high=_SEGMENTATION_SEEDS)
    drawn: IntArray = rng.randint(0, 2, n * n_superpixels).reshape(n, n_superpixels)
    shown = drawn.astype(np.bool_)
    shown[0] = True
    return shown
