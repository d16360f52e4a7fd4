"""Models inside models load with no flag, though the trees inside have other widths and classes."""

from __future__ import annotations

import io

import joblib
import numpy as np
import pytest
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.multioutput import (
    ClassifierChain,
    MultiOutputClassifier,
    MultiOutputRegressor,
    RegressorChain,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from limecli.models.guard import guarded_load
from limecli.models.interface import ModelFile

X = np.random.default_rng(0).normal(size=(80, 4))
HIGH = X[:, 0] > 0
LABELS = {"words": np.where(HIGH, "yes", "no"), "numbers": 5 * HIGH + 2, "bools": HIGH,
          "three": np.array(["a", "b", "c"])[HIGH.astype(int) + (X[:, 1] > 0)]}  # fmt: skip
CLASSIFIERS = [
    RandomForestClassifier(3),
    DecisionTreeClassifier(max_depth=2),
    GradientBoostingClassifier(n_estimators=2),
    BaggingClassifier(n_estimators=3),
]
REGRESSORS = [
    RandomForestRegressor(3),
    DecisionTreeRegressor(max_depth=2),
    GradientBoostingRegressor(n_estimators=2),
]


def assert_loads(model, target):
    """The joblib file of a model fitted on X is taken, and predicts the same."""
    file = io.BytesIO()
    joblib.dump(model.fit(X, target), file)
    loaded = guarded_load(ModelFile("model.joblib", file.getvalue()))
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


def twice(part):
    return [("a", part), ("b", part)]


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("part", CLASSIFIERS, ids=lambda part: type(part).__name__)
def test_classifiers_of_every_kind_of_tree(part, labels):
    for outer in (
        VotingClassifier(twice(part), voting="soft", weights=[1, 3]),
        VotingClassifier(twice(part), voting="hard"),
        StackingClassifier(twice(part), cv=2),
        StackingClassifier(twice(part), part, cv=2, passthrough=True),
        BaggingClassifier(part, 3, max_features=0.5),
        AdaBoostClassifier(part, n_estimators=2),
        OneVsRestClassifier(part),
        OneVsOneClassifier(part),
        OutputCodeClassifier(part, random_state=0),
    ):
        assert_loads(outer, LABELS[labels])


@pytest.mark.parametrize("part", CLASSIFIERS, ids=lambda part: type(part).__name__)
def test_chains_feed_each_tree_what_those_before_it_said(part):
    targets = np.column_stack([HIGH, X[:, 1] > 0, X[:, 2] > 0])
    assert_loads(ClassifierChain(part), targets)
    assert_loads(MultiOutputClassifier(part), targets)


@pytest.mark.parametrize("part", REGRESSORS, ids=lambda part: type(part).__name__)
def test_regressors_of_every_kind_of_tree(part):
    for outer in (
        VotingRegressor(twice(part), weights=[1, 3]),
        StackingRegressor(twice(part), cv=2),
        BaggingRegressor(part, 3, max_features=0.5),
        AdaBoostRegressor(part, n_estimators=2),
    ):
        assert_loads(outer, X[:, 0])
    assert_loads(RegressorChain(part), X[:, :3])
    assert_loads(MultiOutputRegressor(part), X[:, :3])


def test_ensembles_of_ensembles():
    forests = [("a", RandomForestClassifier(3)), ("b", ExtraTreesClassifier(3))]
    voters = VotingClassifier(forests, voting="soft")
    assert_loads(voters, LABELS["words"])
    assert_loads(VotingClassifier(twice(voters), voting="soft"), LABELS["words"])
    assert_loads(BaggingClassifier(voters, 2, max_features=0.5), LABELS["words"])
    assert_loads(VotingClassifier([*forests, ("c", "drop")]), LABELS["words"])
    assert_loads(IsolationForest(n_estimators=3, max_features=0.5), None)


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("init", [None, "zero", DummyClassifier(strategy="uniform")], ids=str)
def test_boosting_of_two_classes_and_of_three(init, labels):
    model = GradientBoostingClassifier(n_estimators=2, init=init, n_iter_no_change=1)
    assert_loads(model, LABELS[labels])
    assert_loads(make_pipeline(StandardScaler(), model), LABELS[labels])
    assert_loads(VotingClassifier(twice(model), voting="soft"), LABELS[labels])


def test_boosting_of_two_classes_from_a_model_of_the_users_own():
    for options in ({"init": LogisticRegression()}, {"loss": "exponential"}):
        assert_loads(GradientBoostingClassifier(n_estimators=2, **options), HIGH)


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", "quantile"])
@pytest.mark.parametrize("init", [None, "zero", Ridge(), DummyRegressor()], ids=str)
def test_boosting_of_numbers(init, loss):
    model = GradientBoostingRegressor(n_estimators=2, loss=loss, init=init)
    assert_loads(make_pipeline(StandardScaler(), model), X[:, 0])


def test_boosting_that_is_not_fitted_yet():
    file = io.BytesIO()
    joblib.dump(GradientBoostingClassifier(), file)
    guarded_load(ModelFile("model.joblib", file.getvalue()))
