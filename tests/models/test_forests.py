"""A forest's trees asked one by one give its own answers, to the last bit."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

from limecli.models.detect import load_model
from limecli.models.forests import quick_forest
from limecli.models.interface import LoadOptions

FORESTS = [RandomForestClassifier, ExtraTreesClassifier, RandomForestRegressor, ExtraTreesRegressor]


def table(count, seed=0):
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame(rng.normal(size=(count, 4)) * [1, 1e-3, 1e6, 1], columns=list("abcd"))
    return rows, np.digitize(rows["a"] + rng.normal(size=count), [-0.5, 0.5])


@pytest.mark.parametrize("forest", FORESTS)
@pytest.mark.parametrize("piped", [False, True])
def test_answers_are_those_of_the_forest(tmp_path, forest, piped):
    rows, labels = table(300)
    model = forest(30, random_state=0, n_jobs=2)
    model = make_pipeline(SimpleImputer().set_output(transform="pandas"), model) if piped else model
    model.fit(rows, labels)
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(model))
    predict_fn = load_model(str(tmp_path / "m.pkl"), LoadOptions("tabular")).predict_fn
    others, _ = table(500, 1)
    own = model.predict_proba if hasattr(model, "predict_proba") else model.predict
    if piped:
        others.loc[::7, "b"] = np.nan
    for part in (others, others[:1], others[100:164]):
        found = predict_fn(part)
        assert found.shape[0] == len(part)
        assert np.array_equal(found.squeeze(), np.asarray(own(part)).squeeze())


def test_a_forest_that_answers_otherwise_is_asked_itself():
    rows, labels = table(100)
    forest = RandomForestClassifier(5, random_state=0).fit(rows, labels)
    asked = []

    def other(batch):
        asked.append(len(batch))
        return 1.0 - forest.predict_proba(batch)

    ask = quick_forest([], forest, other)
    assert np.array_equal(ask(rows), 1.0 - forest.predict_proba(rows))
    assert np.array_equal(ask(rows[:3]), 1.0 - forest.predict_proba(rows[:3]))
    assert asked == [100, 3]


def test_once_it_is_known_the_forest_is_not_asked():
    rows, labels = table(100)
    forest = RandomForestClassifier(5, random_state=0).fit(rows, labels)
    asked = []

    def own(batch):
        asked.append(len(batch))
        return forest.predict_proba(batch)

    ask = quick_forest([], forest, own)
    _ = ask(rows)
    assert np.array_equal(ask(rows[:3]), forest.predict_proba(rows[:3]))
    assert asked == [100]


def test_forests_of_several_outputs_and_other_models_are_left_alone():
    rows, labels = table(100)
    several = RandomForestClassifier(5, random_state=0).fit(rows, np.stack([labels, labels], 1))
    assert quick_forest([], several, several.predict_proba) == several.predict_proba
    assert quick_forest([], object(), several.predict_proba) == several.predict_proba
