"""Rows of a table with `--control-variate`: what trees learn of some replicates, said of others."""

from __future__ import annotations

import json

import joblib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from limecli.explainers.control import Control, pool_plan
from limecli.neighborhood.lime_stream import TabularDraws

BLOCKS, POINTS, POOL = 8, 64, 512
N = BLOCKS * POINTS
REGIONS = np.array([0.9, -0.7, 0.2, 0.8, -0.9, -0.1, 0.5])  # by code: no order in it


def rows_of(n, seed):
    """Row 0 and n draws: two numbers, some missing, a category, and a constant."""
    rng = np.random.default_rng(seed)
    columns = [rng.normal(size=n + 1), rng.exponential(size=n + 1) * 1e6,
               rng.integers(0, 7, n + 1).astype(float), np.full(n + 1, 3.0)]  # fmt: skip
    columns[1][rng.random(n + 1) < 0.1] = np.nan
    rows = np.column_stack(columns)
    return TabularDraws(rows, np.zeros((rows.shape[1], n + 1), np.uint8))


def model(draws):
    rows = draws.rows[1:]
    rich = np.nan_to_num(rows[:, 1], nan=2e6) > 1e6
    return np.tanh(rows[:, 0]) * np.where(rich, 1.0, -0.5) + REGIONS[rows[:, 2].astype(int)]


@pytest.fixture(scope="module")
def draws():
    return rows_of(N, 0), rows_of(BLOCKS * POOL, 1)


def control_of(draws, **changes):
    return Control(*draws, **{"blocks": BLOCKS, "categorical": [2], **changes})


def left(said, true):
    return np.var(true - said) / np.var(true)


def test_trees_explain_most_of_what_they_have_not_seen(draws):
    said, of_pool = control_of(draws).of(0, model(draws[0]))
    assert left(said, model(draws[0])) < 0.15
    assert left(of_pool, model(draws[1])) < 0.15


def test_categories_are_not_numbers(draws):
    outputs = REGIONS[draws[0].rows[1:, 2].astype(int)]
    said, _ = control_of(draws).of(0, outputs)
    assert left(said, outputs) < 0.001


def test_no_replicate_is_judged_by_trees_that_saw_its_outputs(draws):
    """The outputs of replicate 1 change: what is said of it, and of its part of the pool, stays."""
    outputs = model(draws[0])
    others = outputs.copy().reshape(BLOCKS, POINTS)
    others[1] = others[1, ::-1]
    said, of_pool = control_of(draws).of(0, outputs)
    then, then_of_pool = control_of(draws).of(0, others.reshape(-1))
    for before, after, size in ((said, then, POINTS), (of_pool, then_of_pool, POOL)):
        same = np.isclose(before, after, rtol=1e-9, atol=1e-12).reshape(BLOCKS, size).all(axis=1)
        assert same[1]
        assert not same[[0, 2, 3]].any()


def test_every_label_is_learned_once_and_always_alike(draws):
    control = control_of(draws)
    outputs = model(draws[0])
    first, other = control.of(0, outputs), control.of(1, -outputs)
    assert control.of(0, np.zeros(N)) is first
    again, _ = control_of(draws).of(0, outputs)
    assert np.array_equal(again, first[0])
    assert left(other[0], -outputs) < 0.15


def test_outputs_of_any_size_and_place(draws):
    outputs = model(draws[0])
    usual, _ = control_of(draws).of(0, outputs)
    for scale in (2.0**-900, 2.0**900):
        scaled, _ = control_of(draws).of(0, outputs * scale)
        assert np.array_equal(scaled / scale, usual)
    moved, _ = control_of(draws).of(0, outputs + 1e6)
    assert left(moved - 1e6, usual) < 0.01


@pytest.mark.parametrize("value", [0.0, 0.1, -1e300])
def test_a_constant_is_itself(draws, value):
    said, of_pool = control_of(draws).of(0, np.full(N, value))
    assert said == pytest.approx(np.full(N, value), rel=1e-12)
    assert of_pool == pytest.approx(np.full(BLOCKS * POOL, value), rel=1e-12)


def test_columns_that_say_nothing_and_categories_too_many_for_trees(draws):
    rng = np.random.default_rng(2)
    columns = []
    for which in draws:
        rows = which.rows.copy()
        rows[:, 1] = np.nan
        rows[:, 3] = rng.integers(0, 3000, len(rows))
        columns.append(TabularDraws(rows, which.codes))
    outputs = np.tanh(columns[0].rows[1:, 0])
    said, _ = control_of(columns, categorical=[2, 3]).of(0, outputs)
    assert left(said, outputs) < 0.05


@settings(deadline=None, derandomize=True)
@given(
    blocks=st.integers(8, 16), power=st.integers(2, 16), n_features=st.integers(1, 3000)
)  # fmt: skip
def test_the_pool_is_larger_than_the_samples_but_fits_in_memory(blocks, power, n_features):
    points = 1 << power
    plan = pool_plan(blocks, points, n_features)
    assert plan.replicates == blocks
    assert plan.points.bit_count() == 1
    assert plan.points >= points
    assert plan.points == points or plan.n * n_features <= 1 << 23


# The command


@pytest.fixture(scope="module")
def bed(tmp_path_factory):
    """Boosting, whose probabilities have no exact weights, a tree, which has them, their data."""
    folder = tmp_path_factory.mktemp("control")
    rng = np.random.default_rng(0)
    n = 400
    frame = pd.DataFrame({
        "age": rng.integers(18, 80, n).astype(float), "income": np.exp(rng.normal(10, 1, n)),
        "hours": rng.normal(40, 8, n), "region": rng.choice(["n", "s", "e", "w"], n),
    })  # fmt: skip
    old, south = frame["age"] > 45, frame["region"].isin(["s", "w"])
    target = np.where((old ^ south) & (frame["hours"] > 36), "yes", "no")
    frame.to_csv(folder / "data.csv", index=False)
    for name, last in {
        "boosting": HistGradientBoostingClassifier(max_iter=30, random_state=0),
        "tree": DecisionTreeClassifier(max_depth=5, random_state=0),
    }.items():
        columns = make_column_transformer(
            (StandardScaler(), ["age", "income", "hours"]),
            (OneHotEncoder(sparse_output=False), ["region"]),
        )
        joblib.dump(make_pipeline(columns, last).fit(frame, target), folder / f"{name}.joblib")
    return folder


@pytest.fixture
def explained(cli, bed):
    def run(model, *options):
        result = cli("tabular", bed / f"{model}.joblib", bed / "data.csv", "-b", bed / "data.csv",
                     "--json", "--flips", 0, *options)  # fmt: skip
        assert result.code == 0, result.stderr
        return json.loads(result.stdout)["explanations"]

    return run


CONTROL = ("--control-variate",)


def table_of(explanation):
    """Weight, low and high end by feature."""
    (label,) = explanation["labels"]
    return np.array([[item["weight"], item["low"], item["high"]]
                     for item in sorted(label["attributions"], key=lambda item: item["index"])]
                    )  # fmt: skip


@pytest.mark.parametrize("bins", ["quartile", "none"])
def test_fewer_evaluations_for_the_same_error(explained, bins):
    """Truth: 2^14 samples. A control costs no evaluation and halves the variance at least."""
    one = ("--row", 3, "--label", "yes", "--discretizer", bins)
    (truth,) = explained("boosting", *one, "-n", 1 << 14)
    errors, held, calls = {(): [], ("--control-variate",): []}, [], set()
    for seed in range(6):
        for way, found in errors.items():
            (run,) = explained("boosting", *one, "-n", 512, "--seed", seed, *way)
            calls.add(run["model_calls"])
            weight, low, high = table_of(run).T
            true = table_of(truth)[:, 0]
            found.append(weight - true)
            held.extend((low <= true) & (true <= high))
    plain, controlled = (np.mean(np.square(found)) for found in errors.values())
    assert len(calls) == 1
    assert controlled < 0.5 * plain
    assert np.mean(held) > 0.85


@pytest.mark.parametrize("options", [(), ("--discretizer", "none")])
def test_rows_that_share_a_neighborhood_share_its_control(explained, options):
    common = ("--label", "yes", "-n", 512, "--control-variate", *options)
    together = explained("boosting", "--row", "3:6", *common)
    for place, row in enumerate((3, 4, 5)):
        (alone,) = explained("boosting", "--row", row, *common)
        assert table_of(together[place]) == pytest.approx(table_of(alone), abs=1e-9)


def test_around_a_row_the_pool_lies_around_it_too(explained):
    common = ("--row", 3, "--label", "yes", "--discretizer", "none", "--sample-around-instance")
    (truth,) = explained("boosting", *common, "-n", 1 << 14)
    (found,) = explained("boosting", *common, "-n", 1024, "--control-variate")
    (plain,) = explained("boosting", *common, "-n", 1024)
    _, low, high = table_of(plain).T
    assert table_of(found)[:, 0] == pytest.approx(table_of(truth)[:, 0], abs=(high - low).max() / 2)


def test_too_few_replicates_have_no_control(explained):
    one = ("--row", 3, "--label", "yes", "-n", 30)
    (plain,), (found,) = explained("boosting", *one), explained("boosting", *one, *CONTROL)
    assert np.array_equal(table_of(found), table_of(plain))


def test_exact_weights_need_no_control(explained):
    one = ("--row", 3, "--label", "yes")
    (plain,), (found,) = explained("tree", *one), explained("tree", *one, "--control-variate")
    assert found["sampler"] == "exact"
    assert np.array_equal(table_of(found), table_of(plain))


@pytest.mark.parametrize("options", [("--sampler", "lime"), ("--engine", "lime")])
def test_limes_own_draws_take_no_control(cli, bed, options):
    result = cli("tabular", bed / "tree.joblib", bed / "data.csv", "-b", bed / "data.csv",
                 "--row", 3, "--control-variate", *options)  # fmt: skip
    assert result.code == 2
    assert "--control-variate needs limecli's draws: --sampler sobol" in result.stderr
