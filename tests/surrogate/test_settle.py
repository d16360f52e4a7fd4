"""An order is settled where every gap is significant, or surely small."""

from __future__ import annotations

import numpy as np
import pytest

from limecli.surrogate.blocks import BlockedSamples
from limecli.surrogate.fit import Fit, fit_pairs
from limecli.surrogate.intervals import Errors
from limecli.surrogate.settle import _WRONG, _share, order_settled


def fit_of(weights, error, chosen=None, correlation=0.0, degrees=np.inf):
    """A fit with these weights, all with the same error; `chosen` are the first so many."""
    weights = np.array(weights, float)
    k = len(weights) if chosen is None else chosen
    covariance = error**2 * (correlation + (1 - correlation) * np.eye(k))
    errors = Errors(
        np.arange(k), weights[:k], covariance, degrees, weights,
        np.full(len(weights), error), np.ones(len(weights)),
    )  # fmt: skip
    return Fit(0.0, (), 0.5, 0.0, errors=errors)


def test_clear_gaps_are_settled_and_unclear_ones_are_not():
    clear, unclear = [1.0, 0.6, 0.3, 0.1], [1.0, 0.99, 0.3, 0.1]
    assert order_settled(fit_of(clear, 0.02), 2, 0.0, 0)
    assert not order_settled(fit_of(unclear, 0.02), 2, 0.0, 0)


def test_signs_do_not_matter_for_strength():
    assert order_settled(fit_of([1.0, -0.6, 0.3], 0.02), 2, 0.0, 0)
    assert not order_settled(fit_of([1.0, -0.99, 0.3], 0.02), 2, 0.0, 0)


def test_a_gap_that_is_surely_within_the_tolerance_is_a_tie():
    close = fit_of([1.0, 0.995, 0.3], 0.002)
    assert not order_settled(close, 2, 0.0, 0)
    assert order_settled(close, 2, 0.05, 0)
    assert not order_settled(fit_of([1.0, 0.995, 0.3], 0.02), 2, 0.05, 0)


def test_the_gap_below_the_last_one_counts_chosen_or_not():
    weights = [1.0, 0.6, 0.59]
    assert not order_settled(fit_of(weights, 0.02), 2, 0.0, 0)
    assert not order_settled(fit_of(weights, 0.02, chosen=2), 2, 0.0, 0)
    assert order_settled(fit_of([1.0, 0.6, 0.3], 0.02, chosen=2), 2, 0.0, 0)
    assert order_settled(fit_of([1.0, 0.6], 0.02), 2, 0.0, 0)
    assert order_settled(fit_of([1.0], 0.02), 5, 0.0, 0)


def test_errors_that_go_together_part_more():
    apart = [1.0, 0.9, 0.3]
    assert not order_settled(fit_of(apart, 0.1), 2, 0.0, 0)
    assert order_settled(fit_of(apart, 0.1, correlation=0.98), 2, 0.0, 0)


def test_few_degrees_of_freedom_ask_for_more():
    weights = [1.0, 0.88, 0.6]
    assert order_settled(fit_of(weights, 0.025), 2, 0.0, 0)
    assert not order_settled(fit_of(weights, 0.025, degrees=7), 2, 0.0, 0)


def test_all_looks_together_spend_no_more_than_was_allowed():
    assert sum(_share(look) for look in range(60)) <= 1.0
    assert all(_share(look) >= _share(look + 1) > 0 for look in range(60))


def test_without_intervals_nothing_is_settled_but_a_constant_model_is():
    assert not order_settled(Fit(0.0, (), 0.5, 0.0, no_interval="too few"), 3, 0.1, 0)
    assert order_settled(Fit(0.1, (), None, 0.1), 3, 0.1, 0)


def run(seed, true):
    """Doubling samples until the two strongest are settled: the fit, or None."""
    rng = np.random.default_rng(seed)
    half = rng.random((1 << 13, len(true))) < 0.5
    z = np.stack([half, ~half], axis=1).reshape(-1, len(true))
    y = z @ true + 0.3 * rng.normal(size=len(z))
    for look in range(7):
        n = 256 << look
        samples = BlockedSamples(z[:n].T, np.ones(n), 8, 2)
        fit = fit_pairs(samples, y[:n], np.ones(len(true)), "highest_weights", 4)
        if order_settled(fit, 2, 0.05, look):
            return fit
    return None


@pytest.mark.parametrize("true", [[1.0, 0.9, 0.5, 0.1], [1.0, 0.999, 0.5, 0.1]])
def test_few_runs_claim_what_is_not_so(true):
    """5 % of 100 runs may be wrong: an order of the first two that is the other way round, or a tie
    of two that are further apart than the tolerance.
    """
    found = [run(seed, np.array(true)) for seed in range(100)]
    settled = [one for one in found if one is not None]
    wrong = 0
    for fit in settled:
        ranks = {one.feature: one.ranks for one in fit.weights}
        if ranks[0][1] < ranks[1][0] or ranks[1][1] < ranks[0][0]:
            wrong += ranks[0][0] > ranks[1][0]
        else:
            wrong += true[0] - true[1] > 0.05
    assert len(settled) > 40
    assert wrong <= 100 * _WRONG
