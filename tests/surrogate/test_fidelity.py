"""Held-out R² is what fitting again without a block, and scoring on it, gives."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, Ridge

from limecli.neighborhood.kernel import kernel
from limecli.surrogate.blocks import BlockedSamples
from limecli.surrogate.fidelity import held_out_r2
from limecli.surrogate.fit import fit, fit_pairs, fit_replicates
from limecli.surrogate.ridge import Target, WeightedSamples
from limecli.surrogate.selection import select

METHODS = ["none", "forward_selection", "highest_weights", "lasso_path"]


def data(n, d, seed=0, noise=1.0):
    rng = np.random.default_rng(seed)
    shares, true = rng.uniform(0.2, 0.8, d), rng.normal(size=d) * (np.arange(d) % 3 == 0)
    z = (rng.random((n, d)) < shares).astype(float)
    z[0] = 1
    y = z @ true + noise * rng.normal(size=n)
    weights = kernel(np.sqrt(((1 - z) ** 2).sum(axis=1)), 0.75 * np.sqrt(d))
    return z, y, weights


def refitted(z, y, weights, blocks, method, k, alpha, scored):
    """The definition: every fold fitted by scikit-learn."""
    folds = np.array_split(np.arange(len(y)), blocks)
    errors = squares = 0.0
    for place in scored:
        test = folds[place]
        rest = np.setdiff1d(np.arange(len(y)), test)
        chosen = select(Target(WeightedSamples(z[rest].T, weights[rest]), y[rest]),
                        np.ones(z.shape[1]), method, k)  # fmt: skip
        model = Ridge(alpha=alpha) if alpha else LinearRegression()
        model.fit(z[rest][:, chosen], y[rest], sample_weight=weights[rest])
        errors += weights[test] @ (y[test] - model.predict(z[test][:, chosen])) ** 2
        mean = np.average(y[rest], weights=weights[rest])
        squares += weights[test] @ (y[test] - mean) ** 2
    return 1 - errors / squares


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("scored", [None, [1, 5]])
def test_equal_to_fitting_every_fold_again(method, alpha, scored):
    z, y, weights = data(400, 9)
    samples = BlockedSamples(z.T, weights, 8)
    found = held_out_r2(samples, y, np.ones(9), method, 3, alpha, scored)
    expected = refitted(z, y, weights, 8, method, 3, alpha, range(8) if scored is None else scored)
    assert found == pytest.approx(expected, abs=1e-9)


def test_every_fit_measures_its_fidelity():
    z, y, weights = data(400, 9)
    first, blocked = np.ones(9), BlockedSamples(z.T, weights, 8, 2)
    for fitted in (fit_replicates, fit_pairs):
        found = fitted(blocked, y, first, "forward_selection", 3, [2, 3])
        expected = held_out_r2(blocked, y, first, "forward_selection", 3, 0.0, [2, 3])
        assert found.fidelity == expected
    found = fit(WeightedSamples(z.T, weights), y, first, "forward_selection", 3)
    assert found.fidelity == held_out_r2(blocked, y, first, "forward_selection", 3, 1.0)


def test_of_noise_nothing_is_explained_though_the_fit_says_so():
    rng = np.random.default_rng(1)
    z, _, weights = data(200, 30)
    found = fit(WeightedSamples(z.T, weights), rng.normal(size=200), np.ones(30), "none", 30)
    assert found.r2 > 0.1
    assert found.fidelity < 0


def test_it_tells_what_new_samples_would():
    z, y, weights = data(2000, 12, noise=1.5)
    found = fit(WeightedSamples(z.T, weights), y, np.ones(12), "highest_weights", 4)
    new, answers, their = data(100_000, 12, seed=0, noise=1.5)
    features = [j for j, _ in found.pairs]
    said = found.intercept + new[:, features] @ [w for _, w in found.pairs]
    left = their @ (answers - said) ** 2
    true = 1 - left / (their @ (answers - np.average(answers, weights=their)) ** 2)
    assert found.fidelity == pytest.approx(true, abs=0.04)


def test_constant_models_and_single_blocks_have_none():
    z, y, weights = data(80, 4)
    samples = BlockedSamples(z.T, weights, 8)
    assert held_out_r2(samples, np.full(80, 0.3), np.ones(4), "none", 4) is None
    assert held_out_r2(samples, y, np.ones(4), "none", 4, scored=[]) is None


@pytest.mark.parametrize("n", [80, 83, 90])
def test_blocks_that_do_not_divide_evenly_hold_every_sample_once(n):
    z, y, weights = data(n, 4)
    samples = BlockedSamples(z.T, weights, 8, 2)
    assert samples.size % 2 == 0
    assert samples.totals.sum() == pytest.approx(weights.sum())
    starts = range(0, n, samples.size)
    assert samples.totals == pytest.approx([weights[s : s + samples.size].sum() for s in starts])
    assert held_out_r2(samples, y, np.ones(4), "none", 4) is not None


def test_more_features_than_samples_are_scored_on_the_last_eighth():
    z, y, weights = data(160, 200)
    found = fit(WeightedSamples(z.T, weights), y, np.ones(200), "highest_weights", 5)
    part = WeightedSamples(z[:140].T, weights[:140])
    target = Target(part, y[:140])
    chosen = select(target, np.ones(200), "highest_weights", 5)
    model = Ridge(alpha=1.0).fit(z[:140][:, chosen], y[:140], sample_weight=weights[:140])
    error = weights[140:] @ (y[140:] - model.predict(z[140:][:, chosen])) ** 2
    square = weights[140:] @ (y[140:] - np.average(y[:140], weights=weights[:140])) ** 2
    assert found.fidelity == pytest.approx(1 - error / square, abs=1e-9)


@pytest.mark.parametrize("scale", [1e-12, 1e12, 1e-200, 1e200])
def test_outputs_of_any_size(scale):
    z, y, weights = data(400, 9)
    samples = BlockedSamples(z.T, weights, 8)
    usual, other = (held_out_r2(samples, y * size, np.ones(9), "forward_selection", 3)
                    for size in (1.0, scale))  # fmt: skip
    assert other == pytest.approx(usual, abs=1e-9)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_where_no_feature_ever_changes_nothing_is_explained(method, alpha):
    rng = np.random.default_rng(0)
    samples = BlockedSamples(np.ones((3, 80), bool), np.ones(80), 8)
    found = held_out_r2(samples, rng.normal(size=80), np.ones(3), method, 2, alpha)
    assert found == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_no_feature_changes_and_every_fit_still_says_so(method):
    rng = np.random.default_rng(0)
    z, y = np.ones((3, 80), bool), rng.normal(size=80)
    for fitted in (fit_replicates, fit_pairs):
        found = fitted(BlockedSamples(z, np.ones(80), 8, 2), y, np.ones(3), method, 2)
        assert {one.weight for one in found.weights} <= {0.0}
        assert found.local_prediction == pytest.approx(y.mean())
        assert found.fidelity == pytest.approx(0.0, abs=1e-9)
