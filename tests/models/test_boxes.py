"""Trees, forests, boosters and linear models as sums over boxes of the table's own columns."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.decomposition import PCA
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.feature_selection import RFE, SelectKBest, VarianceThreshold
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import (
    ElasticNet,
    HuberRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
)
from sklearn.svm import LinearSVC, LinearSVR
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier

from limecli.errors import NotExactError
from limecli.inputs.background import background_from_table
from limecli.inputs.table import Table
from limecli.models.estimator import adapt
from limecli.models.frames import bind_columns
from limecli.models.interface import LoadOptions, ModelFile
from limecli.surrogate.boxes import evaluate, probes

IRIS = load_iris(return_X_y=True, as_frame=True)
CANCER = load_breast_cancer(return_X_y=True, as_frame=True)
DIABETES = load_diabetes(return_X_y=True, as_frame=True)


def flats():
    """Numbers with gaps, ties and a long tail; categories as words and as numbers."""
    rng = np.random.default_rng(0)
    n = 400
    frame = pd.DataFrame(
        {"city": rng.choice(["Bonn", "Jena", "Kiel", "Ulm"], n, p=[0.5, 0.3, 0.15, 0.05]),
         "floor": rng.integers(0, 6, n), "size": rng.normal(60, 20, n).round(1),
         "debt": np.where(rng.random(n) < 0.4, 0.0, rng.lognormal(3, 2, n).round(2)),
         "heating": rng.choice(["gas", "oil", "wood"], n)}
    )  # fmt: skip
    frame.loc[::7, "size"] = np.nan
    frame.loc[::11, "heating"] = np.nan
    label = np.isin(frame["city"], ["Ulm", "Jena"]) ^ (frame["floor"] == 2) | (frame["size"] > 85)
    return frame, (label ^ (frame["debt"] > 60)).astype(int)


FLATS = flats()
WORDS, NUMBERS = ["city", "heating"], ["floor", "size", "debt"]


def background_columns(frame, categorical=()):
    raw = frame.astype(object).where(frame.notna(), None)
    table = Table("train.csv", "", raw, untyped=False)
    return background_from_table(table, list(frame), "quartile", categorical).columns


def bound(model, frame, output="probability", categorical=(), columns=None):
    """The predictor over codes that `limecli tabular` would work with."""
    file = ModelFile("model.pkl", b"")
    predictor = adapt(model, file, LoadOptions(kind="tabular", output=output), "pickle")
    columns = columns or background_columns(frame, categorical)
    return bind_columns(predictor, columns), columns


def draws(columns, n=1000, seed=0):
    """Codes of every category and numbers of every size, missing where the data lack some."""
    rng = np.random.default_rng(seed)
    rows = np.empty((n, len(columns)))
    for j, column in enumerate(columns):
        if column.categories is not None:
            rows[:, j] = rng.integers(0, len(column.categories), n)
            continue
        near = rng.normal(column.mean, column.scale, n)
        rows[:, j] = np.where(rng.random(n) < 0.1, 20 * near, near)
        edges = [*column.bins, *column.mins, *column.maxs, 0.0]
        edges = np.array([edge for edge in edges if np.isfinite(edge)])
        here = rng.random(n) < 0.1
        rows[here, j] = rng.choice(edges, here.sum())
        if column.has_missing:
            rows[rng.random(n) < 0.1, j] = np.nan
    return rows


def hard_rows(boxes, columns):
    """Draws, and draws moved onto the atoms, their float32 neighbors and to what is missing."""
    rows = draws(columns)
    for j, atoms in probes(boxes, len(columns)).items():
        single = atoms[np.isfinite(atoms)].astype(np.float32)
        around = [np.nextafter(single, np.float32(side)) for side in (-np.inf, np.inf)]
        values = np.concatenate([atoms, single, *around])
        if not columns[j].has_missing:
            values = values[~np.isnan(values)]
        extra = draws(columns, len(values), seed=j + 1)
        extra[:, j] = values
        rows = np.concatenate([rows, extra])
    return rows


def check(model, frame, output="probability", categorical=(), tolerance=1e-9):
    """The boxes say what the model says, everywhere."""
    predictor, columns = bound(model, frame, output, categorical)
    boxes = predictor.leaf_boxes()
    rows = hard_rows(boxes, columns)
    expected = predictor.predict_fn(rows)
    size = max(1.0, np.abs(expected).max())
    found = evaluate(boxes, rows)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance * size
    well_formed(boxes)
    return boxes


def well_formed(boxes):
    """What `LeafBoxes` promises."""
    assert (np.diff(boxes.leaf) >= 0).all()
    assert np.array_equal(np.unique(boxes.leaf), np.arange(len(boxes.values)))
    pairs = np.stack([boxes.leaf, boxes.feature[boxes.factor]])
    assert np.unique(pairs, axis=1).shape == pairs.shape
    assert np.array_equal(np.unique(boxes.factor), np.arange(len(boxes.feature)))
    coded = boxes.codes.any(axis=1)
    assert ((boxes.low < boxes.high) | boxes.missing | coded).all()


def refused(model, frame, reason, output="probability", categorical=()):
    predictor, _ = bound(model, frame, output, categorical)
    with pytest.raises(NotExactError, match=reason):
        predictor.leaf_boxes()


PLAIN = [
    DecisionTreeClassifier(max_depth=6), ExtraTreeClassifier(max_depth=5),
    RandomForestClassifier(12, random_state=0),
    RandomForestClassifier(8, class_weight="balanced", random_state=0, criterion="entropy"),
    ExtraTreesClassifier(12, random_state=0, min_samples_leaf=3),
    BaggingClassifier(DecisionTreeClassifier(), 6, max_features=0.5, random_state=0),
    VotingClassifier(
        [("f", RandomForestClassifier(5, random_state=0)), ("t", DecisionTreeClassifier())],
        voting="soft", weights=[1, 3],
    ),
    GridSearchCV(RandomForestClassifier(5, random_state=0), {"max_depth": [2, 4]}, cv=2),
]  # fmt: skip


@pytest.mark.parametrize("data", [IRIS, CANCER], ids=["iris", "cancer"])
@pytest.mark.parametrize("model", PLAIN, ids=lambda model: type(model).__name__)
def test_probabilities_of_trees(model, data):
    check(clone(model).fit(*data), data[0])


@pytest.mark.parametrize("model", [
    DecisionTreeRegressor(max_depth=7), RandomForestRegressor(10, random_state=0),
    RandomForestRegressor(5, criterion="absolute_error", max_depth=4, random_state=0),
    ExtraTreesRegressor(10, random_state=0), GradientBoostingRegressor(n_estimators=30),
    GradientBoostingRegressor(n_estimators=20, loss="huber", init="zero"),
    GradientBoostingRegressor(n_estimators=200, n_iter_no_change=2, loss="quantile"),
    HistGradientBoostingRegressor(max_iter=20, early_stopping=True),
    HistGradientBoostingRegressor(max_iter=20, loss="absolute_error"),
    BaggingRegressor(Ridge(), 4, max_features=0.6),
    VotingRegressor([("l", LinearRegression()), ("g", GradientBoostingRegressor(n_estimators=5))]),
    DummyRegressor(),
], ids=lambda model: type(model).__name__)  # fmt: skip
def test_regressions_by_trees(model):
    check(model.fit(*DIABETES), DIABETES[0])


@pytest.mark.parametrize("data", [IRIS, CANCER], ids=["iris", "cancer"])
@pytest.mark.parametrize("model", [
    GradientBoostingClassifier(n_estimators=10, learning_rate=0.3),
    GradientBoostingClassifier(n_estimators=5, init="zero"),
    HistGradientBoostingClassifier(max_iter=10),
    HistGradientBoostingClassifier(max_iter=60, early_stopping=True, validation_fraction=0.3),
    LogisticRegression(), LinearSVC(), RidgeClassifier(), SGDClassifier(random_state=0),
    BaggingClassifier(LogisticRegression(), 3, random_state=0),
], ids=lambda model: type(model).__name__)  # fmt: skip
def test_margins_of_classifiers(model, data):
    frame = (data[0] - data[0].mean()) / data[0].std()
    output = "decision" if isinstance(model, BaggingClassifier) else "margin"
    check(clone(model).fit(frame, data[1]), frame, output)


@pytest.mark.parametrize("model", [
    LinearRegression(), Ridge(), Lasso(0.1), ElasticNet(), SGDRegressor(max_iter=3, tol=None),
    LinearSVR(),
    HuberRegressor(max_iter=1000), GridSearchCV(Ridge(), {"alpha": [1, 2]}, cv=2),
], ids=lambda model: type(model).__name__)  # fmt: skip
def test_linear_models_are_curves_only(model):
    boxes = check(model.fit(*DIABETES), DIABETES[0])
    assert len(boxes.values) == 0
    assert set(boxes.curves) <= set(range(10))


def test_bare_values_in_place_of_a_frame():
    check(RandomForestClassifier(5).fit(IRIS[0].to_numpy(), IRIS[1]), IRIS[0])


def test_missing_values_and_columns_of_ties():
    frame, label = FLATS[0][NUMBERS], FLATS[1]
    for model in (RandomForestClassifier(10, random_state=0), DecisionTreeClassifier()):
        check(model.fit(frame, label), frame)
        check(model.fit(frame, label), frame, categorical=["floor"])
    model = HistGradientBoostingClassifier(max_iter=20).fit(frame, label)
    check(model, frame, "margin")
    check(model, frame, "margin", categorical=["floor"])


def prepared(*numbers, encoder=None, **options):
    """Numbers through some steps, words through an encoder."""
    encoder = encoder or OneHotEncoder()
    return ColumnTransformer(
        [("n", make_pipeline(*numbers) if numbers else "passthrough", NUMBERS),
         ("w", encoder, WORDS)], **options
    )  # fmt: skip


FRONTS = {
    "plain": prepared(SimpleImputer(add_indicator=True)),
    "scaled": prepared(StandardScaler(), SimpleImputer(strategy="median")),
    "minmax": prepared(SimpleImputer(strategy="most_frequent"), MinMaxScaler(clip=True)),
    "maxabs": prepared(MaxAbsScaler(), SimpleImputer(), sparse_threshold=1.0),
    "robust": prepared(RobustScaler(), VarianceThreshold(), encoder=OrdinalEncoder()),
    "power": prepared(PowerTransformer(), SimpleImputer(), SelectKBest(k=2)),
    "quantile": prepared(QuantileTransformer(n_quantiles=50), SimpleImputer()),
    "normal": prepared(SimpleImputer(), QuantileTransformer(n_quantiles=9,
                                                            output_distribution="normal")),
    "bins": prepared(SimpleImputer(), KBinsDiscretizer(6, encode="ordinal",
                                                       strategy="uniform")),
    "binary": prepared(SimpleImputer(), Binarizer(threshold=3.0)),
    "log": prepared(FunctionTransformer(np.arcsinh), SimpleImputer(), StandardScaler()),
    "falling": prepared(FunctionTransformer(np.negative), SimpleImputer()),
    "union": prepared(FeatureUnion([("a", SimpleImputer()),
                                    ("b", make_pipeline(StandardScaler(), SimpleImputer()))])),
    "target": prepared(SimpleImputer(), encoder=TargetEncoder(cv=KFold(3))),
    "rare": prepared(SimpleImputer(), encoder=OneHotEncoder(
        min_frequency=30, handle_unknown="infrequent_if_exist", sparse_output=False)),
    "dropped": prepared(SimpleImputer(), encoder=make_pipeline(
        SimpleImputer(strategy="constant", fill_value="?"), OneHotEncoder(drop="first"))),
}  # fmt: skip


@pytest.mark.parametrize("name", FRONTS)
def test_a_forest_behind_steps(name):
    frame, label = FLATS
    model = make_pipeline(clone(FRONTS[name]), RandomForestClassifier(10, random_state=0))
    check(model.fit(frame, label), frame)


@pytest.mark.parametrize("name", FRONTS)
def test_a_linear_model_behind_steps(name):
    frame, label = FLATS
    filled = SimpleImputer() if name == "robust" else "passthrough"
    model = make_pipeline(clone(FRONTS[name]), filled, Ridge())
    check(model.fit(frame, label.astype(float)), frame)


@pytest.mark.parametrize("name", ["plain", "robust", "maxabs", "power", "falling"])
def test_boosting_behind_steps(name):
    frame, label = FLATS
    dense = FunctionTransformer() if name != "maxabs" else MaxAbsScaler()
    boosting = GradientBoostingClassifier(n_estimators=10)
    final = boosting if name in ("plain", "falling") else HistGradientBoostingClassifier(max_iter=9)
    front = clone(FRONTS[name]).set_params(sparse_threshold=0.0)
    check(make_pipeline(front, dense, final).fit(frame, label), frame, "margin")


def test_logarithms_of_numbers_above_zero():
    frame, label = FLATS
    log = prepared(SimpleImputer(), FunctionTransformer(np.log1p))
    model = make_pipeline(log, RandomForestClassifier(10, random_state=0)).fit(frame, label)
    predictor, columns = bound(model, frame)
    boxes = predictor.leaf_boxes()
    rows = hard_rows(boxes, columns)
    rows = rows[(np.nan_to_num(rows[:, 1:4]) > -1).all(axis=1)]
    assert np.abs(evaluate(boxes, rows) - predictor.predict_fn(rows)).max() < 1e-9


def test_a_pipeline_inside_a_search_inside_a_vote():
    frame, label = FLATS
    forest = make_pipeline(FRONTS["plain"], RandomForestClassifier(5, random_state=0))
    other = make_pipeline(FRONTS["scaled"], DecisionTreeClassifier(max_depth=4))
    search = GridSearchCV(forest, {"randomforestclassifier__max_depth": [3, 5]}, cv=2)
    model = VotingClassifier([("a", search), ("b", other)], voting="soft").fit(frame, label)
    check(model, frame)


def test_selection_around_a_model():
    model = RFE(RandomForestClassifier(5, random_state=0), n_features_to_select=3)
    check(model.fit(*IRIS), IRIS[0])


def test_categories_of_histogram_boosting():
    frame, label = FLATS
    coded = make_column_transformer((OrdinalEncoder(), WORDS), remainder="passthrough")
    boosting = HistGradientBoostingClassifier(categorical_features=[0, 1], max_iter=20)
    check(make_pipeline(coded, boosting).fit(frame, label), frame, "margin")


@pytest.mark.parametrize("options", [
    {}, {"booster": "dart", "rate_drop": 0.5}, {"base_score": 0.3}, {"num_parallel_tree": 3},
    {"grow_policy": "lossguide", "max_leaves": 7}, {"tree_method": "exact"},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("data", [IRIS, CANCER], ids=["iris", "cancer"])
def test_xgboost(options, data):
    xgboost = pytest.importorskip("xgboost")
    model = xgboost.XGBClassifier(n_estimators=8, n_jobs=1, **options).fit(*data)
    check(model, data[0], "margin", tolerance=1e-6)
    check(model.get_booster(), data[0], "margin", tolerance=1e-6)


@pytest.mark.parametrize("options", [
    {}, {"objective": "reg:absoluteerror"}, {"objective": "reg:pseudohubererror"},
    {"objective": "reg:quantileerror", "quantile_alpha": 0.7}, {"early_stopping_rounds": 2},
], ids=str)  # fmt: skip
def test_xgboost_regressions(options):
    xgboost = pytest.importorskip("xgboost")
    x, y = DIABETES
    model = xgboost.XGBRegressor(n_estimators=40, n_jobs=1, **options)
    model.fit(x[:300], y[:300], eval_set=[(x[300:], y[300:])], verbose=False)
    check(model, x, tolerance=1e-6)


@pytest.mark.parametrize("objective", ["count:poisson", "reg:gamma", "reg:tweedie"])
def test_xgboost_on_the_scale_before_the_link(objective):
    xgboost = pytest.importorskip("xgboost")
    model = xgboost.XGBRegressor(n_estimators=10, objective=objective, n_jobs=1).fit(*DIABETES)
    check(model, DIABETES[0], "margin", tolerance=1e-6)
    refused(model, DIABETES[0], "margin only")


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_native_categories_and_missing_values(library):
    module = pytest.importorskip(library)
    frame, label = FLATS
    frame = frame.assign(floor=frame["floor"].astype(str))
    typed = frame.astype({"city": "category", "heating": "category", "floor": "category"})
    for options in ({}, {"max_cat_to_onehot": 1}, {"max_depth": 2}):
        if library == "xgboost":
            model = module.XGBClassifier(
                n_estimators=15, n_jobs=1, enable_categorical=True, **options
            )
        else:
            model = module.LGBMClassifier(
                n_estimators=15, n_jobs=1, verbose=-1, min_child_samples=5, **options
            )
        model.fit(typed, label)
        check(model, frame, "margin", categorical=["floor"], tolerance=1e-6)
        booster = model.get_booster() if library == "xgboost" else model.booster_
        check(booster, frame, "margin", categorical=["floor"], tolerance=1e-6)
        refused(model, frame, "margin only", categorical=["floor"])


@pytest.mark.parametrize("sparse_threshold", [0.0, 1.0])
def test_xgboost_takes_the_zeros_of_sparse_rows_for_missing(sparse_threshold):
    xgboost = pytest.importorskip("xgboost")
    frame, label = FLATS
    front = prepared(SimpleImputer(), MinMaxScaler(), sparse_threshold=sparse_threshold)
    model = make_pipeline(front, xgboost.XGBClassifier(n_estimators=15, n_jobs=1))
    check(model.fit(frame, label), frame, "margin", tolerance=1e-6)


def test_xgboost_with_zero_for_missing():
    xgboost = pytest.importorskip("xgboost")
    frame, label = FLATS[0][["floor", "debt"]], FLATS[1]
    model = xgboost.XGBClassifier(n_estimators=15, n_jobs=1, missing=0.0).fit(frame, label)
    check(model, frame, "margin", tolerance=1e-6)
    model = xgboost.XGBClassifier(n_estimators=3, n_jobs=1, missing=-9.0).fit(frame, label)
    refused(model, frame, "-9 for a missing", "margin")


@pytest.mark.parametrize("options", [
    {}, {"use_missing": False}, {"zero_as_missing": True}, {"boosting_type": "dart"},
    {"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}, {"extra_trees": True},
    {"n_estimators": 0}, {"min_child_samples": 500},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("several", [False, True])
def test_lightgbm(options, several):
    lightgbm = pytest.importorskip("lightgbm")
    frame, label = FLATS[0][NUMBERS], FLATS[1]
    frame = frame.assign(debt=frame["debt"] - 5 * (frame["floor"] == 3))
    label = label + (frame["floor"] > 3) if several else label
    options = {"n_estimators": 9, "n_jobs": 1, "verbose": -1} | options
    if options["n_estimators"] == 0:
        frame, options["n_estimators"] = frame[["floor"]] * 0, 1
    model = lightgbm.LGBMClassifier(**options).fit(frame, label)
    check(model, frame, "margin")
    check(model.booster_, frame, "margin")


def test_lightgbm_regressions():
    lightgbm = pytest.importorskip("lightgbm")
    x, y = DIABETES
    model = lightgbm.LGBMRegressor(n_estimators=40, n_jobs=1, verbose=-1)
    model.fit(x[:300], y[:300], eval_X=x[300:], eval_y=y[300:],
              callbacks=[lightgbm.early_stopping(2, verbose=False)])  # fmt: skip
    check(model, x)
    for options in ({"objective": "quantile"}, {"boosting_type": "rf", "bagging_freq": 1,
                                                "bagging_fraction": 0.5}):  # fmt: skip
        check(lightgbm.LGBMRegressor(n_jobs=1, verbose=-1, **options).fit(x, y), x)
    poisson = lightgbm.LGBMRegressor(n_jobs=1, verbose=-1, objective="poisson").fit(x, y)
    refused(poisson, x, "margin only")
    check(poisson, x, "margin")
    sloped = lightgbm.LGBMRegressor(n_jobs=1, verbose=-1, linear_tree=True).fit(x, y)
    refused(sloped, x, "slopes")


def test_sums_behind_a_link_on_its_own_scale():
    counts = DIABETES[0], np.rint(DIABETES[1] / 20)
    for model in (HistGradientBoostingRegressor(loss="poisson", max_iter=9), PoissonRegressor()):
        check(model.fit(*counts), counts[0], "margin")
        refused(model, counts[0], "margin only")


TREE = DecisionTreeClassifier(max_depth=3)


@pytest.mark.parametrize(("model", "reason"), [
    (make_pipeline(PCA(2), TREE), "a PCA step, which mixes columns"),
    (make_pipeline(PolynomialFeatures(), TREE), "PolynomialFeatures step, which mixes"),
    (make_pipeline(KNNImputer(), TREE), "KNNImputer step, which mixes"),
    (make_pipeline(FunctionTransformer(np.sin), TREE), "FunctionTransformer of sin"),
    (make_pipeline(KBinsDiscretizer(strategy="uniform"), TREE), "one-hot"),
    (make_pipeline(OneHotEncoder(handle_unknown="ignore"), TREE), "--categorical sepal"),
    (make_pipeline(OneHotEncoder(), TREE), "name it with --categorical"),
    (make_pipeline(SimpleImputer(missing_values=0), TREE), "takes 0 for a missing value"),
    (KNeighborsClassifier(), "KNeighborsClassifier is no sum over boxes of columns"),
    (AdaBoostClassifier(), "AdaBoostClassifier"), (CalibratedClassifierCV(TREE), "Calibrated"),
    (StackingClassifier([("a", TREE)]), "Stacking"), (OneVsRestClassifier(TREE), "OneVsRest"),
    (LogisticRegression(max_iter=500), "--output margin"),
    (GradientBoostingClassifier(n_estimators=2), "--output margin"),
    (HistGradientBoostingClassifier(max_iter=2), "--output margin"),
    (make_pipeline(StandardScaler(), VotingClassifier(
        [("a", TREE), ("b", LogisticRegression())], voting="soft")), "--output margin"),
], ids=str)  # fmt: skip
def test_what_is_no_sum_says_why(model, reason):
    refused(clone(model).fit(*IRIS), IRIS[0], reason)


def test_regressions_that_are_no_sum_say_why():
    target = TransformedTargetRegressor(Ridge(), func=np.log, inverse_func=np.exp)
    refused(target.fit(*DIABETES), DIABETES[0], "TransformedTargetRegressor")
    begun = GradientBoostingRegressor(n_estimators=3, init=Ridge())
    refused(begun.fit(*DIABETES), DIABETES[0], "begins with a Ridge")


def test_a_number_column_that_a_booster_takes_for_categories():
    lightgbm = pytest.importorskip("lightgbm")
    frame, label = FLATS[0][NUMBERS], FLATS[1]
    model = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1, n_jobs=1)
    model.fit(frame, label, categorical_feature=["floor"])
    refused(model, frame, "--categorical floor", "margin")


def test_more_leaves_than_can_be_held(monkeypatch):
    monkeypatch.setattr("limecli.models.box_paths.MAX_PAIRS", 100)
    refused(RandomForestClassifier(30).fit(*IRIS), IRIS[0], "leaves .*too many bounds")


def test_more_leaves_than_are_quick_are_counted_and_not_read(monkeypatch):
    def read(*_):
        raise AssertionError

    monkeypatch.setattr("limecli.models.box_models.join", read)
    rng = np.random.default_rng(0)
    frame, target = pd.DataFrame(rng.normal(size=(2000, 3)), columns=list("abc")), rng.random(2000)
    trees = {"max_leaf_nodes": None, "min_samples_leaf": 1, "learning_rate": 0.1}
    for model in (
        RandomForestRegressor(60, random_state=0),
        GradientBoostingRegressor(n_estimators=60, max_depth=None, random_state=0),
        HistGradientBoostingRegressor(max_iter=60, early_stopping=False, **trees),
    ):
        refused(model.fit(frame, target), frame, r"have \d+ thousand leaves; up to 70 thousand")


@pytest.mark.parametrize("library", ["xgboost.XGBRegressor", "lightgbm.LGBMRegressor"])
def test_boosters_of_more_leaves_than_are_quick(monkeypatch, library):
    module, name = library.split(".")
    kind = getattr(pytest.importorskip(module), name)
    model = kind(n_estimators=150, n_jobs=1).fit(*DIABETES)
    check(model, DIABETES[0], tolerance=1e-6)
    monkeypatch.setattr("limecli.models.box_forest.MAX_LEAVES", 1000)
    monkeypatch.setattr("limecli.models.box_boosters.join", None)
    refused(model, DIABETES[0], r"have \d+ thousand leaves; up to 1 thousand")


def test_leaves_behind_early_stopping_do_not_count(monkeypatch):
    xgboost = pytest.importorskip("xgboost")
    model = xgboost.XGBRegressor(n_estimators=200, early_stopping_rounds=60, n_jobs=1)
    model.fit(*DIABETES, eval_set=[DIABETES], verbose=False)
    model.get_booster().set_attr(best_iteration="1")
    monkeypatch.setattr("limecli.models.box_forest.MAX_LEAVES", 200)
    check(model, DIABETES[0], tolerance=1e-6)


def test_the_leaves_of_models_inside_a_model_are_counted_together(monkeypatch):
    monkeypatch.setattr("limecli.models.box_forest.MAX_LEAVES", 1000)
    forest = RandomForestRegressor(2, random_state=0).fit(*DIABETES)
    check(forest, DIABETES[0])
    many = "thousand leaves or more; up to 1 thousand"
    refused(VotingRegressor([("a", forest), ("b", forest)]).fit(*DIABETES), DIABETES[0], many)
    bagged = BaggingRegressor(DecisionTreeRegressor(), 9, random_state=0).fit(*DIABETES)
    refused(bagged, DIABETES[0], many)


def test_leaves_of_many_classes_weigh_more(monkeypatch):
    monkeypatch.setattr("limecli.models.box_forest.MAX_VALUES", 100)
    forest = RandomForestClassifier(30, random_state=0).fit(*IRIS)
    refused(forest, IRIS[0], "leaves for 3 classes, too many")


def test_a_tree_that_is_one_long_chain_is_no_heap_of_bounds(monkeypatch):
    """Its 400 leaves lie 200 splits deep on average."""
    monkeypatch.setattr("limecli.models.box_paths.MAX_PAIRS", 10_000)
    frame = pd.DataFrame({"x": np.arange(400.0)})
    chain = DecisionTreeRegressor(random_state=0).fit(frame, 3.0 ** np.arange(400))
    assert chain.get_depth() > 300
    refused(chain, frame, "too many bounds")


def test_forests_of_equal_size_vote_with_their_weights():
    words = np.array(["low", "mid", "top"])[IRIS[1]]
    parts = [("a", RandomForestClassifier(10, random_state=1)),
             ("b", ExtraTreesClassifier(10, random_state=2))]  # fmt: skip
    check(VotingClassifier(parts, voting="soft", weights=[1, 3]).fit(IRIS[0], words), IRIS[0])


def test_parts_of_another_version_are_no_crash():
    model = GradientBoostingRegressor(n_estimators=2).fit(*DIABETES)
    del model.learning_rate
    refused(model, DIABETES[0], "cannot be read")


def test_a_constant_model_is_its_offset():
    boxes = check(DecisionTreeClassifier().fit(IRIS[0], np.zeros(150)), IRIS[0])
    assert len(boxes.values) == 0
    assert boxes.offset.tolist() == [0.0, 1.0]
    boxes = check(RandomForestRegressor(3).fit(IRIS[0] * 0, IRIS[1]), IRIS[0])
    assert len(boxes.leaf) == 0


def test_a_column_on_a_path_is_one_factor_and_equal_sets_are_shared():
    model = RandomForestClassifier(20, random_state=0).fit(*CANCER)
    boxes = check(model, CANCER[0])
    leaves = sum(tree.tree_.n_leaves for tree in model.estimators_)
    assert len(boxes.values) == leaves
    assert len(boxes.feature) < len(boxes.factor)


def test_a_leaf_that_no_value_reaches_is_gone():
    frame = pd.DataFrame({"city": list("abcd") * 20, "x": np.arange(80.0) % 7})
    label = frame["x"] * frame["city"].map({"a": 1, "b": 2, "c": 5, "d": 3})
    front = make_column_transformer((OneHotEncoder(), ["city"]), remainder="passthrough")
    model = make_pipeline(front, ExtraTreesRegressor(20, random_state=0)).fit(frame, label)
    shorter = background_columns(frame[frame["city"] != "d"])
    boxes = bound(model, frame, columns=shorter)[0].leaf_boxes()
    leaves = sum(tree.tree_.n_leaves for tree in model[-1].estimators_)
    assert len(boxes.values) < leaves
    well_formed(boxes)


def test_a_forest_of_a_hundred_trees_is_read_in_no_time():
    model = RandomForestClassifier(100, random_state=0).fit(*CANCER)
    predictor, columns = bound(model, CANCER[0])
    predictor.leaf_boxes()
    spent = []
    for _ in range(3):
        start = time.process_time()
        boxes = predictor.leaf_boxes()
        spent.append(time.process_time() - start)
    assert len(boxes.leaf) > 8000
    assert min(spent) < 0.15
    rows = draws(columns, 2048)
    start = time.process_time()
    evaluate(boxes, rows)
    assert time.process_time() - start < 1


def test_steps_that_refuse_what_the_model_need_not_take():
    frame, label = FLATS[0][["city", "floor", "debt"]], FLATS[1]
    front = make_column_transformer((OneHotEncoder(), ["city"]), remainder=SelectKBest(k=1))
    model = make_pipeline(front, RandomForestClassifier(5, random_state=0)).fit(frame, label)
    check(model, frame)  # no missing values, which SelectKBest refuses
    columns = background_columns(frame)
    unseen = (*columns[0].categories, "Mars")
    columns = (replace(columns[0], categories=unseen), *columns[1:])
    predictor, _ = bound(model, frame, columns=columns)
    boxes = predictor.leaf_boxes()
    rows = draws(background_columns(frame))
    assert np.abs(evaluate(boxes, rows) - predictor.predict_fn(rows)).max() < 1e-9


def test_hundreds_of_columns_behind_steps():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(60, 300))).rename(columns=str)
    model = make_pipeline(StandardScaler(), RandomForestClassifier(5, random_state=0))
    predictor, columns = bound(model.fit(frame, frame["7"] > 0), frame)
    boxes, rows = predictor.leaf_boxes(), draws(columns, 500)
    assert np.abs(evaluate(boxes, rows) - predictor.predict_fn(rows)).max() < 1e-9


def test_two_columns_of_categories_with_many_codes():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.integers(0, 90, 600).astype(str),
                          "b": rng.integers(0, 7, 600).astype(str)})  # fmt: skip
    label = (frame["a"].astype(int) % 3 + frame["b"].astype(int) % 2) > 1
    model = make_pipeline(OneHotEncoder(), RandomForestClassifier(10, random_state=0))
    boxes = check(model.fit(frame, label), frame, categorical=["a", "b"])
    assert boxes.codes.shape[1] == 90


def test_other_predictors_have_no_boxes():
    predictor, columns = bound(DecisionTreeClassifier().fit(*IRIS), IRIS[0])
    assert bind_columns(replace(predictor, fitted=None), columns).leaf_boxes is None
