"""Fidelity on real rows, the cell and the locality of a table's explanation, by brute force."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import pairwise_distances, r2_score

from limecli.errors import InputError, PredictError
from limecli.explainers.real_rows import Nearness, RealRows
from limecli.inputs.background import background_from_table
from limecli.inputs.table import Table
from limecli.neighborhood.lime_stream import draw_bins, draw_normals
from limecli.neighborhood.tabular_space import TabularSpace
from limecli.types import (
    Attribution,
    Cell,
    Column,
    Explanation,
    Instance,
    LimeSettings,
    Locality,
    Neighborhood,
    Surrogate,
)
from tests.explainers.strategies import WITH_GAPS, predictor_of, searching, tables

CANCER = load_breast_cancer(as_frame=True)
METRICS = ("euclidean", "manhattan", "cosine")


def lime_settings(**options):
    """Settings as an explainer resolves them."""
    usual = {"kernel_width": 1.0, "discretizer": "quartile", "batch_size": 1000}
    return LimeSettings("tabular", **{**usual, **options})


def number(name, bins=(0.0,), shares=(0.5, 0.5), mean=0.0, scale=1.0):
    """A column of numbers with the given bins."""
    n = len(bins) + 1
    values = tuple(float(j) for j in range(len(shares)))
    return Column(name, None, values, shares, mean, scale, bins, (0.0,) * n, (1.0,) * n,
                  (-1.0,) * n, (1.0,) * n)  # fmt: skip


def category(name, shares, words="abcdefgh"):
    values = tuple(float(j) for j in range(len(shares)))
    return Column(name, tuple(words), values, shares, 0.0, 1.0)


def explained(payload, weights, intercept=0.0, prediction=0.5, label=0):
    """An explanation of a row whose surrogate has these weights, by feature."""
    parts = tuple(
        Attribution(str(j), j, None, None, weight, rank)
        for rank, (j, weight) in enumerate(weights.items(), 1)
    )
    surrogate = Surrogate(str(label), label, intercept, 0.0, prediction, None, parts)
    instance = Instance("0", 0, "tabular", np.array(payload, float), "")
    return Explanation(instance, (), 0, (surrogate,))


def brute_z(columns, binned, payload, rows):
    """`float[m, n_features]`: z of each row, relative to `payload`, and z of that itself."""

    def code(column, value):
        if not column.continuous:
            return value
        return -1 if np.isnan(value) else sum(edge < value for edge in column.bins)

    def one(row):
        return [
            float(code(column, value) == code(column, own))
            if binned or not column.continuous
            else (value - column.mean) / column.scale
            for column, value, own in zip(columns, row, payload, strict=True)
        ]

    return np.array([one(row) for row in rows]), np.array(one(payload))


def brute_weights(z, first, asked):
    distances = pairwise_distances(z, first[None], metric=asked.distance_metric).ravel()
    return np.sqrt(np.exp(-(distances**2) / asked.kernel_width**2))


def some_explanation(case, instance):
    """Surrogates of every label with weights of the outputs' size, on some of the features."""
    rng, outputs = np.random.default_rng(case.data_seed), case.predict_fn(instance.payload[None])[0]
    features = rng.permutation(len(instance.payload))[: case.settings.num_features]
    made = []
    for label, own in enumerate(outputs):
        size = 0.2 * max(abs(float(own)), 0.1 * case.scale)
        weights = {int(j): size * float(rng.normal()) for j in features}
        intercept = float(own) + size * float(rng.normal())
        made.append(explained(instance.payload, weights, intercept, float(own), label))
    surrogates = tuple(item.surrogates[0] for item in made)
    return Explanation(instance, (), 0, surrogates)


@given(tables(kinds=WITH_GAPS, rows=3))
@searching(150)
def test_what_real_rows_say_by_brute_force(case):
    columns = case.background.columns
    usual = case.settings.kernel_width or 0.75 * np.sqrt(len(columns))
    asked = replace(case.settings, kernel_width=usual, batch_size=64)
    binned = asked.discretizer != "none"
    usable = [j for j, column in enumerate(columns) if column.continuous and not binned]
    rows = case.codes[~np.isnan(case.codes[:, usable]).any(axis=1)]
    outputs = case.predict_fn(rows) if len(rows) else np.empty((0, case.outputs))
    real = RealRows(case.predictor, columns, asked, case.codes)
    for instance in case.instances:
        if np.isnan(instance.payload[usable]).any():
            continue
        explanation = some_explanation(case, instance)
        judged = real.judged(explanation)
        assert judged.real_rows == len(rows)
        if not len(rows):
            assert judged == replace(explanation, real_rows=0)
            continue
        z, first = brute_z(columns, binned, instance.payload, rows)
        weights = brute_weights(z, first, asked)
        same = [np.array_equal(row, instance.payload, equal_nan=True) for row in rows]
        others = (z == 1).all(axis=1)
        others[same.index(True) if any(same) else []] = False
        for surrogate, before in zip(judged.surrogates, explanation.surrogates, strict=True):
            assert surrogate == replace(
                before, fidelity_rows=surrogate.fidelity_rows, cell=surrogate.cell
            )
            y = outputs[:, surrogate.index]
            found = sum(a.weight * z[:, a.index] for a in surrogate.attributions)
            assert_fidelity(surrogate, y, found + surrogate.intercept, weights)
            own = surrogate.model_prediction
            seen = [*y[others], own]
            cell = Cell(int(others.sum()), min(seen), max(seen)) if binned else None
            assert surrogate.cell == cell
    assert real.calls in (0, len(rows))


def assert_fidelity(surrogate, y, predicted, weights):
    effective = weights.sum() ** 2 / (weights @ weights) if weights.any() else 0.0
    spread = np.sqrt(np.average((y - np.average(y, weights=weights)) ** 2, weights=weights)
                     if weights.any() else 0.0)  # fmt: skip
    if effective < 9.999 or spread <= 1e-6 * np.ptp(y) or spread <= 1e-12 * np.abs(y).max():
        assert surrogate.fidelity_rows is None
    elif effective > 10.001 and spread > 1e-5 * np.abs(y).max():
        expected = r2_score(y, predicted, sample_weight=weights)
        assert surrogate.fidelity_rows == pytest.approx(expected, rel=1e-6, abs=1e-8)


def test_a_model_that_is_its_surrogate_has_fidelity_1():
    rng = np.random.default_rng(0)
    columns = (number("a"), number("b"), category("c", (0.5, 0.5)))
    rows = np.column_stack([rng.normal(size=(200, 2)), rng.integers(0, 2, 200)])
    explanation = explained([1.0, -1.0, 1.0], {0: 2.0, 2: -1.0}, intercept=0.25)
    binned = predictor_of(
        lambda x: (0.25 + 2.0 * (x[:, 0] > 0) - (x[:, 2] == 1))[:, None], "regression"
    )
    straight = predictor_of(
        lambda x: (0.25 + 2.0 * x[:, 0] - (x[:, 2] == 1))[:, None], "regression"
    )
    for model, discretizer in ((binned, "quartile"), (straight, "none")):
        real = RealRows(model, columns, lime_settings(discretizer=discretizer), rows)
        (surrogate,) = real.judged(explanation).surrogates
        assert surrogate.fidelity_rows == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("scale", [1e-300, 1e-9, 1.0, 1e9, 1e300])
def test_a_regression_of_any_scale(scale):
    rng = np.random.default_rng(0)
    columns, rows = (number("a"), number("b")), rng.normal(size=(100, 2))
    model = predictor_of(lambda x: scale * x[:, :1], "regression")
    explanation = explained([1.0, -1.0], {0: 1.5 * scale, 1: 0.1 * scale}, -0.8 * scale)
    (surrogate,) = RealRows(model, columns, lime_settings(), rows).judged(explanation).surrogates
    z, first = brute_z(columns, True, [1.0, -1.0], rows)
    weights = brute_weights(z, first, lime_settings())
    expected = r2_score(rows[:, 0], z @ [1.5, 0.1] - 0.8, sample_weight=weights)
    assert surrogate.fidelity_rows == pytest.approx(expected)


def test_a_constant_model_has_no_fidelity():
    rows = np.random.default_rng(0).normal(size=(100, 2))
    model = predictor_of(lambda x: np.full((len(x), 1), 0.1), "regression")
    real = RealRows(model, (number("a"), number("b")), lime_settings(), rows)
    assert real.judged(explained([1.0, 1.0], {0: 0.0})).surrogates[0].fidelity_rows is None


@pytest.mark.parametrize("discretizer", ["quartile", "none"])
def test_few_rows_that_carry_weight_have_none_either(discretizer):
    rows = np.random.default_rng(0).normal(size=(300, 2))
    columns, model = (number("a"), number("b")), predictor_of(lambda x: x[:, :1], "regression")
    explanation = explained([1.0, 1.0], {0: 1.0})
    few = RealRows(model, columns, lime_settings(discretizer=discretizer), rows[:9])
    assert few.judged(explanation).surrogates[0].fidelity_rows is None
    far = explained([50.0, 50.0], {0: 1.0})  # one row next to it, the others far away
    near = np.vstack([rows, [50.0, 49.9]])
    real = RealRows(model, columns, lime_settings(discretizer="none"), near)
    assert real.judged(far).surrogates[0].fidelity_rows is None


def test_rows_beyond_the_kernel_s_reach_decide_nothing():
    """All rows of the cell are answered alike; the others weigh 1e-22."""
    rows = np.random.default_rng(0).normal(size=(300, 1))
    model = predictor_of(lambda x: (x > 0).astype(float), "regression")
    real = RealRows(model, (number("a"),), lime_settings(kernel_width=0.1), rows)
    assert real.judged(explained([1.0], {0: 1.0}, 0.1)).surrogates[0].fidelity_rows is None


def test_the_cell_counts_other_rows_and_the_range_has_the_row_itself():
    columns = (number("a"), category("c", (0.5, 0.5)))
    rows = np.array([[1.0, 0.0], [2.0, 0.0], [2.0, 0.0], [3.0, 1.0], [-1.0, 0.0], [np.nan, 0.0]])
    outputs = np.array([[0.3], [0.6], [0.6], [0.9], [0.0], [1.0]])
    real = RealRows(predictor_of(None, "regression"), columns, lime_settings(), rows, outputs)

    def cell(payload, prediction):
        explanation = explained(payload, {0: 1.0}, prediction=prediction)
        return real.judged(explanation).surrogates[0].cell

    assert cell([2.0, 0.0], 0.6) == Cell(2, 0.3, 0.6)  # one of two equal rows is itself
    assert cell([9.0, 0.0], 0.1) == Cell(3, 0.1, 0.6)  # no row of the table
    assert cell([np.nan, 0.0], 1.0) == Cell(0, 1.0, 1.0)  # itself alone
    assert cell([2.0, 7.0], 0.5) == Cell(0, 0.5, 0.5)  # a category that no row has
    assert real.calls == 0


def counting(refuses=lambda batch: False, error=PredictError):
    """A model that refuses some batches, and the sizes of those that it was asked for."""
    sizes = []

    def predict_fn(batch):
        sizes.append(len(batch))
        if refuses(batch):
            raise error("refused")
        return batch[:, :1].copy()

    return predictor_of(predict_fn, "regression"), sizes


def test_rows_are_predicted_once_in_one_go_and_not_before_they_are_needed():
    model, sizes = counting()
    rows = np.random.default_rng(0).normal(size=(700, 2))
    real = RealRows(model, (number("a"), number("b")), lime_settings(), rows)
    assert (real.calls, sizes) == (0, [])
    for row in rows[:20]:
        real.judged(explained(row, {0: 1.0}))
    assert (real.calls, sizes) == (700, [700])


@pytest.mark.parametrize("error", [PredictError, InputError])
def test_rows_that_the_model_refuses_are_left_out(error):
    rows = np.random.default_rng(0).normal(size=(200, 2))
    rows[[3, 50, 51, 199], 1] = [7.0, 8.0, np.nan, np.nan]
    bad = ~(rows[:, 1] < 5)
    model, _ = counting(lambda batch: not (batch[:, 1] < 5).all(), error)
    columns = (number("a"), number("b"))
    found = RealRows(model, columns, lime_settings(), rows).judged(explained(rows[0], {0: 1.0}))
    clean, _ = counting()
    wanted = RealRows(clean, columns, lime_settings(), rows[~bad])
    assert found.real_rows == 196
    assert found.surrogates == wanted.judged(explained(rows[0], {0: 1.0})).surrogates


def test_a_model_that_takes_nothing_more_is_soon_left_alone():
    model, sizes = counting(lambda batch: True)
    rows = np.random.default_rng(0).normal(size=(1000, 2))
    explanation = explained(rows[0], {0: 1.0})
    real = RealRows(model, (number("a"), number("b")), lime_settings(), rows)
    assert real.judged(explanation) == replace(explanation, real_rows=0)
    assert len(sizes) <= 64


# How local it is


def brute_shared(shares, asked):
    """E~ of the number of shared bins: all 2^d patterns, their probabilities and weights."""
    z = np.array(list(itertools.product([0.0, 1.0], repeat=len(shares))))
    chances = np.prod(np.where(z == 1, shares, 1 - np.array(shares)), axis=1)
    weights = chances * brute_weights(z, np.ones(len(shares)), asked)
    return weights @ z.sum(axis=1) / weights.sum()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("width", [0.3, 1.0, 2.0, 100.0])
def test_shared_bins_by_enumeration(metric, width):
    shares = [0.5, 0.2, 1.0, 0.9, 0.001, 0.0, 0.35]
    columns = [
        category(str(j), (share, 1.0 - share) if share else (0.0, 1.0))
        for j, share in enumerate(shares)
    ]
    columns[5] = category("5", (1.0,))
    payload = np.array([0.0, 0, 0, 0, 0, 4, 0])  # in column 5 a category that never occurs
    asked = lime_settings(kernel_width=width, distance_metric=metric)
    found = Nearness(columns, asked).of(payload)
    assert found.shared == pytest.approx(brute_shared(shares, asked), rel=1e-9)
    assert (found.of, found.toward_mean) == (7, None)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("width", [1e-200, 1e-6, 1e200])
def test_any_width_in_many_columns(metric, width):
    columns = [number(str(j), shares=(0.25, 0.75)) for j in range(3000)]
    asked = lime_settings(kernel_width=width, distance_metric=metric)
    found = Nearness(columns, asked).of(np.full(3000, -1.0))
    assert found == Locality(pytest.approx(3000 if width < 1 else 750), 3000)


def background(discretizer, n=30):
    frame = CANCER.data.iloc[:, :n]
    table = Table("train.csv", "0" * 64, frame.astype(object), untyped=False)
    return frame.to_numpy(), background_from_table(table, list(frame), discretizer).columns


def test_the_figures_of_method_7():
    rows, columns = background("quartile")
    width = 0.75 * np.sqrt(30)
    found = Nearness(columns, lime_settings(kernel_width=width)).of(rows[100])
    assert (round(found.shared, 1), found.of) == (7.7, 30)
    rows, columns = background("none")
    asked = lime_settings(kernel_width=width, discretizer="none")
    found = Nearness(columns, asked).of(rows[100])
    assert (found.shared, found.of) == (0.0, 0)
    assert round(found.toward_mean, 2) == 0.94
    around = replace(asked, sample_around_instance=True)
    assert Nearness(columns, around).of(rows[100]) == Locality(0.0, 0)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("discretizer", ["quartile", "none"])
def test_the_weighted_draws_of_lime_lie_there(discretizer, metric):
    rows, columns = background(discretizer, 5)
    columns = (*columns, category("c", (0.7, 0.2, 0.1)))
    payload, n = np.append(rows[100], 1.0), 60_000
    asked = lime_settings(kernel_width=1.0, discretizer=discretizer, distance_metric=metric)
    rng, space = np.random.RandomState(0), TabularSpace(columns)
    drawn = (draw_bins if discretizer == "quartile" else draw_normals)(rng, space, n).rows
    drawn[0] = payload
    binned = discretizer == "quartile"
    z, first = brute_z(columns, binned, payload, drawn)
    weights = brute_weights(z, first, asked)
    kept = np.arange(6) if binned else [5]
    shared = z[:, kept].sum(axis=1)
    noise = 5 * shared.std() / np.sqrt(weights.sum() ** 2 / (weights @ weights))
    around = Neighborhood(drawn, drawn, payload, lambda x: x, lambda: (z.T, weights))
    found = Nearness(columns, asked).of(payload, around)
    assert found.of == len(kept)
    assert found.shared == pytest.approx(np.average(shared, weights=weights), abs=noise)
    if binned:
        assert found.toward_mean is None
        return
    away = np.average(z[:, :5], axis=0, weights=weights) - first[:5]
    share = -away @ first[:5] / (first[:5] @ first[:5])
    assert found.toward_mean == pytest.approx(share, abs=0.02)


def test_without_draws_there_is_no_locality_by_another_metric():
    rows, columns = background("none", 3)
    asked = lime_settings(discretizer="none", distance_metric="cosine")
    assert Nearness(columns, asked).of(rows[0]) is None


def test_only_categories_have_no_way_to_a_mean():
    asked = lime_settings(discretizer="none", kernel_width=2.0)
    found = Nearness((category("c", (0.25, 0.75)),), asked).of(np.zeros(1))
    tilt = np.exp(-1 / 8)
    assert found == Locality(pytest.approx(0.25 / (0.25 + 0.75 * tilt)), 1)
