"""Better draws of lime's laws: Sobol points, Hadamard blocks, complement pairs."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, norm, qmc

from limecli.inputs.background import background_from_table
from limecli.inputs.table import read_table
from limecli.neighborhood.hadamard import block_size, draw_hadamard, hadamard_plan
from limecli.neighborhood.lime_stream import draw_bins, generator
from limecli.neighborhood.pairs import draw_pairs
from limecli.neighborhood.sobol import SobolPlan, _directions, draw_sobol, sobol_plan
from limecli.neighborhood.tabular_space import TabularSpace

PLAN = SobolPlan(8, 512)


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(3)
    return pd.DataFrame({
        "normal": rng.normal(5, 2, 120),
        "skewed": rng.exponential(3, 120) ** 3,
        "half threes": np.where(rng.random(120) < 0.6, 3.0, 3 + rng.random(120)),
        "constant": np.full(120, 7.5),
        "gaps": np.where(rng.random(120) < 0.3, np.nan, rng.normal(size=120)),
        "colour": rng.choice(["red", "green", "blue"], 120, p=[0.6, 0.3, 0.1]),
    })  # fmt: skip


@pytest.fixture(scope="module")
def space_of(frame, tmp_path_factory):
    path = tmp_path_factory.mktemp("designs") / "train.csv"
    frame.to_csv(path, index=False)
    table = read_table(str(path))

    def made(discretizer):
        return TabularSpace(background_from_table(table, list(frame), discretizer).columns)

    return made


# Sobol


def test_unscrambled_the_points_are_scipys():
    directions = _directions(7, 6)
    places = np.arange(64)
    points = np.zeros((64, 7), np.uint32)
    for bit, numbers in enumerate(directions):
        points[places >> bit & 1 == 1] ^= numbers
    expected = qmc.Sobol(7, scramble=False).random_base2(6) * 2.0**30
    assert sorted(map(tuple, points.tolist())) == sorted(map(tuple, expected.tolist()))


def test_every_replicate_spreads_every_feature_evenly(space_of):
    """The mark of a Sobol sequence, scrambled or not: one point in each of `points` slices."""
    space = space_of("none")
    draws = draw_sobol(space, PLAN, 0, binned=False)
    uniform = norm.cdf((draws.rows[:, 0] - space.means[0]) / space.scales[0])
    slices = np.sort((uniform.reshape(8, 512) * 512).astype(int), axis=1)
    assert (slices == np.arange(512)).all()


def test_replicates_err_independently_of_each_other(space_of):
    """So the spread of eight replicates says how far their mean is off.

    Products of two features have heavy tails: fewer seeds would tell nothing.
    """
    space, plan, means = space_of("none"), SobolPlan(8, 32), []
    for seed in range(3000):
        rows = draw_sobol(space, plan, seed, binned=False).rows[:, :2]
        product = np.exp((rows - space.means[:2]) / space.scales[:2] / 2).prod(axis=1)
        means.append(product.reshape(8, 32).mean(axis=1))
    within = np.var(means, axis=1, ddof=1).mean() / 8
    between = np.mean(means, axis=1).var(ddof=1)
    assert between == pytest.approx(within, rel=0.15)


def test_draws_from_bins_follow_limes_law(space_of):
    space = space_of("quartile")
    draws = draw_sobol(space, PLAN, 1, binned=True)
    lime = draw_bins(generator(0), space, 20000)
    assert draws.rows.shape == (8 * 512, 6)
    for j in range(6):
        counts = [np.bincount(found, minlength=6) / len(found)
                  for found in (draws.codes[j], lime.codes[j, 1:])]  # fmt: skip
        assert counts[0] == pytest.approx(counts[1], abs=0.02)
    for j in (0, 1):
        assert kstest(draws.rows[:, j], lime.rows[1:, j]).pvalue > 0.01


def test_values_lie_in_the_bins_that_are_said(space_of):
    space = space_of("decile")
    draws = draw_sobol(space, PLAN, 0, binned=True)
    assert np.array_equal(draws.codes, space.codes(draws.rows).T)


def test_a_bin_of_one_value_gives_that_value_and_not_limes_zero(space_of, frame):
    space = space_of("quartile")
    rows = draw_sobol(space, PLAN, 0, binned=True).rows
    assert set(rows[:, 3]) == {7.5}
    assert rows[:, 2].min() == 3.0
    assert draw_bins(generator(0), space, 50).rows[1:, 3].max() == 0
    missing = np.isnan(rows[:, 4]).mean()
    assert missing == pytest.approx(frame["gaps"].isna().mean(), abs=1e-2)
    assert not np.isnan(np.delete(rows, 4, axis=1)).any()


def test_undiscretised_draws_are_normal_around_the_mean_or_a_row(space_of):
    space = space_of("none")
    centre = np.arange(6.0)
    for middle, around in ((space.means, None), (centre, centre)):
        draws = draw_sobol(space, PLAN, 0, False, around)
        for j in (0, 1):
            scaled = (draws.rows[:, j] - middle[j]) / space.scales[j]
            assert kstest(scaled, "norm").pvalue > 0.5
        assert set(draws.rows[:, 5]) == {0.0, 1.0, 2.0}
        assert (draws.codes[5] == draws.rows[:, 5]).all()


@pytest.mark.parametrize("binned", [True, False])
def test_sobol_draws_continue_without_drawing_again(space_of, binned):
    space = space_of("quartile" if binned else "none")
    whole = draw_sobol(space, SobolPlan(8, 512), 4, binned)
    begun = draw_sobol(space, SobolPlan(8, 128), 4, binned)
    more = draw_sobol(space, SobolPlan(8, 512), 4, binned, start=128)
    by_replicate = whole.rows.reshape(8, 512, 6)
    assert np.array_equal(by_replicate[:, :128].reshape(-1, 6), begun.rows, equal_nan=True)
    assert np.array_equal(by_replicate[:, 128:].reshape(-1, 6), more.rows, equal_nan=True)
    assert np.array_equal(whole.codes.reshape(6, 8, 512)[:, :, 128:].reshape(6, -1), more.codes)
    other = draw_sobol(space, SobolPlan(8, 128), 5, binned)
    assert not np.array_equal(other.rows, begun.rows, equal_nan=True)


def test_sobol_means_are_far_nearer_than_random_ones(space_of):
    """What it is for: the mean of a smooth function of the first column over 4096 draws."""
    space = space_of("none")
    errors = []
    for seed in range(20):
        rows = draw_sobol(space, PLAN, seed, binned=False).rows[:, 0]
        errors.append(rows.mean() - space.means[0])
    assert np.std(errors) < 0.1 * space.scales[0] / np.sqrt(PLAN.n)


@settings(deadline=None, derandomize=True)
@given(num_samples=st.integers(1, 200_000), n_features=st.integers(1, 2000))
def test_sobol_plans(num_samples, n_features):
    plan = sobol_plan(num_samples, n_features)
    least = 1 << math.ceil(math.log2(4 * n_features))
    if plan is None:
        assert 8 * least > num_samples + least // 2  # 7 or fewer are nearer
        return
    assert 8 <= plan.replicates <= 16
    assert plan.points >= least
    assert plan.points.bit_count() == 1
    assert sobol_plan(plan.n, n_features) == plan
    ways = [r * (least << power) for r in range(8, 17) for power in range(20)]
    assert abs(plan.n - num_samples) == min(abs(n - num_samples) for n in ways)


def test_sobol_plans_have_few_large_replicates_and_know_their_limit():
    assert sobol_plan(4096, 30) == SobolPlan(8, 512)
    assert sobol_plan(5000, 30) == SobolPlan(10, 512)
    assert sobol_plan(961, 30) == SobolPlan(8, 128)
    assert sobol_plan(959, 30) is None
    assert sobol_plan(10**9, 21202) is None


# Hadamard


@pytest.mark.parametrize("n_features", [1, 2, 3, 7, 8, 68])
def test_a_hadamard_block_is_balanced_orthogonal_and_folded_over(n_features):
    size = block_size(n_features)
    blocks = draw_hadamard(n_features, 5, 0).reshape(5, size, n_features)
    signs = np.where(blocks, 1, -1)
    for block in signs:
        assert (block.T @ block == size * np.eye(n_features)).all()
        assert (block.sum(axis=0) == 0).all()
        assert (block[size // 2 :] == -block[: size // 2]).all()


def test_hadamard_blocks_differ_and_continue():
    drawn = draw_hadamard(20, 8, 3)
    blocks = drawn.reshape(8, -1)
    assert len({block.tobytes() for block in blocks}) == 8
    assert np.array_equal(draw_hadamard(20, 8, 3, start=5), drawn[5 * block_size(20) :])
    assert np.array_equal(draw_hadamard(20, 5, 3), drawn[: 5 * block_size(20)])
    assert not np.array_equal(draw_hadamard(20, 8, 4), drawn)


@pytest.mark.parametrize(("num_samples", "n_features", "blocks"), [
    (1000, 68, 4), (5000, 68, 20), (800, 68, None), (1000, 127, 4), (1000, 128, None), (64, 3, 8),
])  # fmt: skip
def test_hadamard_plans(num_samples, n_features, blocks):
    assert hadamard_plan(num_samples, n_features) == blocks
    if blocks:
        assert hadamard_plan(blocks * block_size(n_features), n_features) == blocks


# Pairs


@pytest.mark.parametrize("law", ["binomial", "uniform"])
def test_pairs_are_complements_and_continue(law):
    masks, importance = draw_pairs(30, 1001, 2, law)
    assert masks.shape == (1002, 30)
    assert (masks[::2] != masks[1::2]).all()
    more, its = draw_pairs(30, 1001, 2, law, start=500)
    assert np.array_equal(more, masks[500:])
    assert np.array_equal(its, importance[500:])
    assert np.array_equal(draw_pairs(30, 500, 2, law)[0], masks[:500])
    assert not np.array_equal(draw_pairs(30, 1001, 3, law)[0], masks)


def test_pairs_of_superpixels_show_each_half_of_the_time():
    masks, importance = draw_pairs(10, 20000, 0, "binomial")
    assert (importance == 1).all()
    kept = masks.sum(axis=1)
    shares = np.bincount(kept, minlength=11) / len(masks)
    expected = [math.comb(10, k) / 1024 for k in range(11)]
    assert shares == pytest.approx(expected, abs=0.015)


def test_reweighted_pairs_of_words_remove_any_number_equally_often():
    """lime removes 1 to all words, equally likely: never none."""
    masks, importance = draw_pairs(8, 40000, 0, "uniform")
    kept = masks.sum(axis=1)
    shares = np.bincount(kept, weights=importance, minlength=9) / len(masks)
    assert shares == pytest.approx([1 / 8] * 8 + [0], abs=0.01)
    for size in (2, 5):  # which words are removed is chance
        assert masks[kept == size].mean(axis=0) == pytest.approx(size / 8, abs=0.03)


def test_one_word():
    masks, importance = draw_pairs(1, 10, 0, "uniform")
    assert sorted(masks[:2, 0]) == [False, True]
    assert (importance == np.where(masks[:, 0], 0.0, 2.0)).all()


@pytest.mark.parametrize(("n_features", "bits"), [(1, 5), (2, 3), (40, 12), (21201, 4)])
def test_direction_numbers_are_scipys(n_features, bits):
    """They are read and computed here, since importing scipy.stats takes most of a second."""
    from scipy.stats import qmc

    sequence = qmc.Sobol(n_features, scramble=False, bits=30)
    points = (sequence.random(1 << bits) * 2.0**30).astype(np.uint32)
    assert np.array_equal(_directions(n_features, bits), points[(2 << np.arange(bits)) - 1])
