"""Tables: the engine `limecli` gives lime's numbers, whatever the data, the model and the settings.

lime's own classes are the oracle, used as a careful user would: on the training data with integer
codes, a fresh explainer for every row and label.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from lime.lime_tabular import LimeTabularExplainer
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from limecli.types import LimeSettings, Skipped
from tests.explainers.strategies import (
    CLASSIFIERS,
    WITH_GAPS,
    Expected,
    TableCase,
    assert_same,
    explain,
    run_lime,
    searching,
    tables,
    wanted_labels,
)


def fresh_lime(case, row, label):
    """One row and label of a case by lime's own class."""
    asked = case.settings
    explainer = LimeTabularExplainer(
        case.codes,
        mode=case.task,
        training_labels=case.target if asked.discretizer == "entropy" else None,
        categorical_features=list(case.categories),
        kernel_width=asked.kernel_width,
        feature_selection=asked.feature_selection,
        discretize_continuous=asked.discretizer != "none",
        discretizer="quartile" if asked.discretizer == "none" else asked.discretizer,
        sample_around_instance=bool(asked.sample_around_instance),
        random_state=asked.seed,
    )

    def predict_fn(codes):
        outputs = case.predict_fn(codes)
        return outputs[:, 0] if case.task == "regression" else outputs

    return run_lime(
        explainer,
        row,
        predict_fn,
        label,
        num_features=asked.num_features,
        num_samples=asked.num_samples,
        distance_metric=asked.distance_metric,
    )


def assert_equals_lime(case, engine):
    found = explain(engine, case.predictor, case.instances, case.settings, case.background)
    assert len(found) == len(case.rows)
    for explanation, row in zip(found, case.explained, strict=True):
        assert not isinstance(explanation, Skipped), explanation
        first = case.predict_fn(row[None])[0]
        labels = {surrogate.index for surrogate in explanation.surrogates}
        assert labels == wanted_labels(case.settings, first, case.task)
        for surrogate in explanation.surrogates:
            assert_same(surrogate, fresh_lime(case, row, surrogate.index))


@given(tables())
@searching(20)
def test_the_reference_engine_equals_fresh_lime_explainers(case):
    assert_equals_lime(case, "lime")


@given(tables())
@searching(150)
def test_weights_equal_those_of_fresh_lime_explainers(case):
    assert_equals_lime(case, "limecli")


def test_weights_of_nothing_are_ranked_by_the_last_digit_as_in_lime():
    """Columns that are 0 in the row tie at 0: kernel weights must be lime's to the last digit."""
    kinds = ("rare category", "one category", "rare category", "zero", "rare category", "offset",
             "zero", "offset", "one category")  # fmt: skip
    asked = LimeSettings(
        kind="tabular", num_samples=400, num_features=8, distance_metric="manhattan",
        feature_selection="highest_weights", labels=(1,), discretizer="none",
    )  # fmt: skip
    case = TableCase(kinds, 20, 253, "forest", "classification", 5, 1.0, 0.0, (2,), asked)
    assert_equals_lime(case, "limecli")


@given(tables(discretizers=("quartile", "decile"), rows=4))
@searching(40)
def test_rows_explained_together_each_equal_a_fresh_lime_explainer(case):
    assert_equals_lime(case, "limecli")


def theirs(surrogate, size_of):
    """A surrogate of the engine `lime` as the expectation."""
    pairs = tuple((part.index, part.weight) for part in surrogate.attributions)
    r2 = surrogate.r2_fit
    return Expected(surrogate.intercept, pairs, r2, surrogate.local_prediction, *size_of)


def compared_with_the_reference(case):
    """(ours, theirs) surrogates of both engines, label by label, with what the model said."""
    seen = []

    def looked_at(codes):
        seen.append(case.predict_fn(codes))
        return seen[-1]

    spied = replace(case.predictor, predict_fn=looked_at)
    for instance in case.instances:
        seen.clear()
        one, other = (
            explain(engine, predictor, [instance], case.settings, case.background)[0]
            for engine, predictor in (("lime", spied), ("limecli", case.predictor))
        )
        assert isinstance(one, Skipped) == isinstance(other, Skipped), (one, other)
        if isinstance(one, Skipped):
            assert one == other
            continue
        outputs = np.concatenate(seen)
        assert [s.index for s in one.surrogates] == [s.index for s in other.surrogates]
        assert [s.index for s in one.prediction] == [s.index for s in other.prediction]
        for a, b in zip(one.surrogates, other.surrogates, strict=True):
            yield b, a, outputs[:, a.index]


def described(surrogate):
    return {part.index: (part.feature, part.condition, part.value) for part in
            surrogate.attributions}  # fmt: skip


def assert_equals_the_reference(case):
    for ours, reference, outputs in compared_with_the_reference(case):
        # Equal weights for every sample: they only serve to tell whether the outputs vary.
        assert_same(ours, theirs(reference, (outputs, np.ones(len(outputs)))))
        assert ours.label == reference.label
        words = described(reference)
        for j, said in described(ours).items():
            assert words.get(j, said) == said


@given(tables())
@searching(60)
def test_both_engines_say_the_same(case):
    assert_equals_the_reference(case)


@given(tables(kinds=WITH_GAPS, classifiers=(*CLASSIFIERS, "boosting")))
@searching(100)
def test_missing_values_are_treated_alike_by_both_engines(case):
    """lime itself takes no missing value in training data: only the reference engine can tell."""
    assert_equals_the_reference(case)


def table_case(kinds, n=100, seed=0, model="linear", task="classification", outputs=2, scale=1.0,
               offset=0.0, rows=(0,), **asked):  # fmt: skip
    asked = {"kind": "tabular", "discretizer": "quartile", "num_samples": 200} | asked
    settings = LimeSettings(**asked)
    return TableCase(
        tuple(kinds), n, seed, model, task, outputs, scale, offset, tuple(rows), settings
    )


@pytest.mark.parametrize("discretizer", ["quartile", "none"])
@pytest.mark.parametrize("k", [5, 10])
def test_a_thousand_features_and_few_samples(k, discretizer):
    kinds = ["normal", "integers", "category", "binary"] * 250
    selection = "auto" if k > 6 else "highest_weights"
    assert_equals_lime(
        table_case(kinds, n=50, num_samples=40, num_features=k, discretizer=discretizer,
                   feature_selection=selection),
        "limecli",
    )  # fmt: skip


@pytest.mark.parametrize("selection", ["forward_selection", "highest_weights", "none"])
def test_more_features_than_samples(selection):
    case = table_case(["normal"] * 40, num_samples=15, num_features=4, feature_selection=selection)
    assert_equals_lime(case, "limecli")


@pytest.mark.parametrize("kind", ["normal", "constant", "tenth", "binary", "category"])
@pytest.mark.parametrize("discretizer", ["quartile", "entropy", "none"])
def test_one_feature(kind, discretizer):
    case = table_case([kind], discretizer=discretizer, num_features=3, model="steps")
    assert_equals_lime(case, "limecli")


@pytest.mark.parametrize("k", [3, 10])
def test_ten_samples(k):
    case = table_case(["normal", "category"] * 5, num_samples=10, num_features=k)
    assert_equals_lime(case, "limecli")


def test_a_thousand_classes():
    case = table_case(["normal"] * 6, outputs=1000, labels=(999, 0, 500), num_features=4)
    assert_equals_lime(case, "limecli")


@pytest.mark.parametrize("scale", [1e-12, 1e12, 1e100])
def test_regressions_of_any_scale(scale):
    kinds = ["normal", "integers", "category", "constant"]
    for k in (2, 10):
        case = table_case(kinds, task="regression", outputs=1, scale=scale, num_features=k)
        assert_equals_lime(case, "limecli")


@pytest.mark.parametrize("width", [1e-6, 0.01, 1e6])
def test_kernels_that_see_one_sample_or_all_alike(width):
    case = table_case(["normal"] * 5, kernel_width=width, num_features=3)
    assert_equals_lime(case, "limecli")


@pytest.mark.parametrize("k", [3, 8])
def test_columns_that_never_vary(k):
    kinds = ["constant", "zero", "tenth", "one category", "normal", "constant"]
    assert_equals_lime(table_case(kinds, num_features=k), "limecli")


@pytest.mark.parametrize("k", [2, 4, 8])
def test_duplicate_columns_around_the_instance(k):
    """Undiscretised copies are drawn apart; a copied category of one level is the same column."""
    case = table_case(["normal", "copy", "copy", "one category", "copy"], num_features=k,
                      discretizer="none", sample_around_instance=True)  # fmt: skip
    assert_equals_lime(case, "limecli")


IRIS, CANCER = load_iris(), load_breast_cancer()


@pytest.mark.parametrize("k", [3, 10])
@pytest.mark.parametrize(
    ("data", "model", "rows"),
    [
        (IRIS, RandomForestClassifier(20, random_state=0), (0, 60, 149)),
        (IRIS, make_pipeline(StandardScaler(), LogisticRegression()), (60, 91)),
        (CANCER, HistGradientBoostingClassifier(max_iter=5, random_state=0), (100,)),
        (CANCER, make_pipeline(StandardScaler(), LogisticRegression()), (3, 100)),
    ],
)
def test_real_models(data, model, rows, k):
    assert_equals_lime(_RealCase(data, model, rows, k), "limecli")


class _RealCase(TableCase):
    """A scikit-learn data set in place of columns drawn by kind."""

    def __init__(self, data, model, rows, k):
        classes = len(data.target_names)
        asked = LimeSettings(
            kind="tabular", num_features=k, num_samples=600, discretizer="quartile"
        )
        super().__init__(("normal",) * data.data.shape[1], len(data.data), 0, "real",
                         "classification", classes, 1.0, 0.0, rows, asked)  # fmt: skip
        fitted = model.fit(data.data, data.target)
        names = [f"c{j}" for j in range(data.data.shape[1])]
        frame = pd.DataFrame(data.data, columns=names).astype(object)
        self.__dict__.update(frame=frame, predict_fn=fitted.predict_proba,
                             target=[str(t) for t in data.target])  # fmt: skip
