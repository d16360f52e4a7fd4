"""What lime's draws alone say of a weight, and how sure that is."""

from __future__ import annotations

import numpy as np
import pytest

from limecli.explainers.lime_draws import drawn_weights
from limecli.types import Neighborhood

TRUE = np.array([0.5, -0.2, 0.0])


def neighborhood(rng, n=2000, rates=(0.5, 0.3, 0.4), noise=0.3, scale=1.0):
    z = rng.random((n, 3)) < np.array(rates)
    weights = np.exp(-0.5 * (~z).sum(axis=1))
    spread = noise * (1 + 2 * z[:, 0])  # larger where z is 1
    y = scale * (0.1 + z @ TRUE + spread * rng.normal(size=n))
    return Neighborhood(z, y[:, None], np.ones(3), lambda rows: rows, lambda: (z.T, weights))


def test_intervals_of_95_percent_cover_95_percent():
    rng, inside = np.random.default_rng(0), []
    for _ in range(300):
        found = drawn_weights(neighborhood(rng), 0, [0, 1, 2])
        inside.append([abs(found[j].weight - TRUE[j]) < 1.96 * found[j].error for j in range(3)])
    shares = np.mean(inside, axis=0)
    assert 0.92 < shares[0] < 0.98
    assert (shares > 0.92).all()  # where residuals are small, the larger error is on the safe side


def test_a_linear_model_has_its_own_weights_without_error():
    found = drawn_weights(neighborhood(np.random.default_rng(0), noise=0.0), 0, [0, 1, 2])
    assert [found[j].weight for j in range(3)] == pytest.approx(TRUE, abs=1e-12)
    assert max(found[j].error for j in range(3)) < 1e-12


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_the_unit_of_the_outputs_does_not_matter(scale):
    one, other = (
        drawn_weights(neighborhood(np.random.default_rng(0), scale=s), 0, [0, 1])
        for s in (1.0, scale)
    )
    for j in (0, 1):
        assert other[j].weight / scale == pytest.approx(one[j].weight)
        assert other[j].error / scale == pytest.approx(one[j].error)


def test_too_few_samples_tell_of_no_weight():
    rare = neighborhood(np.random.default_rng(0), rates=(0.5, 0.005, 0.0))
    found = drawn_weights(rare, 0, [0, 1, 2])
    assert [found[j].told for j in range(3)] == [True, False, False]
    few = drawn_weights(neighborhood(np.random.default_rng(0), n=25), 0, [0])
    assert not few[0].told


def test_features_that_are_not_there_are_left_out():
    made = neighborhood(np.random.default_rng(0))
    assert list(drawn_weights(made, 0, [2, 99, 2])) == [2]
    assert drawn_weights(made, 0, []) == {}
