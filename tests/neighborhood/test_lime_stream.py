"""The draws are lime's own, number by number."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from lime.lime_tabular import LimeTabularExplainer
from scipy.stats import truncnorm

from limecli.inputs.background import background_from_table
from limecli.inputs.table import read_table
from limecli.neighborhood.lime_stream import (
    draw_bins,
    draw_normals,
    draw_superpixels,
    draw_words,
    generator,
)
from limecli.neighborhood.tabular_space import TabularSpace, bin_normals
from limecli.types import Column


def table(tmp_path):
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({
        "normal": rng.normal(5, 2, 120),
        "skewed": rng.exponential(3, 120) ** 3,
        "whole": rng.integers(0, 6, 120),
        "half zeros": np.where(rng.random(120) < 0.6, 0.0, rng.normal(size=120)),
        "half threes": np.where(rng.random(120) < 0.6, 3.0, rng.normal(size=120)),
        "constant": np.full(120, 7.5),
    })  # fmt: skip
    frame.to_csv(tmp_path / "train.csv", index=False)
    return frame, read_table(str(tmp_path / "train.csv"))


def limes_rows(explainer, row, n):
    _, inverse = explainer._LimeTabularExplainer__data_inverse(row, n)
    return inverse


@pytest.mark.parametrize("discretizer", ["quartile", "decile"])
@pytest.mark.parametrize("seed", [0, 1234567])
def test_rows_drawn_from_bins(tmp_path, discretizer, seed):
    frame, read = table(tmp_path)
    background = background_from_table(read, list(frame), discretizer)
    data = frame.to_numpy()
    lime = LimeTabularExplainer(data, discretizer=discretizer, random_state=seed)
    expected = limes_rows(lime, data[5], 700)
    draws = draw_bins(generator(seed), TabularSpace(background.columns), 700)
    # lime computes the same quantile through logarithms.
    assert draws.rows[1:] == pytest.approx(expected[1:], rel=1e-11, abs=1e-12)
    assert (draws.rows[1:, 5] == 0).all()  # lime's fault with the only value of a bin


@pytest.mark.parametrize("around", [False, True])
def test_rows_drawn_from_normals(tmp_path, around):
    frame, read = table(tmp_path)
    background = background_from_table(read, list(frame), "none")
    data = frame.to_numpy()
    lime = LimeTabularExplainer(
        data, discretize_continuous=False, sample_around_instance=around, random_state=4
    )
    expected = limes_rows(lime, data[5], 700)
    space = TabularSpace(background.columns)
    draws = draw_normals(generator(4), space, 700, data[5] if around else None)
    assert draws.rows[1:] == pytest.approx(expected[1:], rel=1e-13, abs=1e-13)


def bins(means, stds, mins, maxs):
    codes = tuple(float(j) for j in range(len(means)))
    shares = tuple(1 / len(means) for _ in means)
    edges = tuple(maxs[:-1])
    column = Column("x", None, codes, shares, 0.0, 1.0, edges, means, stds, mins, maxs)
    return bin_normals([column])[0]


@pytest.mark.parametrize(
    ("mean", "std", "low", "high"),
    [
        (0.0, 1.0, -1.0, 2.0),
        (0.0, 1.0, -9.0, -8.0),  # a tail
        (0.0, 1.0, 8.0, 9.0),  # the other one
        (0.0, 1.0, 50.0, 51.0),  # where probabilities underflow
        (0.0, 1.0, -51.0, -50.0),
        (3.0, 1e-11, 2.0, 3.0),  # all values of the bin are its upper edge
        (2.0, 1e-11, 2.0, 3.0),
        (0.0, 1.0, 0.0, 1e-9),
        (0.0, 1.0, -40.0, 40.0),
    ],
)
def test_quantiles_of_bins_are_those_of_scipys_truncnorm(mean, std, low, high):
    uniform = np.random.default_rng(0).random(500)
    normals = bins((mean,), (std,), (low,), (high,))
    a, b = (low - mean) / std, (high - mean) / std
    expected = truncnorm.ppf(uniform, a, b, loc=mean, scale=std)
    found = normals.quantile(np.zeros(500, np.intp), uniform)
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_words_are_removed_in_limes_order():
    kept = draw_words(generator(9), 30, 200)
    rng = np.random.RandomState(9)
    sizes = rng.randint(1, 31, 199)
    for row, size in zip(kept[1:], sizes, strict=True):
        removed = rng.choice(range(30), size, replace=False)
        assert set(np.flatnonzero(~row)) == set(removed)
    assert kept[0].all()


def test_superpixels_are_drawn_after_the_seed_of_a_segmentation():
    shown = draw_superpixels(generator(9), 13, 50)
    rng = np.random.RandomState(9)
    rng.randint(0, high=1000)
    expected = rng.randint(0, 2, 50 * 13).reshape(50, 13)
    assert (shown[1:] == expected[1:]).all()
    assert shown[0].all()
