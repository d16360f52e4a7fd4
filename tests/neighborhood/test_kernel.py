"""Distances are scikit-learn's, weights are lime's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import pairwise_distances

from limecli.neighborhood.kernel import binary_distances, kernel

METRICS = ["euclidean", "cosine", "manhattan"]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("d", [1, 2, 7, 300])
def test_distances_of_ones_and_zeros_depend_on_their_number_only(metric, d):
    rng = np.random.default_rng(0)
    z = (rng.random((50, d)) < rng.random((50, 1))).astype(float)
    z[0], z[1] = 1, 0
    expected = pairwise_distances(z, z[:1], metric=metric).ravel()
    found = binary_distances(d, metric)[z.sum(axis=1).astype(int)]
    assert found == pytest.approx(expected, abs=1e-7 if metric == "euclidean" else 1e-14)


def test_the_kernel_is_the_root_of_limes_exponential():
    d = np.linspace(0, 60, 50)
    assert kernel(d, 25.0) == pytest.approx(np.exp(-(d**2) / (2 * 25.0**2)))
    assert kernel(np.array([1e6]), 0.1)[0] == 0
