"""Intervals hold the limit 95 times in 100, and say nothing where nothing can be said."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import norm, t

from limecli.neighborhood.hadamard import draw_hadamard
from limecli.neighborhood.kernel import binary_distances, kernel
from limecli.neighborhood.pairs import draw_pairs
from limecli.surrogate.blocks import BlockedSamples, Moments
from limecli.surrogate.fit import alike, fit, fit_pairs, fit_replicates
from limecli.surrogate.intervals import Alike, Errors, correlation_of_all
from limecli.surrogate.ridge import WeightedSamples
from limecli.surrogate.selection import choose

D = 6
FIRST = np.ones(D)
KERNEL = kernel(binary_distances(D, "cosine"), 0.25)
EVERY = np.array([[mask >> j & 1 for j in range(D)] for mask in range(1 << D)], bool)


def model(z):
    """Neither linear nor symmetric."""
    s = z @ np.array([2.0, -1.5, 1.0, 0.6, -0.2, 0.0])
    return 1 / (1 + np.exp(0.8 - s)) + 0.3 * z[:, 0] * z[:, 4] - 0.2 * z[:, 1] * z[:, 2]


def limit(law, samples=np.inf):
    """What many samples tend to, from all masks there are; lime's penalty is felt by few."""
    kept = EVERY.sum(axis=1)
    share = np.full(len(EVERY), 1 / len(EVERY))
    if law == "uniform":
        share = np.where(kept < D, 1 / np.bincount(kept)[kept] / D, 0.0)
    weights = share * KERNEL[kept]
    columns = np.column_stack([np.ones(len(EVERY)), EVERY])
    left = (columns * weights[:, None]).T
    penalty = np.diag([0.0] + [1 / samples] * D)
    return np.linalg.solve(left @ columns + penalty, left @ model(EVERY))[1:]


def by_lime(seed):
    z = np.random.default_rng(seed).random((500, D)) < 0.5
    z[0] = True
    samples = WeightedSamples(z.T, KERNEL[z.sum(axis=1)])
    return fit(samples, model(z), FIRST, "none", D), limit("binomial", 500)


def by_pairs(seed, law="binomial"):
    z, importance = draw_pairs(D, 400, seed, law)
    samples = BlockedSamples(z.T, KERNEL[z.sum(axis=1)] * importance, 8, 2)
    return fit_pairs(samples, model(z), FIRST, "none", D), limit(law)


def by_words(seed):
    return by_pairs(seed, "uniform")


def by_hadamard(seed):
    z = draw_hadamard(D, 8, seed)
    samples = BlockedSamples(z.T, KERNEL[z.sum(axis=1)], 8)
    return fit_replicates(samples, model(z), FIRST, "none", D), limit("binomial")


@pytest.mark.parametrize("way", [by_lime, by_pairs, by_words, by_hadamard])
def test_95_of_100_intervals_hold_the_limit(way):
    """2400 intervals; their share varies by about .01 from one set of seeds to another."""
    held, z_scores = [], []
    for seed in range(400):
        found, true = way(seed)
        for one in found.weights:
            held.append(one.low <= true[one.feature] <= one.high)
            z_scores.append((one.weight - true[one.feature]) / (one.high - one.low))
    assert 0.93 <= np.mean(held) <= 0.97
    assert abs(np.mean(z_scores)) < 0.02  # nor are they to one side


def test_signs_are_as_often_right_as_they_are_said_to_be():
    """Of weights that may be of any size, before anything is known."""
    said, right = [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        z, true = rng.random((200, D)) < 0.5, rng.uniform(-1, 1, D)
        found = fit(WeightedSamples(z.T, np.ones(200)), z @ true + rng.normal(size=200),
                    FIRST, "none", D)  # fmt: skip
        said += [one.sign_probability for one in found.weights]
        right += [one.weight * true[one.feature] > 0 for one in found.weights]
    assert np.mean(right) < 0.95
    assert np.mean(said) == pytest.approx(np.mean(right), abs=0.015)


def brute_force(z, y, weights, alpha, groups):
    """HC3 by its definition: each group's residuals by (I - H)^-1 of the group."""
    columns = np.column_stack([np.ones(len(z)), z]) * np.sqrt(weights)[:, None]
    penalty = alpha * np.eye(columns.shape[1])
    penalty[0, 0] = 0
    inverse = np.linalg.inv(columns.T @ columns + penalty)
    left = np.sqrt(weights) * y - columns @ (inverse @ columns.T @ (np.sqrt(weights) * y))
    meat = np.zeros_like(inverse)
    for group in groups:
        part = columns[group]
        own = np.linalg.solve(np.eye(len(group)) - part @ inverse @ part.T, left[group])
        meat += np.outer(part.T @ own, part.T @ own)
    return (inverse @ meat @ inverse)[1:, 1:]


def test_limes_draws_have_the_errors_of_hc3():
    rng = np.random.default_rng(0)
    z, weights = rng.normal(1, 2, (80, 4)), rng.random(80)
    y = z @ rng.normal(size=4) + rng.normal(size=80) * (1 + z[:, 0] ** 2)
    found = fit(WeightedSamples(z.T, weights), y, np.ones(4), "none", 4)
    expected = brute_force(z, y, weights, 1.0, [[i] for i in range(80)])
    assert found.interval == "HC3"
    assert found.errors.covariance == pytest.approx(expected, rel=0.01)
    for one in found.weights:
        half = norm.ppf(0.975) * found.errors.deviations[one.feature]
        assert (one.low, one.high) == pytest.approx((one.weight - half, one.weight + half))


def test_pairs_have_the_errors_of_hc3_by_pair():
    z, importance = draw_pairs(5, 60, 1, "uniform")
    weights = kernel(binary_distances(5, "cosine"), 0.25)[z.sum(axis=1)] * importance
    y = np.random.default_rng(1).normal(size=60) + z @ np.arange(5.0)
    found = fit_pairs(BlockedSamples(z.T, weights, 8, 2), y, np.ones(5), "none", 5)
    expected = brute_force(z.astype(float), y, weights, 0.0, np.arange(60).reshape(30, 2))
    assert found.errors.covariance == pytest.approx(expected, rel=1e-6)
    assert found.interval == "pairs"


def test_replicates_have_the_errors_of_their_spread():
    """In a sample of many replicates the t-interval of one feature is that of the fits of each."""
    z = draw_hadamard(D, 64, 3)
    y, size = model(z), len(z) // 64
    samples = BlockedSamples(z.T, np.ones(len(z)), 64)
    found = fit_replicates(samples, y, FIRST, "none", D)
    each = np.array([np.linalg.lstsq(np.column_stack([np.ones(size), z[part]]), y[part])[0][1:]
                     for part in np.arange(len(z)).reshape(64, size)])  # fmt: skip
    assert found.errors.weights == pytest.approx(each.mean(axis=0))
    deviations = each.std(axis=0, ddof=1) / 8
    assert found.errors.deviations == pytest.approx(deviations)
    assert found.errors.half_widths() == pytest.approx(t.ppf(0.975, 63) * deviations)
    assert found.errors.replicates == pytest.approx(each)


# Orders


def test_a_rank_reaches_from_the_surely_stronger_to_the_surely_weaker():
    """Neighbors that cannot be told apart do not tie what lies further away."""
    errors = errors_of([1.0, 0.5, 0.4, -0.3, 0.1], 0.06)  # 0.17 apart is significant
    assert errors.ranks(np.arange(5)) == [(1, 1), (2, 3), (2, 4), (3, 4), (5, 5)]
    assert errors_of([1.0], 0.1).ranks(np.arange(1)) == [(1, 1)]


def test_two_equal_weights_share_a_rank():
    rng = np.random.default_rng(5)
    z = rng.random((2000, 3)) < 0.5
    y = z @ [1.0, -1.0, 0.2] + 0.1 * rng.normal(size=2000)
    found = fit(WeightedSamples(z.T, np.ones(2000)), y, np.ones(3), "none", 3)
    assert {one.feature: one.ranks for one in found.weights} == {0: (1, 2), 1: (1, 2), 2: (3, 3)}


def errors_of(weights, error):
    d = len(weights)
    return Errors(
        np.arange(d), np.array(weights), error**2 * np.eye(d), np.inf, np.array(weights),
        np.full(d, error), np.ones(d),
    )  # fmt: skip


def test_the_chance_to_be_among_the_strongest():
    likely, _ = errors_of([1.0, -0.9, 0.1, 0.0], 0.05).outlook(2)
    assert likely == pytest.approx([1, 1, 0, 0])
    likely, _ = errors_of([1.0, 0.5, 0.5, 0.5, 0.5], 0.1).outlook(3)
    assert likely == pytest.approx([1, 0.5, 0.5, 0.5, 0.5], abs=0.08)
    assert likely.sum() == pytest.approx(3)


def test_features_without_weight_or_error_do_not_crowd_the_strongest():
    likely, stability = errors_of([1.0, 0.0, 0.0, 0.0, 0.0], 0.0).outlook(2)
    assert likely.sum() == pytest.approx(2)
    assert 0 <= stability <= 1


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("error", [0.03, 0.1, 0.3])
def test_two_runs_agree_as_often_as_expected(seed, error):
    """The mean of what many runs say of themselves, against those runs' own agreement."""
    rng = np.random.default_rng(seed)
    true = rng.standard_t(3, 25) * 0.3
    runs = true + error * rng.normal(size=(60, 25))
    sets = [set(np.argsort(-np.abs(run))[:5].tolist()) for run in runs]
    agreed = np.mean([len(a & b) / len(a | b) for a, b in combinations(sets, 2)])
    said = np.mean([errors_of(run, error).outlook(5)[1] for run in runs])
    assert said == pytest.approx(agreed, abs=0.1)


WORDS = np.random.default_rng(4).standard_t(3, 40) * 0.25
WORD_KERNEL = kernel(100 * binary_distances(40, "cosine"), 25.0)


def by_counts(z):
    return 1 / (1 + np.exp(-(z @ WORDS)))


def by_shares(z):
    """Of words divided by their number, as TF-IDF is."""
    score = z @ np.array([3.0, -3.0, 2.5, -2.5, 2.0, -1.5, 1.5, -1.0] + [0.0] * 32)
    return 1 / (1 + np.exp(0.5 - score / np.sqrt(1 + z.sum(axis=1))))


def words_by_lime(seed, n, answers, k):
    rng = np.random.default_rng(seed)
    places = rng.permuted(np.tile(np.arange(40), (n, 1)), axis=1)
    z = places >= rng.integers(1, 41, n)[:, None]
    samples = WeightedSamples(z.T, WORD_KERNEL[z.sum(axis=1)])
    return fit(samples, answers(z), np.ones(40), "forward_selection", k)


def words_by_pairs(seed, n, answers, k):
    z, importance = draw_pairs(40, n, seed, "uniform")
    samples = BlockedSamples(z.T, WORD_KERNEL[z.sum(axis=1)] * importance, 8, 2)
    return fit_pairs(samples, answers(z), np.ones(40), "forward_selection", k)


@pytest.mark.parametrize("way", [words_by_lime, words_by_pairs])
@pytest.mark.parametrize("answers", [by_counts, by_shares])
@pytest.mark.parametrize("n", [300, 1500])
@pytest.mark.parametrize("k", [3, 5])
def test_words_chosen_one_after_the_other_agree_as_often_as_expected(way, answers, n, k):
    """Masks of texts keep any number of words alike: any two words correlate."""
    runs = [way(seed, n, answers, k) for seed in range(60)]
    sets = [frozenset(found.errors.features.tolist()) for found in runs]
    agreed = np.mean([len(a & b) / len(a | b) for a, b in combinations(sets, 2)])
    assert np.mean([found.stability for found in runs]) == pytest.approx(agreed, abs=0.1)
    said = np.mean([[one.top_probability for one in found.weights] for found in runs])
    often = np.bincount([j for found in sets for j in found]) / len(sets)
    assert said == pytest.approx((often**2).sum() / k, abs=0.1)  # of those that a run chose


def test_features_that_correlate_alike_are_chosen_as_by_their_gram_matrix():
    rng = np.random.default_rng(8)
    for correlation in (-0.05, 0.0, 0.2, 0.9):
        gram = np.full((12, 12), correlation) + (1 - correlation) * np.eye(12)
        products = rng.normal(size=(50, 12)) + 0.5
        dead = np.arange(12) == 3
        gram[3], gram[:, 3], products[:, 3] = 0.0, 0.0, 0.0
        expected = choose(
            Moments(np.tile(gram, (50, 1, 1)), products, np.ones(50), np.zeros((50, 12)),
                    np.zeros(50), np.tile(dead, (50, 1))),
            np.ones(12), "forward_selection", 5, 0.0,
        )  # fmt: skip
        chosen = Alike(correlation, np.zeros((2, 12)), dead).chosen(products, 5)
        for row, features in zip(chosen, expected, strict=True):
            assert set(np.flatnonzero(row)) == set(features.tolist())
        assert correlation_of_all(gram, ~dead) == pytest.approx(correlation)


def test_the_errors_of_products_are_those_of_their_pairs():
    """The covariance of S r, by what the chosen features leave of each pair."""
    (z, weights), rng = draw_pairs(6, 200, 1, "uniform"), np.random.default_rng(1)
    y = z @ np.arange(6.0) + rng.normal(size=200)
    samples = BlockedSamples(z.T, weights, 8, 2)
    mean = weights @ y / weights.sum()
    residuals = np.sqrt(weights) * (y - mean)
    features, coefficients = np.array([4, 5]), np.array([3.0, 4.0])
    found = alike("forward_selection", 2, samples, residuals, features, coefficients, 2)
    centred = z - weights @ z / weights.sum()
    left = y - mean - centred[:, features] @ coefficients
    pairs = ((weights * left)[:, None] * centred).reshape(100, 2, 6).sum(axis=1)
    expected = np.cov(pairs.T) * 100 * 100 / 98 / np.sqrt(np.outer(*[weights @ centred**2] * 2))
    assert found.errors.T @ found.errors == pytest.approx(expected)


def test_a_word_that_never_goes_is_not_among_the_strongest():
    z, importance = draw_pairs(8, 400, 1, "uniform")
    z[:, 2] = True
    y = z @ np.array([1.0, 0.9, 0, 0.8, 0, 0, 0, 0]) + z[:, 4] * z[:, 5]
    found = fit_pairs(BlockedSamples(z.T, importance, 8, 2), y, np.ones(8), "forward_selection", 3)
    likely, stability = found.errors.outlook(3)
    assert likely[2] == 0
    assert likely.sum() == pytest.approx(3)
    assert 0.5 < stability <= 1


def test_words_that_always_go_together_do_not_break_it():
    z, importance = draw_pairs(6, 400, 1, "uniform")
    z[:] = z[:, :1]
    y = z[:, 0] + np.random.default_rng(0).normal(size=400)
    found = fit_pairs(BlockedSamples(z.T, importance, 8, 2), y, np.ones(6), "forward_selection", 2)
    assert 0 <= found.stability <= 1


@pytest.mark.parametrize("way", ["lime", "pairs", "replicates"])
def test_where_all_features_are_shown_their_weights_alone_are_compared(way):
    """Of numbers, z of the instance may be anything; what is shown, and repeated, is the weight."""
    z, weights, rng = drawn(320, 3)
    y = z @ [1.0, 0.5, 0.45] + 0.3 * rng.normal(size=320)
    far = np.array([0.001, 1.0, 2.0])
    fits = {
        "lime": lambda first: fit(WeightedSamples(z.T, weights), y, first, "highest_weights", 3),
        "pairs": lambda first: fit_pairs(
            BlockedSamples(z.T, weights, 8, 2), y, first, "highest_weights", 3),
        "replicates": lambda first: fit_replicates(
            BlockedSamples(z.T, weights, 8), y, first, "none", 2),
    }  # fmt: skip
    assert fits[way](far).stability == fits[way](np.ones(3)).stability
    assert fits[way](far).errors.outlook(2)[0][0] == 1.0


def test_where_all_features_are_shown_two_runs_are_compared_by_the_strongest():
    rng = np.random.default_rng(6)
    z = rng.random((2000, 3)) < 0.5
    y = z @ [1.0, -0.5, 0.499] + 0.2 * rng.normal(size=2000)
    found = fit(WeightedSamples(z.T, np.ones(2000)), y, np.ones(3), "none", 3)
    assert found.stability_top == 2
    assert 0.4 < found.stability < 0.95
    assert [one.top_probability for one in found.weights] == [1.0, 1.0, 1.0]


# Where little can be said


FITS = {
    "lime": lambda z, w, y, k: fit(WeightedSamples(z.T, w), y, np.ones(z.shape[1]), "none", k),
    "pairs": lambda z, w, y, k: fit_pairs(
        BlockedSamples(z.T, w, 8, 2), y, np.ones(z.shape[1]), "none", k),
    "replicates": lambda z, w, y, k: fit_replicates(
        BlockedSamples(z.T, w, 8), y, np.ones(z.shape[1]), "none", k),
}  # fmt: skip


def drawn(n, d, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.random((n // 2, d)) < 0.5
    return np.stack([z, ~z], axis=1).reshape(n, d), rng.uniform(0.5, 1, n), rng


@pytest.mark.parametrize("way", FITS)
def test_a_constant_model_has_weights_of_nothing(way):
    z, weights, _ = drawn(160, 4)
    found = FITS[way](z, weights, np.full(160, 0.3), 4)
    assert [(one.weight, one.low, one.high) for one in found.weights] == [(0.0, 0.0, 0.0)] * 4
    assert {one.ranks for one in found.weights} == {(1, 4)}
    assert found.fidelity is found.r2 is None
    assert found.intercept == found.local_prediction == 0.3


@pytest.mark.parametrize("way", FITS)
def test_a_constant_feature_has_no_weight(way):
    z, weights, rng = drawn(160, 4)
    z[:, 2] = True
    found = FITS[way](z, weights, z @ [1.0, 2.0, 9.0, 0.0] + rng.normal(size=160), 4)
    one = next(one for one in found.weights if one.feature == 2)
    assert (one.weight, one.low, one.high) == pytest.approx((0, 0, 0), abs=1e-9)
    others = {one.feature: one.weight for one in found.weights if one.feature != 2}
    assert others == pytest.approx({0: 1, 1: 2, 3: 0}, abs=0.5)


def test_a_feature_that_only_some_replicates_vary_keeps_its_weight():
    """Where it is constant a replicate has no say; it does not say 0."""
    z, weights, rng = drawn(1600, 3)
    z[:, 2] = False
    z[20:40:2, 2] = True
    found = FITS["replicates"](z, weights, z @ [1.0, 2.0, 4.0] + 0.1 * rng.normal(size=1600), 3)
    assert found.errors.weights == pytest.approx([1, 2, 4], abs=0.1)


@pytest.mark.parametrize("way", ["pairs", "replicates"])
def test_copies_of_a_feature_share_its_weight(way):
    z, weights, _ = drawn(160, 4)
    z[:, 3] = z[:, 1]
    found = FITS[way](z, weights, z @ [1.0, 1.0, 0.0, 1.0], 4)
    assert found.errors.weights == pytest.approx([1, 1, 0, 1], abs=1e-4)


@pytest.mark.parametrize("way", FITS)
def test_one_feature(way):
    z, weights, rng = drawn(160, 1)
    found = FITS[way](z, weights, 2.0 * z[:, 0] + 0.01 * rng.normal(size=160), 1)
    (one,) = found.weights
    assert one.low < one.weight < one.high
    assert (one.sign_probability, one.top_probability, one.ranks) == (1.0, 1.0, (1, 1))
    assert found.stability == 1.0


@pytest.mark.parametrize("way", FITS)
@pytest.mark.parametrize("scale", [1e-12, 1e12, 1e-200, 1e200])
def test_outputs_of_any_size_have_the_same_relative_intervals(way, scale):
    z, weights, rng = drawn(320, 5)
    y = z @ rng.normal(size=5) + rng.normal(size=320)
    usual, other = FITS[way](z, weights, y, 5), FITS[way](z, weights, y * scale, 5)
    for a, b in zip(usual.weights, other.weights, strict=True):
        assert (b.feature, b.ranks) == (a.feature, a.ranks)
        assert (b.low, b.high) == pytest.approx((a.low * scale, a.high * scale), rel=1e-6)
        assert b.sign_probability == pytest.approx(a.sign_probability)
    assert (other.fidelity, other.stability) == pytest.approx((usual.fidelity, usual.stability))


@pytest.mark.parametrize(("way", "n", "d", "blocks"), [
    ("lime", 30, 40, 8), ("lime", 60, 40, 8), ("pairs", 60, 40, 8), ("replicates", 160, 20, 8),
    ("replicates", 160, 4, 3),
])  # fmt: skip
def test_too_few_samples_give_no_interval_and_a_reason(way, n, d, blocks):
    z, weights, rng = drawn(n, d)
    y, first = rng.normal(size=n), np.ones(d)
    if way == "lime":
        found = fit(WeightedSamples(z.T, weights), y, first, "highest_weights", 3)
    else:
        fitted = fit_pairs if way == "pairs" else fit_replicates
        found = fitted(BlockedSamples(z.T, weights, blocks, 2), y, first, "highest_weights", 3)
    assert len(found.weights) == 3
    assert {one.low for one in found.weights} == {None}
    assert found.interval is found.stability is None
    assert found.no_interval.startswith("fewer than")


@pytest.mark.parametrize("way", FITS)
def test_a_kernel_that_leaves_hardly_a_sample(way):
    z, weights, rng = drawn(160, 4)
    weights[:] = 0
    weights[[0, 3, 50]] = 1.0
    found = FITS[way](z, weights, rng.normal(size=160), 4)
    assert found.interval is None
    assert "kernel" in found.no_interval


@pytest.mark.parametrize("way", ["pairs", "replicates"])
def test_a_kernel_that_leaves_no_sample(way):
    z, _, rng = drawn(160, 4)
    found = FITS[way](z, np.zeros(160), rng.normal(size=160), 4)
    assert [weight for _, weight in found.pairs] == [0, 0, 0, 0]
    assert "no sample" in found.no_interval
    assert found.fidelity is None
