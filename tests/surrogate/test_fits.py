"""Fits from the Gram matrix are those of lime's LimeBase, which asks scikit-learn for each one."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lime.lime_base import LimeBase
from sklearn.linear_model import LinearRegression, Ridge

from limecli.neighborhood.kernel import kernel
from limecli.surrogate import selection
from limecli.surrogate.blocks import BlockedSamples
from limecli.surrogate.fit import fit, fit_pairs, fit_replicates
from limecli.surrogate.ridge import Target, WeightedSamples

METHODS = ["none", "forward_selection", "highest_weights", "lasso_path"]


def data(seed, n, d, binary):
    rng = np.random.default_rng(seed)
    z = (rng.random((n, d)) < rng.uniform(0.1, 0.9, d)).astype(float)
    z[0] = 1
    if not binary:
        z = rng.normal(rng.normal(size=d) * 3, 1, (n, d))
    y = z @ rng.normal(size=d) + rng.normal(size=n)
    return z, y, np.sqrt(((z - z[0]) ** 2).sum(axis=1))


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(30, 200),
    d=st.integers(1, 12),
    k=st.integers(1, 14),
    binary=st.booleans(),
    method=st.sampled_from(METHODS),
)
def test_equal_to_lime(seed, n, d, k, binary, method):
    z, y, distances = data(seed, n, d, binary)
    width = 0.75 * np.sqrt(d)
    lime = LimeBase(partial(kernel, width=width))
    intercept, pairs, score, local = lime.explain_instance_with_data(
        z, y[:, None], distances, 0, k, feature_selection=method
    )
    samples = WeightedSamples(z.T, kernel(distances, width))
    found = fit(samples, y, z[0], method, k)
    assert [j for j, _ in found.pairs] == [j for j, _ in pairs]
    assert [w for _, w in found.pairs] == pytest.approx([w for _, w in pairs], abs=1e-9)
    assert found.intercept == pytest.approx(intercept, abs=1e-9)
    assert found.r2 == pytest.approx(score, abs=1e-9)
    assert found.local_prediction == pytest.approx(local[0], abs=1e-9)


def test_a_linear_model_has_its_own_weights():
    """Truth: without noise, and with many samples, the surrogate is the model."""
    rng = np.random.default_rng(0)
    z = rng.integers(0, 2, (20000, 4)).astype(float)
    y = 0.3 + z @ [0.5, -0.25, 0.0, 1.0]
    found = fit(WeightedSamples(z.T, np.ones(20000)), y, z[0], "none", 4)
    assert dict(found.pairs) == pytest.approx({0: 0.5, 1: -0.25, 2: 0.0, 3: 1.0}, abs=1e-3)
    assert found.intercept == pytest.approx(0.3, abs=1e-3)
    assert found.r2 == pytest.approx(1.0, abs=1e-6)


def test_one_gram_matrix_serves_every_label_and_subset():
    z, y, distances = data(1, 300, 6, binary=True)
    weights = kernel(distances, 2.0)
    samples = WeightedSamples(z.T, weights)
    for outputs in (y, y**2, np.sin(y)):
        for features in ([0], [5, 1], [0, 1, 2, 3, 4, 5]):
            intercept, coefficients = Target(samples, outputs).ridge(np.array(features), 1.0)
            expected = Ridge(alpha=1.0).fit(z[:, features], outputs, sample_weight=weights)
            assert coefficients == pytest.approx(expected.coef_, abs=1e-10)
            assert intercept == pytest.approx(expected.intercept_, abs=1e-10)


def test_ties_are_decided_as_lime_decides_them(monkeypatch):
    """Two equal columns: rounding would choose, so scikit-learn is asked, in lime's order."""
    z, y, distances = data(2, 100, 5, binary=True)
    z[:, 3] = z[:, 1]
    y = y + 4 * z[:, 1]
    asked = []
    ask = selection._ask_sklearn
    monkeypatch.setattr(
        selection, "_ask_sklearn", lambda *args: asked.append(args[2].tolist()) or ask(*args)
    )
    samples = WeightedSamples(z.T, kernel(distances, 2.0))
    found = selection.select(Target(samples, y), z[0], "forward_selection", 2)
    lime = LimeBase(partial(kernel, width=2.0))
    expected = lime.forward_selection(z, y, kernel(distances, 2.0), 2)
    assert found.tolist() == expected.tolist()
    assert [1, 3] in asked


def test_a_constant_model_has_no_weights_and_no_fit():
    z, _, distances = data(3, 50, 4, binary=True)
    samples = WeightedSamples(z.T, kernel(distances, 2.0))
    found = fit(samples, np.full(50, 0.1), z[0], "highest_weights", 3)
    assert found.pairs == ((0, 0.0), (1, 0.0), (2, 0.0))
    assert found.r2 is None
    assert found.intercept == found.local_prediction == 0.1


@settings(deadline=None, max_examples=25, derandomize=True)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 120), method=st.sampled_from(METHODS[:3]))
def test_more_features_than_samples(seed, k, method):
    """The other normal equations, n by n; lime lets scikit-learn take them, too."""
    z, y, distances = data(seed, 40, 110, binary=True)
    k = min(k, 6) if method == "forward_selection" else k
    lime = LimeBase(partial(kernel, width=8.0))
    intercept, pairs, score, _ = lime.explain_instance_with_data(
        z, y[:, None], distances, 0, k, feature_selection=method
    )
    found = fit(WeightedSamples(z.T, kernel(distances, 8.0)), y, z[0], method, k)
    assert dict(found.pairs) == pytest.approx({int(j): w for j, w in pairs}, abs=1e-9)
    assert found.intercept == pytest.approx(intercept, abs=1e-9)
    assert found.r2 == pytest.approx(score, abs=1e-9)


@pytest.mark.parametrize("scale", [1e-200, 1e-12, 1e200])
@pytest.mark.parametrize("method", METHODS[:3])  # lars_path has absolute tolerances
def test_outputs_of_any_size(scale, method):
    z, y, distances = data(4, 80, 5, binary=True)
    samples = WeightedSamples(z.T, kernel(distances, 2.0))
    usual, other = (fit(samples, y * size, z[0], method, 3) for size in (1.0, scale))
    assert [j for j, _ in other.pairs] == [j for j, _ in usual.pairs]
    for (_, weight), (_, expected) in zip(other.pairs, usual.pairs, strict=True):
        assert weight == pytest.approx(expected * scale, rel=1e-9)
    assert other.r2 == pytest.approx(usual.r2)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("fitted", [fit_pairs, fit_replicates])
def test_blocks_together_are_fitted_without_a_penalty(method, fitted):
    """The same features as lime chooses where nothing is tied, then least squares."""
    z, y, distances = data(5, 640, 9, binary=True)
    weights = kernel(distances, 2.0)
    found = fitted(BlockedSamples(z.T, weights, 8, 2), y, z[0], method, 4)
    chosen = selection.select(Target(WeightedSamples(z.T, weights), y), z[0], method, 4)
    assert {j for j, _ in found.pairs} == set(chosen.tolist())
    model = LinearRegression().fit(z[:, chosen], y, sample_weight=weights)
    assert dict(found.pairs) == pytest.approx(
        {int(j): w for j, w in zip(chosen, model.coef_, strict=True)}, abs=1e-8
    )
    assert found.intercept == pytest.approx(model.intercept_, abs=1e-8)
    assert found.r2 == pytest.approx(model.score(z[:, chosen], y, weights), abs=1e-8)
    assert found.local_prediction == pytest.approx(model.predict(z[:1, chosen])[0], abs=1e-8)
