"""How near a sample is, and what weight that gives it: lime's distances and exponential kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limecli.types import FloatArray


def kernel(distances: FloatArray, width: float) -> FloatArray:
    """The kernel of lime: sqrt(exp(-d² / width²))."""
    weights: FloatArray = np.sqrt(np.exp(-(distances**2) / width**2))
    return weights


def binary_distances(n_features: int, metric: str) -> FloatArray:
    """`float[n_features + 1]`: how far a 0/1 vector is from all ones, by how many ones it has."""
    kept = np.arange(n_features + 1.0)
    if metric == "euclidean":
        return np.asarray(np.sqrt(n_features - kept))
    if metric == "manhattan":
        return n_features - kept
    # |z| = sqrt(kept), and z.1 = kept. A vector without direction counts as orthogonal.
    cosine: FloatArray = 1.0 - np.sqrt(kept / n_features)
    return cosine


def distances_to_first(samples: NDArray[np.float64], metric: str) -> FloatArray:
    """`float[n]` for `float[n, n_features]`, by scikit-learn's formulas (pairwise_distances)."""
    first = samples[0]
    if metric == "manhattan":
        return np.asarray(np.abs(samples - first).sum(axis=1))
    if metric == "euclidean":
        squares = np.einsum("ij,ij->i", samples, samples)
        squared = squares - 2 * (samples @ first) + squares[0]
        squared[0] = 0.0
        return np.asarray(np.sqrt(np.maximum(squared, 0.0)))
    norms = np.sqrt(np.einsum("ij,ij->i", samples, samples))
    norms[norms == 0] = 1.0
    cosines = (samples / norms[:, None]) @ (first / norms[0])
    return np.asarray(np.clip(1.0 - cosines, 0.0, 2.0))
