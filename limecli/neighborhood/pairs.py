"""Complement pairs of masks: `--sampler pairs`. What is there in one is gone in the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limecli.types import FloatArray

Law = Literal["binomial", "uniform"]


def draw_pairs(
    n_features: int, num_samples: int, seed: int, law: Law, start: int = 0
) -> tuple[NDArray[np.bool_], FloatArray]:
    """`bool[n, n_features]`, and `float[n]` by which the kernel's weights are to be multiplied.

    Rows 2i and 2i+1 are complements; an odd `num_samples` is rounded up. No row is kept for the
    instance. `law` is lime's: "binomial" (superpixels, each one shown with probability 1/2), or
    "uniform" (words: the number removed is one of 1 to all, equally likely). Pairs have the same
    law for the number removed and the number kept; the importance makes up for that exactly.
    `start` leaves out the first samples, an even number, which are those of a smaller draw.
    """
    pairs = (num_samples + 1) // 2
    drawn = np.empty((pairs - start // 2, 2, n_features), np.bool_)
    chunks = range(0, pairs, _CHUNK)
    for chunk, sequence in zip(
        chunks, np.random.SeedSequence(seed).spawn(len(chunks)), strict=True
    ):
        first, end = max(chunk, start // 2), min(chunk + _CHUNK, pairs)
        if first < end:
            masks = _masks(np.random.default_rng(sequence), n_features, law)
            drawn[first - start // 2 : end - start // 2, 0] = masks[first - chunk : end - chunk]
    np.logical_not(drawn[:, 0], out=drawn[:, 1])
    masks = drawn.reshape(-1, n_features)
    return masks, _importance(masks, law)


_CHUNK = 128  # pairs from one stream, so that larger draws begin as smaller ones


def _masks(rng: np.random.Generator, n_features: int, law: Law) -> NDArray[np.bool_]:
    """`bool[_CHUNK, n_features]` by lime's law."""
    if law == "binomial":
        return rng.integers(0, 2, (_CHUNK, n_features), np.uint8).astype(np.bool_)
    removed = rng.integers(1, n_features + 1, _CHUNK)
    return rng.permuted(np.arange(n_features) >= removed[:, None], axis=1)


def _importance(masks: NDArray[np.bool_], law: Law) -> FloatArray:
    """p(k) / ((p(k) + p(D - k)) / 2) for the number k of features kept."""
    importance = np.ones(len(masks))
    if law == "uniform":  # p(k) is 1/D for 0 <= k < D
        kept = masks.sum(axis=1)
        importance[kept == masks.shape[1]] = 0.0
        importance[kept == 0] = 2.0
    return importance
