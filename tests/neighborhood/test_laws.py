"""The laws are those of the draws: scipy's truncated normal, the values themselves, and samples."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, truncnorm

from limecli.inputs.background import continuous_column
from limecli.leaf_boxes import LeafBoxes
from limecli.neighborhood.laws import bin_laws, normal_laws
from limecli.neighborhood.lime_stream import draw_bins, generator
from limecli.neighborhood.tabular_space import TabularSpace
from limecli.types import Column

INF = np.inf


def numbers(values, discretizer="quartile"):
    values = np.asarray(values, float)
    mean, std = float(np.nanmean(values)), float(np.nanstd(values)) or 1.0
    return continuous_column("x", values, discretizer, mean, std, None)


def one_bin(low, high, mean, std):
    """A column of one bin."""
    ends = ((), (mean,), (std,), (low,), (high,))
    return Column("x", None, (0.0,), (1.0,), mean, std, *ends)


def categories(*shares, codes=None):
    codes = tuple(map(float, range(len(shares)))) if codes is None else codes
    return Column("x", tuple("abcdefgh"[: len(shares)]), codes, shares, 0.0, 1.0)


def sets_of(*intervals, feature=None, missing=None, codes=None, curves=None):
    """Boxes of one side each; their values do not matter here."""
    n = len(intervals)
    low, high = np.array(intervals, float).reshape(n, 2).T
    return LeafBoxes(
        leaf=np.arange(n),
        factor=np.arange(n),
        feature=np.zeros(n, np.int64) if feature is None else np.array(feature),
        low=low,
        high=high,
        missing=np.zeros(n, np.bool_) if missing is None else np.array(missing),
        codes=np.zeros((n, 0), np.bool_) if codes is None else np.array(codes),
        values=np.ones((n, 1)),
        offset=np.zeros(1),
        curves={} if curves is None else curves,
    )


SKEWED = np.random.default_rng(0).exponential(3, 400) ** 2


def truncated(column, b):
    mean, std = column.means[b], column.stds[b]
    a, c = (column.mins[b] - mean) / std, (column.maxs[b] - mean) / std
    return truncnorm(a, c, mean, std)


@pytest.mark.parametrize("discretizer", ["quartile", "decile"])
def test_masses_are_those_of_truncated_normals(discretizer):
    column = numbers(SKEWED, discretizer)
    intervals = [(-INF, 2.5), (2.5, 11.0), (11.0, 11.001), (3.0, INF), (-INF, INF), (1e9, INF)]
    masses = bin_laws([column], sets_of(*intervals)).masses[0]
    for b in range(len(column.means)):
        law = truncated(column, b)
        expected = [law.cdf(high) - law.cdf(low) for low, high in intervals]
        assert masses[:, b] == pytest.approx(expected, rel=1e-9, abs=1e-14)


@pytest.mark.parametrize("distance", [8.0, 30.0, 60.0, 1e4])
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_masses_keep_their_digits_far_out_in_a_normal(distance, side):
    """Within 1 / distance of its near end such a bin's law is almost exponential."""
    low, high = sorted((side * distance, side * (distance + 2)))
    column = one_bin(low, high, 0.0, 1.0)
    cut = side * (distance + 1 / distance)
    (below,), (above,) = bin_laws([column], sets_of((-INF, cut), (cut, INF))).masses[0][:, :1]
    near = below if side > 0 else above
    exact = -np.expm1(norm.logsf(distance + 1 / distance) - norm.logsf(distance))
    assert near == pytest.approx(exact, rel=1e-7)
    assert below + above == pytest.approx(1.0)


def test_an_impossibly_far_bin_lies_at_its_near_end():
    column = one_bin(5.0, 6.0, 0.0, 1e-11)
    laws = bin_laws([column], sets_of((-INF, 5.0), (5.0, INF), curves={0: lambda x: x[:, None]}))
    assert laws.masses[0][:, 0].tolist() == [1.0, 0.0]
    assert laws.curves[0][0] == 5.0


def test_a_bin_of_one_value_is_that_value():
    column = numbers([3.0] * 60 + list(range(4, 44)))
    assert column.mins[0] == column.maxs[0] == 3.0
    laws = bin_laws([column], sets_of((-INF, 3.0), (3.0, INF), (2.9, 3.1), (2.0, 2.9)))
    assert laws.masses[0][:, 0].tolist() == [1.0, 0.0, 1.0, 0.0]


def test_a_constant_column_is_its_value():
    laws = bin_laws([numbers([7.5] * 50)], sets_of((7.0, 8.0), (7.5, 8.0)))
    drawn = laws.frequencies[0] > 0
    assert drawn.sum() == 1
    assert laws.masses[0][:, drawn].ravel().tolist() == [1.0, 0.0]


def test_a_spread_that_rounding_swallows_is_none():
    """1e6 + 1e-11 is 1e6: all draws of such a bin lie below or at 1e6."""
    column = one_bin(0.0, 2e6, 1e6, 1e-11)
    boxes = sets_of((-INF, 1e6), (1e6, INF))
    assert bin_laws([column], boxes).masses[0][:, 0].tolist() == [1.0, 0.0]
    z = np.random.default_rng(0).normal(size=1000)
    assert (1e6 + 1e-11 * z <= 1e6).all()


def test_an_empty_set_has_no_mass():
    laws = bin_laws([numbers(SKEWED), numbers([1.0] * 40)], sets_of((5.0, 2.0), feature=[0]))
    assert not laws.masses[0].any()
    assert laws.masses[1].shape == (0, 3)


def test_missing_values_have_a_bin_of_their_own():
    values = np.where(np.arange(400) % 4 == 0, np.nan, SKEWED)
    column = numbers(values)
    curve = {0: lambda x: np.where(np.isnan(x), 9.0, 1.0)[:, None]}
    boxes = sets_of((-INF, INF), (-INF, INF), (0, 1), missing=[True, False, True], curves=curve)
    laws = bin_laws([column], boxes)
    assert laws.frequencies[0][-1] == 0.25
    assert laws.masses[0][:, -1].tolist() == [1.0, 0.0, 1.0]
    assert laws.masses[0][1, :-1] == pytest.approx(1.0)
    assert laws.curves[0].ravel() == pytest.approx([1, 1, 1, 1, 9])


def test_sets_of_categories_hold_their_codes():
    columns = [numbers(SKEWED), categories(0.5, 0.3, 0.2)]
    codes = [[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 1]]
    boxes = sets_of((0, 0), (1, 5), (0, 0), feature=[1, 0, 1], codes=np.array(codes, bool))
    laws = bin_laws(columns, boxes)
    assert laws.frequencies[1].tolist() == [0.5, 0.3, 0.2]
    assert laws.masses[1].tolist() == [[1, 0, 1], [0, 1, 0]]  # in the order of the boxes' factors


def test_categories_that_only_the_rows_have_are_never_drawn_and_in_no_set():
    column = categories(0.5, 0.5, 0.0, codes=(0.0, 1.0, 2.0))
    laws = bin_laws([column], sets_of((0, 0), codes=np.array([[False, True]])))
    assert laws.frequencies[0].tolist() == [0.5, 0.5, 0.0]
    assert laws.masses[0].tolist() == [[0, 1, 0]]


def test_an_affine_curve_has_its_mean_in_every_bin():
    for values in (SKEWED, 1e8 + SKEWED, 1e-8 * SKEWED):
        column = numbers(values, "decile")
        boxes = sets_of(curves={0: lambda x: np.column_stack([2 * x - 3, -x])})
        means = bin_laws([column], boxes).curves[0]
        for b in range(len(column.means)):
            expected = truncated(column, b).mean()
            assert means[b] == pytest.approx([2 * expected - 3, -expected], rel=1e-9)


@pytest.mark.parametrize("curve", [np.exp, np.sin, lambda x: np.maximum(x, 0.3), np.tanh])
def test_a_curve_has_its_mean_in_every_bin(curve):
    column = numbers(np.random.default_rng(1).normal(0, 2, 200))
    means = bin_laws([column], sets_of(curves={0: lambda x: curve(x)[:, None]})).curves[0]
    for b in range(4):
        expected = truncated(column, b).expect(curve, epsabs=1e-11)
        kink = 2e-5 if curve(np.array([0.29])) == 0.3 else 1e-9
        assert means[b] == pytest.approx([expected], abs=kink)


def test_a_curve_is_exact_at_atoms_and_codes():
    curve = {0: lambda x: np.cbrt(x)[:, None]}
    means = bin_laws([numbers([2.0] * 40)], sets_of(curves=curve)).curves[0]
    assert means[0] == np.cbrt(2.0)
    asked = []

    def effect(codes):
        asked.extend(codes.tolist())
        return codes[:, None] ** 2

    laws = bin_laws([categories(0.5, 0.5, 0.0)], sets_of(curves={0: effect}))
    assert laws.curves[0][:2].ravel().tolist() == [0.0, 1.0]
    assert asked == [0.0, 1.0]  # the model need not know categories that are never drawn


def test_the_laws_are_those_of_the_draws():
    rng = np.random.default_rng(2)
    columns = [numbers(SKEWED), numbers(rng.normal(size=300), "decile"), categories(0.2, 0.7, 0.1)]
    codes = np.zeros((3, 3), np.bool_)
    codes[2, [0, 2]] = True
    curves = {1: lambda x: np.cos(x)[:, None]}
    boxes = sets_of((1, 9), (0.1, INF), (0, 0), feature=[0, 1, 2], codes=codes, curves=curves)
    laws = bin_laws(columns, boxes)
    n = 1 << 17
    rows = draw_bins(generator(0), TabularSpace(columns), n).rows[1:]
    inside = [
        (rows[:, 0] > 1) & (rows[:, 0] <= 9),
        rows[:, 1] > 0.1,
        (rows[:, 2] == 0) | (rows[:, 2] == 2),
    ]
    for j, found in enumerate(inside):
        share = float(laws.masses[j][0] @ laws.frequencies[j])
        assert abs(found.mean() - share) < 5 * (share * (1 - share) / n) ** 0.5
    mean = laws.frequencies[1] @ laws.curves[1]
    assert abs(np.cos(rows[:, 1]).mean() - mean) < 5 * np.cos(rows[:, 1]).std() / n**0.5


def test_an_undiscretised_background_keeps_its_categories():
    columns = [numbers(SKEWED, "none"), categories(0.25, 0.75)]
    codes = np.array([[False, False], [False, True]])
    laws = normal_laws(columns, sets_of((1, 9), (0, 0), feature=[0, 1], codes=codes))
    assert laws.means.tolist() == [pytest.approx(SKEWED.mean()), 0.0]
    assert laws.scales.tolist() == [pytest.approx(SKEWED.std()), 1.0]
    assert list(laws.categories.masses) == [1]
    assert laws.categories.frequencies[1].tolist() == [0.25, 0.75]
    moments = [float(laws.node_weights @ laws.nodes**p) for p in range(5)]
    assert moments == pytest.approx([1, 0, 1, 0, 3], abs=1e-12)
