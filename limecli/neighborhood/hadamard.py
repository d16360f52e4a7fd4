"""Randomised Hadamard designs with fold-over for masks: `--sampler hadamard`.

In a block every feature is on in half of the samples, every two features agree in half of them,
and every sample's complement is there too: the main effects of a block carry no noise from each
other, nor from effects of two features together.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FEWEST = 4  # blocks


def hadamard_plan(num_samples: int, n_features: int) -> int | None:
    """How many whole blocks are nearest to `num_samples`; None where that is fewer than 4."""
    block = block_size(n_features)
    blocks = (2 * num_samples + block) // (2 * block)
    return blocks if blocks >= _FEWEST else None


def block_size(n_features: int) -> int:
    """Samples in a block: twice the power of two above the number of features."""
    return 2 << n_features.bit_length()


def draw_hadamard(n_features: int, blocks: int, seed: int, start: int = 0) -> NDArray[np.bool_]:
    """`bool[n, n_features]`, one block after the other; no row is kept for the instance.

    Each block takes other columns of the Hadamard matrix in random order, with random signs.
    `start` leaves out the first blocks, which are those of a smaller draw.
    """
    size = block_size(n_features)
    half, matrix = size // 2, _hadamard(size // 2)
    drawn = np.empty((blocks - start, 2, half, n_features), np.bool_)
    for place, sequence in enumerate(np.random.SeedSequence(seed).spawn(blocks)[start:]):
        rng = np.random.default_rng(sequence)
        columns = 1 + rng.permutation(half - 1)[:n_features]
        signs = rng.integers(0, 2, n_features, np.uint8).astype(np.bool_)
        np.logical_xor(matrix[:, columns], signs, out=drawn[place, 0])
    np.logical_not(drawn[:, 0], out=drawn[:, 1])
    return drawn.reshape(-1, n_features)


@lru_cache(maxsize=2)
def _hadamard(m: int) -> NDArray[np.bool_]:
    """Sylvester's matrix of order m, a power of two; True stands for -1."""
    matrix = np.zeros((1, 1), np.bool_)
    while len(matrix) < m:
        matrix = np.block([[matrix, matrix], [matrix, ~matrix]])
    return matrix
