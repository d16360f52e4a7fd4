"""How near a sample is, and what weight that gives it: lime's distances and exponential kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
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


def distances_to_first(samples: FloatArray, metric: str) -> FloatArray:
    """`float[n]` for `float[n, n_features]`, to the last digit those that lime computes with."""
    from sklearn.metrics import pairwise_distances

    return np.asarray(pairwise_distances(samples, samples[:1], metric=metric).ravel())
