"""`--output margin`: the raw additive score, as each library computes it itself."""

from __future__ import annotations

import functools
import json
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    AdaBoostClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    RidgeClassifier,
    SGDClassifier,
    TweedieRegressor,
)
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from limecli.errors import PredictError, UsageError
from limecli.models.detect import load_model
from limecli.models.interface import LoadOptions

IRIS = load_iris(as_frame=True)
CANCER = load_breast_cancer(as_frame=True)
DIABETES = load_diabetes(as_frame=True)
TWO = CANCER.data.iloc[:, :6], CANCER.target
THREE = IRIS.data, IRIS.target_names[IRIS.target]
COUNTS = DIABETES.data, np.rint(DIABETES.target / 20).astype(int)
LIBRARIES = ("xgboost", "lightgbm", "catboost")


def both_ways(score):
    """One log-odds a row as two columns, the first class's and the second's."""
    return np.column_stack([-score, score]) if np.ndim(score) == 1 else np.asarray(score)


def pickled(model, folder):
    path = folder / "model.pkl"
    path.write_bytes(pickle.dumps(model))
    return path


def native(model, library, folder):
    suffix = {"xgboost": "ubj", "lightgbm": "txt", "catboost": "cbm"}[library]
    path = folder / f"model.{suffix}"
    (model.booster_ if library == "lightgbm" else model).save_model(str(path))
    return path


def margin(path, rows, kind="tabular", **options):
    """`float[n, n_outputs]`: what limecli makes of a model's file."""
    options = LoadOptions(kind=kind, output="margin", **options)
    return load_model(str(path), options).predict_fn(rows)


@functools.cache
def boosted(library, data, **options):
    """A classifier of a boosting library (of counts: a regression), fitted on one data set."""
    module = pytest.importorskip(library)
    name = "Regressor" if data == "counts" else "Classifier"
    small = {
        "xgboost": (f"XGB{name}", {"n_estimators": 6, "n_jobs": 1}),
        "lightgbm": (f"LGBM{name}", {"n_estimators": 6, "n_jobs": 1, "verbose": -1}),
        "catboost": (
            f"CatBoost{name}",
            {"iterations": 6, "verbose": 0, "allow_writing_files": False, "thread_count": 1},
        ),
    }[library]
    x, y = {"two": TWO, "three": (IRIS.data, IRIS.target), "counts": COUNTS}[data]
    return getattr(module, small[0])(**small[1], **options).fit(x, y)


def own_margin(model, library, rows):
    """What the library itself calls the raw score."""
    if library == "xgboost":
        return model.predict(rows, output_margin=True)
    if library == "lightgbm":
        return model.predict(rows, raw_score=True)
    return model.predict(rows, prediction_type="RawFormulaVal")


def softmax(scores):
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


SCORED = {
    "gradient boosting": GradientBoostingClassifier(n_estimators=5, random_state=0),
    "histogram boosting": HistGradientBoostingClassifier(max_iter=5, random_state=0),
    "logistic": LogisticRegression(max_iter=5000),
    "linear svm": LinearSVC(max_iter=5000),
    "ridge": RidgeClassifier(),
    "sgd": SGDClassifier(random_state=0),
    "discriminant": LinearDiscriminantAnalysis(),
}


@pytest.mark.parametrize("data", [TWO, THREE], ids=["two classes", "three classes"])
@pytest.mark.parametrize("name", SCORED)
def test_scikit_learns_decision_functions_of_boosting_and_linear_classifiers(tmp_path, name, data):
    x, y = data
    model = make_pipeline(StandardScaler(), SCORED[name]).fit(x, y)
    expected = both_ways(model.decision_function(x))
    found = margin(pickled(model, tmp_path), x)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(model.classes_[found.argmax(axis=1)], model.predict(x))


def wrapped(name, inner, x, y):
    """One model inside what users put around it."""
    search = {"cv": 2, "scoring": "accuracy"}
    if name == "search over a pipeline":
        pipeline = Pipeline([("scale", StandardScaler()), ("none", "passthrough"), ("m", inner)])
        return GridSearchCV(pipeline, {"scale__with_mean": [True]}, **search).fit(x, y)
    if name == "pipeline with a search":
        return make_pipeline(StandardScaler(), GridSearchCV(inner, {}, **search)).fit(x, y)
    if name == "pipeline of pipelines":
        return make_pipeline(StandardScaler(), make_pipeline(StandardScaler(), inner)).fit(x, y)
    if name == "frozen":
        frozen = pytest.importorskip("sklearn.frozen")
        return frozen.FrozenEstimator(make_pipeline(StandardScaler(), inner).fit(x, y))
    pipeline = make_pipeline(StandardScaler(), inner)
    return FixedThresholdClassifier(pipeline, threshold=0.2).fit(x, y)


WRAPPED = ("search over a pipeline", "pipeline with a search", "pipeline of pipelines", "frozen",
           "threshold")  # fmt: skip


@pytest.mark.parametrize("library", ["sklearn", *LIBRARIES])
@pytest.mark.parametrize("name", WRAPPED)
def test_through_pipelines_searches_and_frozen_models(tmp_path, name, library):
    x, y = TWO
    inner = LogisticRegression() if library == "sklearn" else boosted(library, "two")
    model = wrapped(name, inner, x, y)
    high = model.predict_proba(x)[:, 1]
    expected = both_ways(np.log(high / (1 - high)))
    found = margin(pickled(model, tmp_path), x)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("saved", ["pickle", "native"])
@pytest.mark.parametrize("data", ["two", "three"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_boosters_from_pickles_and_their_own_files(tmp_path, library, data, saved):
    model = boosted(library, data)
    x = TWO[0] if data == "two" else IRIS.data
    path = pickled(model, tmp_path) if saved == "pickle" else native(model, library, tmp_path)
    found = margin(path, x)
    expected = both_ways(own_margin(model, library, x))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    # log-odds: their softmax (of one score, half of its two columns) are the probabilities
    scores = found / 2 if data == "two" else found
    np.testing.assert_allclose(softmax(scores), model.predict_proba(x), atol=1e-6)


@pytest.mark.parametrize("saved", ["pickle", "native"])
@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
@pytest.mark.filterwarnings("ignore:The argument 'eval_set' is deprecated")
def test_only_the_rounds_before_an_early_stop_count(tmp_path, library, saved):
    module = pytest.importorskip(library)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 3)), rng.integers(0, 2, 300)  # nothing to learn: stops at once
    if library == "xgboost":
        model = module.XGBClassifier(n_estimators=30, early_stopping_rounds=2, n_jobs=1)
        model.fit(x[:200], y[:200], eval_set=[(x[200:], y[200:])], verbose=False)
        assert model.best_iteration < model.get_booster().num_boosted_rounds() - 1
    else:
        model = module.LGBMClassifier(n_estimators=30, n_jobs=1, verbose=-1)
        model.fit(x[:200], y[:200], eval_set=[(x[200:], y[200:])],
                  callbacks=[module.early_stopping(2, verbose=False)])  # fmt: skip
    path = pickled(model, tmp_path) if saved == "pickle" else native(model, library, tmp_path)
    expected = both_ways(own_margin(model, library, x))
    np.testing.assert_allclose(margin(path, pd.DataFrame(x)), expected, atol=1e-6)


POISSON = {
    "xgboost": {"objective": "count:poisson"},
    "lightgbm": {"objective": "poisson"},
    "catboost": {"loss_function": "Poisson"},
}


@pytest.mark.parametrize("saved", ["pickle", "native"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_regression_of_counts_has_the_logarithm_as_its_margin(tmp_path, library, saved):
    x, _ = COUNTS
    model = boosted(library, "counts", **POISSON[library])
    path = pickled(model, tmp_path) if saved == "pickle" else native(model, library, tmp_path)
    np.testing.assert_allclose(margin(path, x)[:, 0], np.log(model.predict(x)), atol=1e-5)


@pytest.mark.parametrize(
    "model",
    [
        HistGradientBoostingRegressor(loss="poisson", max_iter=5),
        PoissonRegressor(),
        TweedieRegressor(power=1.5, link="log"),
    ],
)
def test_so_have_scikit_learns_own(tmp_path, model):
    x, y = COUNTS
    model = make_pipeline(StandardScaler(), model).fit(x, y)
    found = margin(pickled(model, tmp_path), x)[:, 0]
    np.testing.assert_allclose(found, np.log(model.predict(x)), rtol=1e-12)


@pytest.mark.parametrize(
    "model",
    [LinearRegression(), RandomForestRegressor(3), HistGradientBoostingRegressor(max_iter=3),
     TweedieRegressor(power=0)],
)  # fmt: skip
def test_any_other_regression_has_one_output(tmp_path, model):
    with pytest.raises(UsageError, match="one output"):
        margin(pickled(model.fit(*COUNTS), tmp_path), COUNTS[0])


@pytest.mark.parametrize("saved", ["pickle", "native"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_of_the_libraries_too(tmp_path, library, saved):
    model = boosted(library, "counts")
    path = pickled(model, tmp_path) if saved == "pickle" else native(model, library, tmp_path)
    with pytest.raises(UsageError, match="one output"):
        margin(path, COUNTS[0])


@pytest.mark.parametrize(
    ("model", "hint"),
    [
        (RandomForestClassifier(3), "--output probability"),
        (GaussianNB(), "--output probability"),
        (SVC(), "--output decision"),
        (AdaBoostClassifier(n_estimators=3), "--output decision"),
        (make_pipeline(StandardScaler(), RandomForestClassifier(3)), "--output probability"),
    ],
)
def test_other_classifiers_have_none(tmp_path, model, hint):
    with pytest.raises(PredictError, match="has no margin") as refused:
        margin(pickled(model.fit(*THREE), tmp_path), THREE[0])
    assert refused.value.hint.startswith(hint)


def test_a_booster_asked_for_its_decision_function_tells_of_its_margin(tmp_path):
    path = pickled(boosted("xgboost", "two"), tmp_path)
    with pytest.raises(PredictError, match="no decision_function") as refused:
        load_model(str(path), LoadOptions(kind="tabular", output="decision"))
    assert "--output margin" in refused.value.hint


def test_a_text_model_over_words(tmp_path):
    texts = ["win a prize", "see you at home", "free prize now", "dinner at home"] * 3
    model = make_pipeline(CountVectorizer(), LogisticRegression()).fit(texts, [1, 0, 1, 0] * 3)
    found = margin(pickled(model, tmp_path), texts, kind="text")
    np.testing.assert_array_equal(found, both_ways(model.decision_function(texts)))


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "cancer.csv"
    TWO[0].to_csv(path, index=False)
    return path


@pytest.fixture
def run(cli, table):
    """Explain row 7 of the table by margin; the result and the report."""

    def run(model, *options):
        args = ("tabular", model, table, "-r", "7", "--output", "margin", "--json", *options)
        result = cli(*args)
        assert result.code == 0, result.stderr
        return json.loads(result.stdout)

    return run


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("saved", ["pickle", "native"])
def test_a_report_holds_margins_and_verify_finds_them_again(
    run, cli, tmp_path, table, library, saved
):
    model = boosted(library, "two")
    path = pickled(model, tmp_path) if saved == "pickle" else native(model, library, tmp_path)
    report = run(path, "-n", "200", "-b", table)
    assert report["model"]["output"] == "margin"
    (explanation,) = report["explanations"]
    values = {score["index"]: score["value"] for score in explanation["prediction"]}
    score = float(own_margin(model, library, TWO[0][7:8])[0])
    assert values == {0: pytest.approx(-score, abs=1e-5), 1: pytest.approx(score, abs=1e-5)}
    (label,) = explanation["labels"]
    assert label["index"] == int(score > 0)
    assert label["model_prediction"] == values[label["index"]]
    (tmp_path / "report.json").write_text(json.dumps(report))
    verified = cli("verify", tmp_path / "report.json")
    assert verified.code == 0, verified.stderr


def test_on_its_margin_a_linear_model_is_its_own_surrogate(run, tmp_path, table):
    x, y = TWO
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)
    joblib.dump(model, tmp_path / "model.pkl")
    report = run(tmp_path / "model.pkl", "--discretizer", "none", "-b", table, "--sampler", "lime")
    ((label,),) = [item["labels"] for item in report["explanations"]]
    sign = 1 if label["index"] == 1 else -1
    found = {item["feature"]: item["weight"] for item in label["attributions"]}
    expected = dict(zip(x, sign * model[-1].coef_[0], strict=True))
    assert found == pytest.approx(expected, rel=2e-3, abs=1e-4)
    assert label["r2_fit"] > 0.9999


def test_a_forest_exits_5_and_a_regression_2(fails, tmp_path, table):
    joblib.dump(RandomForestClassifier(3).fit(*TWO), tmp_path / "forest.pkl")
    joblib.dump(LinearRegression().fit(*TWO), tmp_path / "line.pkl")
    options = (table, "-r", "7", "--output", "margin")
    assert "--output probability" in fails(5, "tabular", tmp_path / "forest.pkl", *options).stderr
    assert "one output" in fails(2, "tabular", tmp_path / "line.pkl", *options).stderr


def test_code_and_skops_files(run, fails, tmp_path, table, monkeypatch):
    (tmp_path / "own.py").write_text(
        "import numpy as np\ndef predict(frame):\n    return np.full((len(frame), 2), 0.5)\n"
    )
    monkeypatch.chdir(tmp_path)
    told = fails(5, "tabular", "own:predict", table, "-r", "7", "--output", "margin")
    assert "has no margin" in told.stderr
    skops = pytest.importorskip("skops.io")
    model = make_pipeline(StandardScaler(), GradientBoostingClassifier(n_estimators=3)).fit(*TWO)
    skops.dump(model, tmp_path / "model.skops")
    (explanation,) = run(tmp_path / "model.skops", "-n", "100", "-b", table)["explanations"]
    score = abs(float(model.decision_function(TWO[0][7:8])[0]))
    assert explanation["prediction"][0]["value"] == pytest.approx(score)
