"""A control variate on replicates makes the errors smaller, and leaves the limit alone."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from limecli.surrogate.blocks import BlockedSamples
from limecli.surrogate.controlled import fit_controlled_replicates
from limecli.surrogate.fit import fit_replicates
from limecli.surrogate.ridge import Target, WeightedSamples

D, N, BLOCKS = 6, 480, 8
FIRST = np.ones(D)
SHARES = np.array([0.5, 0.25, 0.25, 0.1, 0.4, 0.25])


def model(x):
    return np.tanh(2 * x[:, 0] - x[:, 1] + 2 * x[:, 2] * x[:, 3]) + x[:, 4] ** 2


def rough(x):
    """What somebody who knows the model but roughly would say."""
    return 0.2 + 1.1 * np.tanh(2 * x[:, 0] - x[:, 1]) + 0.8 * x[:, 4] ** 2


@cache
def drawn(n, seed):
    """Points of the unit cube, z (which of them are in the first bin), and weights."""
    x = np.random.default_rng(seed).random((n, D))
    z = x < SHARES
    return x, z.T, np.exp(-(~z).sum(axis=1) / 5)


@cache
def limit():
    x, z, weights = drawn(400_000, 10**6)
    return Target(WeightedSamples(z, weights), model(x))


def both(seed, method="none", k=D, outputs=model, control=rough):
    """Fits without and with the control."""
    x, z, weights = drawn(N, seed)
    x_pool, z_pool, weights_pool = drawn(1 << 13, 10_000 + seed)
    samples = BlockedSamples(z, weights, BLOCKS)
    pool = BlockedSamples(z_pool, weights_pool, BLOCKS)
    y = outputs(x)
    return (fit_replicates(samples, y, FIRST, method, k),
            fit_controlled_replicates(samples, y, control(x), pool, control(x_pool), FIRST,
                                      method, k))  # fmt: skip


@pytest.mark.parametrize(("method", "k"), [
    ("none", D), ("highest_weights", 3), ("forward_selection", 3), ("lasso_path", 3),
])  # fmt: skip
def test_smaller_errors_around_the_same_limit(method, k):
    """Truth: 400,000 samples. 95 % of the intervals hold it."""
    errors, held = {0: [], 1: []}, []
    for seed in range(80):
        for way, found in enumerate(both(seed, method, k)):
            features = np.array([j for j, _ in found.pairs])
            true = limit().ridge(features, 0.0)[1]
            errors[way] += [one.weight - t for one, t in zip(found.weights, true, strict=True)]
            if way:
                held += [one.low <= t <= one.high
                         for one, t in zip(found.weights, true, strict=True)]  # fmt: skip
    assert np.std(errors[1]) < 0.7 * np.std(errors[0])
    assert abs(np.mean(errors[1])) < 4 * np.std(errors[1]) / np.sqrt(len(errors[1]))
    assert 0.9 < np.mean(held) < 0.985


def test_a_perfect_control_is_fitted_on_the_pool_alone():
    x_pool, z_pool, weights_pool = drawn(1 << 13, 10_000)
    pool = BlockedSamples(z_pool, weights_pool, BLOCKS)
    expected = fit_replicates(pool, model(x_pool), FIRST, "forward_selection", 3)
    _, found = both(0, "forward_selection", 3, control=model)
    assert [j for j, _ in found.pairs] == [j for j, _ in expected.pairs]
    for one, other in zip(found.weights, expected.weights, strict=True):
        assert (one.weight, one.low, one.high) == pytest.approx(
            (other.weight, other.low, other.high), rel=1e-9
        )
    assert found.intercept == pytest.approx(expected.intercept, rel=1e-9)


@pytest.mark.parametrize("control", [lambda x: np.zeros(len(x)), lambda x: -model(x)])
def test_a_control_that_explains_nothing_is_left_out(control):
    plain, found = both(1, control=control)
    assert found == plain


def test_fidelity_is_that_of_the_surrogate_and_not_of_the_control():
    plain, found = both(2)
    assert found.fidelity == plain.fidelity
    assert found.r2 == pytest.approx(plain.r2, abs=0.02)


def test_a_constant_model_has_no_weights():
    plain, found = both(3, outputs=lambda x: np.full(len(x), 0.1))
    assert found == plain
    assert {weight for _, weight in found.pairs} == {0.0}


@pytest.mark.parametrize("scale", [1e-200, 1e-12, 1e200])
def test_outputs_of_any_size(scale):
    _, usual = both(4, "forward_selection", 3)
    _, other = both(4, "forward_selection", 3, lambda x: model(x) * scale,
                    lambda x: rough(x) * scale)  # fmt: skip
    assert [j for j, _ in other.pairs] == [j for j, _ in usual.pairs]
    for one, expected in zip(other.weights, usual.weights, strict=True):
        assert np.array([one.weight, one.low, one.high]) / scale == pytest.approx(
            [expected.weight, expected.low, expected.high], rel=1e-9
        )
    assert other.local_prediction / scale == pytest.approx(usual.local_prediction, rel=1e-9)


def test_replicates_say_what_the_weights_and_their_errors_are():
    _, found = both(5)
    replicates = found.errors.replicates
    assert replicates.shape == (BLOCKS, D)
    assert replicates.mean(axis=0) == pytest.approx(found.errors.weights, abs=1e-9)
    assert np.cov(replicates.T) / BLOCKS == pytest.approx(found.errors.covariance, abs=1e-12)


def test_where_replicates_are_too_small_for_intervals_there_is_no_control():
    x, z, weights = drawn(BLOCKS * D, 6)
    x_pool, z_pool, weights_pool = drawn(1 << 13, 10_006)
    samples, pool = (BlockedSamples(z, weights, BLOCKS),
                     BlockedSamples(z_pool, weights_pool, BLOCKS))  # fmt: skip
    found = fit_controlled_replicates(
        samples, model(x), rough(x), pool, rough(x_pool), FIRST, "none", D
    )
    assert found == fit_replicates(samples, model(x), FIRST, "none", D)
    assert found.no_interval
