"""How well a surrogate predicts samples that it was not fitted to: held-out R²."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from limecli.surrogate.blocks import BlockedSamples, BlockedTarget, of_usual_size
from limecli.surrogate.ridge import Target, WeightedSamples
from limecli.surrogate.selection import choose, select

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limecli.types import FloatArray

_FOLDS = 8
_FEWEST = 10  # samples that R² may be measured on
_AT_ONCE = 1 << 22  # numbers in the matrices of the blocks that are fitted together


def held_out_r2(
    samples: BlockedSamples,
    outputs: FloatArray,
    first: FloatArray,
    method: str,
    k: int,
    alpha: float = 0.0,
    scored: Sequence[int] | None = None,
) -> float | None:
    """R² on each block of a surrogate fitted, selection included, to all the others.

    Weighted squared errors are pooled over the blocks `scored` (None: all), and compared with
    those of the others' mean. None for a constant model, or where there are no other samples.
    """
    target = BlockedTarget(samples, of_usual_size(outputs)[0])
    return held_out(target, first, method, k, alpha, scored)


def held_out(
    target: BlockedTarget,
    first: FloatArray,
    method: str,
    k: int,
    alpha: float,
    scored: Sequence[int] | None,
) -> float | None:
    """`held_out_r2` of sums over blocks; no sample is looked at again."""
    samples = target.samples
    blocks = np.arange(samples.blocks) if scored is None else np.asarray(scored, np.intp)
    blocks = blocks[blocks < samples.blocks]  # few samples, or many features, make fewer
    if target.constant or samples.blocks < 2 or len(blocks) == 0:
        return None
    errors = squares = 0.0
    for some in _portions(blocks, samples.n_features):
        error, square = _sums(target, some, first, method, k, alpha)
        errors, squares = errors + error, squares + square
    return 1.0 - errors / squares if squares > 0 else None


def _portions(blocks: NDArray[np.intp], d: int) -> list[NDArray[np.intp]]:
    step = max(1, _AT_ONCE // d**2)
    return [blocks[start : start + step] for start in range(0, len(blocks), step)]


def _sums(
    target: BlockedTarget,
    blocks: NDArray[np.intp],
    first: FloatArray,
    method: str,
    k: int,
    alpha: float,
) -> tuple[float, float]:
    """Squared errors in some blocks: of the surrogates of the others, and of their means.

    With b the weights, m and a the others' means, around the means of all:
    sum w (y - a - (z - m) b)² = q - 2 b p + b G b - 2 c t + 2 c b s + c² W, where c = a - m b.
    """
    samples = target.samples
    others = target.without(blocks)
    sums, totals = samples.sums[blocks], samples.totals[blocks]
    products, output_sums = target.products[blocks], target.sums[blocks]
    squares = target.squares[blocks]
    found = choose(others, first, method, k, alpha)
    weights = np.zeros(products.shape)
    if isinstance(found, list):
        for place, features in enumerate(found):
            weights[place, features] = others.only(place).ridge_on(features, alpha)
    else:
        np.put_along_axis(weights, found, others.ridge_on(found, alpha), axis=1)
    gram = np.matmul(weights[:, None, :], samples.grams[blocks])[:, 0]
    start = others.mean - np.einsum("bd,bd->b", others.means, weights)
    error = squares + np.einsum(
        "bd,bd->b", weights, gram - 2.0 * products + 2.0 * start[:, None] * sums
    )
    error += start * (start * totals - 2.0 * output_sums)
    mean = others.mean
    return float(error.sum()), float((squares - 2.0 * mean * output_sums + mean**2 * totals).sum())


def held_out_split(
    samples: WeightedSamples,
    outputs: FloatArray,
    first: FloatArray,
    method: str,
    k: int,
    alpha: float,
) -> float | None:
    """R² on the last eighth of the samples of a surrogate of the others, for so many features that
    sums over more folds would take too much time and memory.
    """
    end = samples.n - samples.n // _FOLDS
    if samples.n - end < _FEWEST:
        return None
    z, weights = samples.z, samples.weights
    fitted = Target(WeightedSamples(z[:, :end], weights[:end]), outputs[:end])
    if fitted.constant:
        return None
    features = select(fitted, first, method, k)
    intercept, coefficients = fitted.ridge(features, alpha)
    left = outputs[end:] - intercept - coefficients @ z[features, end:].astype(np.float64)
    from_mean = outputs[end:] - fitted.mean
    squares = float(weights[end:] @ from_mean**2)
    return 1.0 - float(weights[end:] @ left**2) / squares if squares > 0 else None
