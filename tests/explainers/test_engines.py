"""What an engine promises besides its numbers: rows apart, batches bounded, nothing asked twice."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from limecli.errors import PredictError
from limecli.inputs.background import background_from_table
from limecli.inputs.table import Table
from limecli.types import Instance, LimeSettings, Skipped
from tests.explainers.strategies import (
    build,
    explain,
    picture_model,
    predictor_of,
    text_model,
)
from tests.explainers.test_engines_tabular import assert_equals_lime, table_case

ENGINES = ("lime", "limecli")
TABULAR = LimeSettings(kind="tabular", num_samples=300, discretizer="quartile", num_features=5)
IMAGE = LimeSettings(kind="image", num_samples=70, num_features=None, distance_metric="cosine",
                     segmentation="auto")  # fmt: skip
TEXT = LimeSettings(kind="text", num_samples=200, distance_metric="cosine", bow=True,
                    char_level=False, split_expression=r"\W+")  # fmt: skip
IRIS, CANCER = load_iris(), load_breast_cancer()
WORDS = "win a free prize now or win nothing at all, said the naïve man, and went"
MODELS = {
    "forest": RandomForestClassifier(10, random_state=0),
    "boosting": HistGradientBoostingClassifier(max_iter=10, random_state=0),
    "logistic": make_pipeline(StandardScaler(), LogisticRegression()),
}


def background_of(data, discretizer="quartile"):
    import pandas as pd

    frame = pd.DataFrame(data, columns=[f"c{j}" for j in range(data.shape[1])]).astype(object)
    table = Table("train.csv", "0" * 64, frame, untyped=False)
    return background_from_table(table, list(frame), discretizer)


def row(data, i):
    payload = np.array(data[i], dtype=float)
    return Instance(str(i), i, "tabular", payload, "0" * 64, "rows.csv", tuple(payload.tolist()))


def picture(height=31, width=27, seed=0):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    y, x = np.mgrid[:height, :width]
    return Instance(str(seed), seed, "image", pixels, "0" * 64, None, (), y // 8 * 4 + x // 8)


def text(content, index=0):
    return Instance(str(index), index, "text", content, "0" * 64)


def picture_fn(instance):
    return picture_model("linear", instance.payload.shape, 3, np.random.default_rng(0))


class Spy:
    """A model that remembers what it was asked."""

    def __init__(self, predict_fn):
        self.predict_fn, self.batches = predict_fn, []

    def __call__(self, batch):
        self.batches.append(batch if isinstance(batch, list) else np.array(batch))
        return self.predict_fn(batch)

    @property
    def seen(self):
        return [item if isinstance(item, str) else item.tobytes()
                for batch in self.batches for item in batch]  # fmt: skip

    @property
    def sizes(self):
        return [len(batch) for batch in self.batches]


def numbers(explanation):
    """All that an explanation says; model calls and times are the run's."""
    assert not isinstance(explanation, Skipped), explanation
    return explanation.surrogates, explanation.prediction


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", list(MODELS))
@pytest.mark.parametrize("discretizer", ["quartile", "none"])
def test_rows_explained_together_equal_each_row_alone(engine, name, discretizer):
    """Exactly: not one bit depends on the rows beside it."""
    model = MODELS[name].fit(CANCER.data, CANCER.target)
    predictor = predictor_of(model.predict_proba)
    background = background_of(CANCER.data, discretizer)
    asked = replace(TABULAR, discretizer=discretizer, num_features=8, top_labels=2)
    instances = [
        # What the model says of the row alone, as the command has asked before it explains.
        replace(row(CANCER.data, i), outputs=model.predict_proba(CANCER.data[i : i + 1])[0])
        for i in (3, 100, 3, 7, 77, 200, 100)
    ]
    together = explain(engine, predictor, instances, asked, background)
    assert [item.instance for item in together] == instances
    for item, instance in zip(together, instances, strict=True):
        (alone,) = explain(engine, predictor, [instance], asked, background)
        assert numbers(alone) == numbers(item)


@pytest.mark.parametrize("engine", ENGINES)
def test_pictures_and_texts_explained_together_equal_each_alone(engine):
    shown = [picture(seed=seed) for seed in (0, 1, 0)]
    predictor = predictor_of(picture_fn(shown[0]), outputs=3)
    for item, instance in zip(explain(engine, predictor, shown, IMAGE), shown, strict=True):
        assert numbers(explain(engine, predictor, [instance], IMAGE)[0]) == numbers(item)
    said = [text(WORDS, 0), text("now or never", 1), text(WORDS, 2)]
    predictor = predictor_of(text_model("places", 2))
    for item, instance in zip(explain(engine, predictor, said, TEXT), said, strict=True):
        assert numbers(explain(engine, predictor, [instance], TEXT)[0]) == numbers(item)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("k", [3, 10])
def test_rows_of_equal_bins_and_equal_prediction_have_equal_weights(engine, k):
    data = np.arange(400.0).reshape(100, 4)
    predictor = predictor_of(lambda x: np.where(x[:, [0]] > 200, [0.9, 0.1], [0.3, 0.7]))
    rows = [row([[10.0, 11.0, 12.0, 13.0], [20.0, 31.0, 42.0, 53.0]], i) for i in (0, 1)]
    one, other = explain(
        engine, predictor, rows, replace(TABULAR, num_features=k), background_of(data)
    )
    a, b = one.surrogates[0], other.surrogates[0]
    assert [(p.index, p.weight) for p in a.attributions] == [
        (p.index, p.weight) for p in b.attributions
    ]
    assert (a.intercept, a.r2_fit) == (b.intercept, b.r2_fit)


@pytest.mark.parametrize("k", [3, 10])
def test_rows_of_equal_bins_and_different_predictions_each_equal_lime(k):
    """Sample 0 is the row itself, whose prediction is its own: iris rows 91 and 149 share bins."""
    from tests.explainers.test_engines_tabular import _RealCase

    model = RandomForestClassifier(20, random_state=0)
    assert_equals_lime(_RealCase(IRIS, model, (149, 91, 149), k), "limecli")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("size", [1, 7, 300, 10_000])
def test_batches_are_bounded_and_change_nothing(engine, size):
    model = MODELS["forest"].fit(IRIS.data, IRIS.target)
    cases = [
        (model.predict_proba, [row(IRIS.data, i) for i in (3, 60)], TABULAR, 3,
         background_of(IRIS.data)),
        (picture_fn(picture()), [picture()], IMAGE, 3, None),
        (text_model("places", 2), [text(WORDS)], TEXT, 2, None),
    ]  # fmt: skip
    for predict_fn, instances, asked, outputs, background in cases:
        plain, spy = Spy(predict_fn), Spy(predict_fn)
        whole = explain(engine, predictor_of(plain, outputs=outputs), instances, asked, background)
        small = explain(engine, predictor_of(spy, outputs=outputs), instances,
                        replace(asked, batch_size=size), background)  # fmt: skip
        assert [numbers(item) for item in whole] == [numbers(item) for item in small]
        assert max(spy.sizes) <= size


@pytest.mark.parametrize("limit", [1, 40_000, 10**9])
def test_memory_is_bounded_and_changes_nothing(limit):
    """A batch holds as many samples as fit, one at least."""
    model = MODELS["forest"].fit(IRIS.data, IRIS.target)
    cases = [
        (model.predict_proba, [row(IRIS.data, 3)], TABULAR, 3, background_of(IRIS.data)),
        (picture_fn(picture()), [picture()], IMAGE, 3, None),
    ]
    for predict_fn, instances, asked, outputs, background in cases:
        plain, spy = Spy(predict_fn), Spy(predict_fn)
        whole = explain("limecli", predictor_of(plain, outputs=outputs), instances, asked,
                        background)  # fmt: skip
        small = explain("limecli", predictor_of(spy, outputs=outputs), instances,
                        replace(asked, max_memory=limit), background)  # fmt: skip
        assert [numbers(item) for item in whole] == [numbers(item) for item in small]
        one = instances[0].payload.nbytes
        assert max(batch.nbytes for batch in spy.batches) <= max(limit, one)


def test_memory_settles_the_batch_size_that_a_report_records():
    explainer = build("limecli", predictor_of(picture_fn(picture())), IMAGE)
    assert explainer.settings.batch_size is not None


@pytest.mark.parametrize("engine", ENGINES)
def test_no_text_is_predicted_twice(engine):
    spy = Spy(text_model("places", 2))
    (found,) = explain(engine, predictor_of(spy), [text("win a prize")], TEXT)
    assert len(spy.seen) == len(set(spy.seen)) <= 2**3
    assert found.model_calls == len(spy.seen)


def test_the_same_text_twice_costs_nothing_more():
    spy = Spy(text_model("places", 2))
    explain("limecli", predictor_of(spy), [text("win a prize", 0), text("win a prize", 1)], TEXT)
    assert len(set(spy.seen)) <= 2**3
    assert len(spy.seen) <= 2 * 2**3


CHECKS = 64
"""What the check of whether a model is row-wise may ask besides."""


def test_distinct_rows_are_predicted_once():
    case = table_case(["category", "category", "one category"], num_samples=400, num_features=2)
    spy = Spy(case.predict_fn)
    (found,) = explain("limecli", replace(case.predictor, predict_fn=spy), case.instances,
                       case.settings, case.background)  # fmt: skip
    assert len(set(spy.seen)) <= 25
    assert len(spy.seen) <= len(set(spy.seen)) + CHECKS
    assert found.model_calls >= len(set(spy.seen))


def test_many_rows_share_one_neighbourhood():
    model = MODELS["forest"].fit(CANCER.data, CANCER.target)
    spy = Spy(model.predict_proba)
    instances = [row(CANCER.data, i) for i in range(60)]
    explain("limecli", predictor_of(spy), instances, TABULAR, background_of(CANCER.data))
    assert len(spy.seen) <= TABULAR.num_samples + len(instances) + CHECKS


@pytest.mark.parametrize("discretizer", ["quartile", "none"])
def test_progress_and_calls_count_what_the_model_is_asked(discretizer):
    model = MODELS["forest"].fit(IRIS.data, IRIS.target)
    spy, told = Spy(model.predict_proba), []
    asked = replace(TABULAR, discretizer=discretizer)
    explainer = build("limecli", predictor_of(spy, outputs=3), asked,
                      background_of(IRIS.data, discretizer))  # fmt: skip
    explainer = type(explainer)(
        predictor_of(spy, outputs=3), background_of(IRIS.data, discretizer), asked, told.append
    )
    instances = [row(IRIS.data, i) for i in (3, 60, 91)]
    list(explainer.explain(instances))
    assert sum(told) <= explainer.evaluations(len(instances)) + CHECKS
    assert len(spy.seen) <= explainer.evaluations(len(instances)) + CHECKS


def notes_of(predictor, instances, asked, background):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        explainer = build("limecli", predictor, asked, background)
        found = list(explainer.explain(instances))
    own = [note for item in found for note in getattr(item, "notes", ())]
    return found, [*explainer.notes, *own]


def batch_dependent(x):
    high = (x[:, :1] - x[:, :1].mean()) > 0
    return np.where(high, [0.8, 0.2], [0.1, 0.9])


def test_a_row_wise_model_needs_no_note():
    model = MODELS["logistic"].fit(IRIS.data, IRIS.target)
    instances = [row(IRIS.data, i) for i in (3, 60, 91)]
    predictor = predictor_of(model.predict_proba, outputs=3)
    _, notes = notes_of(predictor, instances, TABULAR, background_of(IRIS.data))
    assert notes == []


def test_a_model_that_looks_at_the_batch_gets_a_neighbourhood_a_row_and_a_note():
    instances = [row(IRIS.data, i) for i in (3, 60, 91)]
    predictor = predictor_of(batch_dependent)
    _, notes = notes_of(predictor, instances, TABULAR, background_of(IRIS.data))
    assert len(set(notes)) == 1
    spy = Spy(batch_dependent)
    explain("limecli", predictor_of(spy), instances, TABULAR, background_of(IRIS.data))
    assert len(spy.seen) >= 3 * TABULAR.num_samples


def test_a_model_that_looks_at_the_batch_is_explained_as_lime_does():
    """It sees the samples in one batch, the row first."""
    case = table_case(["normal", "category", "integers"], rows=(0, 5, 9), num_features=2,
                      labels=(1,))  # fmt: skip
    case.__dict__["predict_fn"] = batch_dependent
    assert_equals_lime(case, "limecli")


def test_a_model_that_answers_differently_each_time_gets_a_note():
    rng = np.random.default_rng(0)

    def restless(x):
        p = rng.random((len(x), 1))
        return np.hstack([p, 1 - p])

    instances = [row(IRIS.data, i) for i in (3, 60, 91)]
    found, notes = notes_of(predictor_of(restless), instances, TABULAR, background_of(IRIS.data))
    assert len(set(notes)) == 1
    assert not any(isinstance(item, Skipped) for item in found)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_row_that_the_model_refuses_is_skipped_in_its_place(engine):
    def picky(x):
        if (x[:, 0] == 999.0).any():
            raise PredictError("999 is too much")
        return np.full((len(x), 2), 0.5)

    bad = IRIS.data.copy()
    bad[1, 0] = 999.0
    instances = [row(bad, i) for i in (0, 1, 2)]
    found = explain(engine, predictor_of(picky), instances, TABULAR, background_of(IRIS.data))
    assert [isinstance(item, Skipped) for item in found] == [False, True, False]
    assert found[1].kind == "predict"
    assert found[1].reason == "999 is too much"
    assert (found[1].id, found[1].index) == ("1", 1)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_explained_is_left_as_it_was(engine):
    """Neither the instance nor the model's own answers are written to."""
    shown, kept = picture(), picture()
    predictor = predictor_of(picture_fn(shown), outputs=3)
    (found,) = explain(engine, predictor, [shown], IMAGE)
    assert np.array_equal(shown.payload, kept.payload)
    assert np.array_equal(shown.segments, kept.segments)
    assert found.image is shown.payload
    instance = row(IRIS.data, 3)
    frozen = np.full((1, 3), 1 / 3)
    frozen.flags.writeable = False
    constant = predictor_of(lambda x: np.broadcast_to(frozen, (len(x), 3)), outputs=3)
    (found,) = explain(engine, constant, [instance], TABULAR, background_of(IRIS.data))
    assert np.array_equal(instance.payload, IRIS.data[3])
    assert found.surrogates[0].r2_fit is None


@pytest.mark.parametrize("engine", ENGINES)
def test_no_instances_are_no_work(engine):
    spy = Spy(lambda x: np.full((len(x), 2), 0.5))
    assert explain(engine, predictor_of(spy), [], TABULAR, background_of(IRIS.data)) == []
    assert spy.batches == []


@pytest.mark.parametrize("engine", ENGINES)
def test_the_global_generator_is_left_alone(engine):
    model = MODELS["forest"].fit(IRIS.data, IRIS.target)
    np.random.seed(3)
    explain(engine, predictor_of(model.predict_proba, outputs=3), [row(IRIS.data, 3)], TABULAR,
            background_of(IRIS.data))  # fmt: skip
    drawn = np.random.random()
    np.random.seed(3)
    assert np.random.random() == drawn
