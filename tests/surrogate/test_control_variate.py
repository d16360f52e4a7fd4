"""A control variate makes the errors smaller, and leaves the limit alone."""

from __future__ import annotations

from functools import cache
from itertools import combinations

import numpy as np
import pytest

from limecli.neighborhood.kernel import binary_distances, kernel
from limecli.neighborhood.pairs import draw_pairs
from limecli.surrogate.blocks import BlockedSamples
from limecli.surrogate.control_variate import fit_controlled
from limecli.surrogate.fit import fit_pairs
from limecli.surrogate.ridge import Target, WeightedSamples

D, N = 12, 480
FIRST = np.ones(D)
KERNEL = kernel(binary_distances(D, "cosine") * 100, 25)
TRUE = np.array([3.0, -2.5, 2.0, 1.5, -1.0, 1.0, 0.5, -0.5, 0.25, 0.0, 0.0, 0.0])


def model(z):
    return 1 / (1 + np.exp(1.5 - z @ TRUE + z[:, 0] * z[:, 2]))


@cache
def masks(n, seed):
    z, importance = draw_pairs(D, n, seed, "uniform")
    return z, KERNEL[z.sum(axis=1)] * importance


@cache
def limit():
    z, weights = masks(400_000, 99)
    return Target(WeightedSamples(z.T, weights), model(z))


def both(seed, method="none", k=D, outputs=model):
    z, weights = masks(N, seed)
    samples, (pool, its) = BlockedSamples(z.T, weights, 8, 2), masks(1 << 13, 10_000 + seed)
    y = outputs(z)
    return (fit_pairs(samples, y, FIRST, method, k),
            fit_controlled(samples, y, FIRST, method, k, pool.T, its))  # fmt: skip


@pytest.mark.parametrize(("method", "k"), [
    ("none", D), ("highest_weights", 4), ("forward_selection", 4),
])  # fmt: skip
def test_smaller_errors_around_the_same_limit(method, k):
    errors, held = {0: [], 1: []}, []
    for seed in range(120):
        for way, found in enumerate(both(seed, method, k)):
            features = np.array([j for j, _ in found.pairs])
            true = limit().ridge(features, 0.0)[1]
            errors[way] += [(one.weight - t) for one, t in zip(found.weights, true, strict=True)]
            if way:
                held += [one.low <= t <= one.high
                         for one, t in zip(found.weights, true, strict=True)]  # fmt: skip
    assert np.std(errors[1]) < 0.75 * np.std(errors[0])
    assert abs(np.mean(errors[1])) < 0.15 * np.std(errors[1])
    assert 0.92 <= np.mean(held) <= 0.98


@pytest.mark.parametrize("k", [3, 6])
def test_runs_agree_as_often_as_expected(k):
    """Also the pool is drawn anew each time."""
    runs = [both(seed, "forward_selection", k)[1] for seed in range(60)]
    sets = [{j for j, _ in found.pairs} for found in runs]
    agreed = np.mean([len(a & b) / len(a | b) for a, b in combinations(sets, 2)])
    assert np.mean([found.stability for found in runs]) == pytest.approx(agreed, abs=0.1)


def test_the_surrogate_still_says_the_limit_of_the_instance():
    mean, of_all = limit().ridge(np.arange(D), 0.0)
    local = [both(seed)[1].local_prediction for seed in range(30)]
    assert np.mean(local) == pytest.approx(mean + of_all.sum(), abs=0.02)
    intercepts = [both(seed)[1].intercept for seed in range(30)]
    assert np.mean(intercepts) == pytest.approx(mean, abs=0.01)


def test_fidelity_is_that_of_the_surrogate_and_not_of_the_control():
    plain, controlled = both(0)
    assert controlled.fidelity == plain.fidelity
    assert controlled.r2 == pytest.approx(plain.r2, abs=0.02)


@pytest.mark.parametrize("outputs", [
    lambda z: 1000 * model(z), lambda z: model(z) - 0.5, lambda z: np.full(len(z), 0.5),
])  # fmt: skip
def test_only_probabilities_have_a_logistic_control(outputs):
    plain, controlled = both(1, outputs=outputs)
    assert controlled == plain


def test_with_few_samples_it_would_hurt():
    z, weights = masks(56, 3)
    samples, (pool, its) = BlockedSamples(z.T, weights, 8, 2), masks(1 << 13, 12345)
    plain = fit_pairs(samples, model(z), FIRST, "none", D)
    assert fit_controlled(samples, model(z), FIRST, "none", D, pool.T, its) == plain


def test_certain_answers_do_not_break_it():
    _, controlled = both(2, outputs=lambda z: (z[:, 0] & z[:, 1]).astype(float))
    assert np.isfinite([weight for _, weight in controlled.pairs]).all()
    assert {j for j, _ in controlled.pairs[:2]} == {0, 1}
