"""What fitted models remember of their data, against the data themselves."""

from __future__ import annotations

import json

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    BaggingClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from limecli.errors import InputError, UsageError
from limecli.inputs.recovery import recover_background

CANCER = load_breast_cancer(as_frame=True)
X = CANCER.data.iloc[:, :6]
Y = CANCER.target
NAMES = list(X)
LINEAR = LogisticRegression(max_iter=2000)


def recovered(model, data=X, target=Y, discretizer="quartile"):
    background, notes = recover_background(model.fit(data, target), list(data), discretizer)
    return background, notes


def quartiles(column):
    return np.array(column.bins)


def truth(name, data=X):
    return np.percentile(data[name], [25, 50, 75])


def worst_shift(background, data=X):
    """The largest distance of a quartile from the true one, in standard deviations."""
    shifts = [
        np.abs(quartiles(column) - truth(column.name, data)).max() / data[column.name].std()
        for column in background.columns
    ]
    return max(shifts)


EXACT = {
    "neighbours": KNeighborsClassifier(),
    "scaled neighbours": make_pipeline(StandardScaler(), KNeighborsClassifier()),
    "quantiles": make_pipeline(QuantileTransformer(n_quantiles=500), LINEAR),
    "normal quantiles": make_pipeline(
        QuantileTransformer(n_quantiles=500, output_distribution="normal"), LINEAR
    ),
    "bins": make_pipeline(KBinsDiscretizer(8, strategy="quantile"), LINEAR),
    "selected": make_pipeline(SelectKBest(k=6), StandardScaler(), KNeighborsClassifier()),
    "searched": GridSearchCV(KNeighborsClassifier(), {"n_neighbors": [3, 5]}, cv=2),
    "bagged": BaggingClassifier(KNeighborsClassifier(), 3, bootstrap=False, random_state=0),
    "voted": VotingClassifier([("a", LINEAR), ("b", KNeighborsClassifier())]),
    "stacked": StackingClassifier([("a", KNeighborsClassifier())], cv=2),
}


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.filterwarnings("ignore")
def test_quartiles_that_a_model_stores_come_back(name):
    background, notes = recovered(EXACT[name])
    assert worst_shift(background) < 0.02
    assert background.source == "model"
    assert notes == []


SKETCHED = {
    "forest": (RandomForestClassifier(50, random_state=0), 0.5),
    "gradient boosting": (GradientBoostingClassifier(random_state=0), 0.8),
    "histograms": (HistGradientBoostingClassifier(random_state=0), 0.1),
    "extra trees": (ExtraTreesRegressor(50, random_state=0), 0.5),
    "power": (make_pipeline(PowerTransformer(), LINEAR), 0.15),
    "robust": (make_pipeline(RobustScaler(), LINEAR), 0.3),
    "standard": (make_pipeline(StandardScaler(), LINEAR), 0.4),
    "naive Bayes": (GaussianNB(), 0.3),
    "logarithms": (make_pipeline(FunctionTransformer(np.log1p), StandardScaler(), LINEAR), 0.4),
    "scaled forest": (
        make_pipeline(StandardScaler(), RandomForestClassifier(50, random_state=0)),
        0.7,
    ),
}


@pytest.mark.parametrize("name", SKETCHED)
@pytest.mark.filterwarnings("ignore")
def test_quartiles_that_a_model_lets_on_are_near(name):
    model, tolerance = SKETCHED[name]
    background, _ = recovered(model)
    assert worst_shift(background) < tolerance


def test_a_scaler_s_mean_and_deviation_are_exact():
    background, _ = recovered(make_pipeline(StandardScaler(), PCA(2), LINEAR), discretizer="none")
    for column in background.columns:
        assert column.mean == pytest.approx(X[column.name].mean(), rel=1e-12)
        assert column.scale == pytest.approx(X[column.name].std(ddof=0), rel=1e-12)
    assert background.rows == len(X)
    assert background.recovered_from == ("StandardScaler in step 'standardscaler'",)


def test_a_range_is_exact():
    background, _ = recovered(make_pipeline(MinMaxScaler(), LINEAR))
    for column in background.columns:
        assert min(column.mins) == pytest.approx(X[column.name].min(), rel=1e-12)
        assert max(column.maxs) == pytest.approx(X[column.name].max(), rel=1e-12)


def test_a_mean_and_a_deviation_make_a_normal_distribution():
    data = pd.DataFrame({"x": np.random.default_rng(0).normal(3, 10, 4000)})
    background, _ = recovered(make_pipeline(StandardScaler(), LINEAR), data, data.x > 3)
    assert worst_shift(background, data) < 0.05
    assert min(background.columns[0].mins) < -20


@pytest.mark.parametrize(("function", "least"), [(np.log1p, -1), (np.sqrt, 0), (np.log, 0)])
@pytest.mark.parametrize(
    "model", [make_pipeline(StandardScaler(), LINEAR), GaussianNB()], ids=["scaled", "classes"]
)
@pytest.mark.filterwarnings("error")
def test_values_stay_where_a_transformation_can_take_them(function, least, model):
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"amount": rng.lognormal(1, 1.5, 4000)})
    target = data.amount > rng.lognormal(1, 1, 4000)
    pipeline = make_pipeline(FunctionTransformer(function), model)
    for discretizer in ("quartile", "none"):
        background, _ = recovered(pipeline, data, target, discretizer)
        assert min(background.columns[0].mins) >= least
    background, _ = recovered(pipeline, data, target)
    assert np.abs(quartiles(background.columns[0]) / truth("amount", data) - 1).max() < 0.9


def test_bayes_smoothing_is_no_part_of_a_column():
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"wide": rng.normal(0, 1e6, 2000), "narrow": rng.normal(0, 1, 2000)})
    background, _ = recovered(GaussianNB(), data, data.narrow > 0)
    assert worst_shift(background, data) < 0.15
    assert background.recovered_from == ("class means of GaussianNB",)


def counts(n=3000, seed=0):
    rng = np.random.default_rng(seed)
    data = pd.DataFrame({
        "visits": rng.poisson(1.5, n), "calls": rng.integers(1, 40, n),
        "owner": rng.random(n) < 0.3, "size": rng.normal(60, 20, n),
    })  # fmt: skip
    score = data.visits + data.calls / 10 + 2 * data.owner + data["size"] / 30
    return data, (score + rng.normal(0, 1, n) > 6).astype(int)


def boosting(library):
    if library == "sklearn":
        return HistGradientBoostingClassifier(random_state=0)
    module = pytest.importorskip(library)
    if library == "lightgbm":
        return module.LGBMClassifier(verbose=-1, n_jobs=1)
    return module.CatBoostClassifier(
        iterations=200, verbose=False, thread_count=1, allow_writing_files=False
    )


@pytest.mark.parametrize("library", ["sklearn", "lightgbm", "catboost"])
@pytest.mark.filterwarnings("ignore")
def test_counts_are_whole_numbers_and_reach_their_ends(library):
    data, target = counts()
    background, notes = recovered(boosting(library), data, target)
    assert notes == []
    visits, calls, owner, _ = background.columns
    for column, low, high in ((visits, 0, 5), (calls, 1, 38), (owner, 0, 1)):
        assert min(column.mins) == low
        assert max(column.maxs) >= high
        assert all(value % 1 == 0 for value in (*column.mins, *column.maxs))
    assert quartiles(calls) == pytest.approx(truth("calls", data), abs=1.5)
    if library != "catboost":
        assert set(visits.bins) == set(truth("visits", data))
        assert owner.feature_frequencies == pytest.approx((0.7, 0.3), abs=0.05)


def test_parts_of_lightgbm_are_told_apart():
    data, target = counts()
    background, _ = recovered(boosting("lightgbm"), data, target)
    assert background.recovered_from == ("splits of LGBMClassifier", "ranges of LGBMClassifier")


def test_categories_that_the_caller_knows():
    frame, target = mixed()
    frame["city"] = frame.city.map({"Linz": 0, "Bern": 1, "Graz": 2})
    model = RandomForestClassifier(30, random_state=0).fit(frame[["age", "city"]], target)
    background, _ = recover_background(
        model, ["age", "city"], "quartile", categories={"city": ("Linz", "Bern", "Graz")}
    )
    city = background.columns[1]
    assert city.categories == ("Bern", "Graz", "Linz")
    assert city.feature_frequencies == pytest.approx((0.6, 0.3, 0.1), abs=0.1)
    assert "categories of RandomForestClassifier" in background.recovered_from


def mixed(n=2000, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({
        "age": rng.integers(18, 80, n),
        "city": rng.choice(["Bern", "Graz", "Linz"], n, p=[0.6, 0.3, 0.1]),
        "grade": rng.choice(["low", "mid", "high"], n, p=[0.2, 0.5, 0.3]),
        "spent": np.where(rng.random(n) < 0.8, 0, rng.integers(1, 900, n)),
        "note": rng.choice(["x", "y"], n),
    })  # fmt: skip
    target = (frame.age > 40) ^ (frame.city == "Bern") ^ (frame.spent > 100)
    return frame, (target ^ (frame.grade == "low")).astype(int)


GRADES = ["low", "mid", "high"]


def over_mixed(model, remainder="drop"):
    return make_pipeline(
        ColumnTransformer([
            ("towns", OneHotEncoder(), ["city"]),
            ("grades", OrdinalEncoder(categories=[GRADES]), slice("grade", "grade")),
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()),
             lambda frame: ["age", "spent"]),
        ], remainder=remainder),
        model,
    )  # fmt: skip


def test_categories_come_from_encoders_and_their_shares_from_trees():
    frame, target = mixed()
    background, notes = recovered(
        over_mixed(RandomForestClassifier(60, random_state=0)), frame, target
    )
    age, city, grade, spent, note = background.columns
    assert city.categories == ("Bern", "Graz", "Linz")
    assert city.feature_frequencies == pytest.approx((0.6, 0.3, 0.1), abs=0.08)
    assert grade.categories == ("high", "low", "mid")
    # Only "low" matters to the target: the trees hardly part the two others.
    assert grade.feature_frequencies[1] == pytest.approx(0.2, abs=0.1)
    assert quartiles(age) == pytest.approx(truth("age", frame), abs=3)
    assert spent.bins[0] == 0
    assert spent.feature_frequencies[0] == pytest.approx(0.8, abs=0.12)
    assert note.name == "note"
    assert notes == ["the model does not look at note"]


def test_a_remainder_that_is_passed_on_is_a_column_too():
    frame, target = mixed()
    frame["note"] = frame.note.eq("x").astype(float)
    background, notes = recovered(
        over_mixed(RandomForestClassifier(20, random_state=0), "passthrough"), frame, target
    )
    assert notes == []
    assert background.columns[4].continuous


class Selector(BaseEstimator, TransformerMixin):
    """As in tutorials: picks columns by name, and remembers nothing."""

    def __init__(self, names):
        self.names = names

    def fit(self, data, target=None):
        return self

    def transform(self, data):
        return data[self.names]


def test_a_selector_of_the_users_own_is_tried():
    frame, target = mixed()
    union = FeatureUnion([
        ("numbers", make_pipeline(Selector(["spent", "age"]), SimpleImputer(), StandardScaler())),
        ("towns", make_pipeline(Selector(["city"]), SimpleImputer(strategy="most_frequent"),
                                OneHotEncoder())),
    ])  # fmt: skip
    model = make_pipeline(union, RandomForestClassifier(30, random_state=0))
    background, notes = recovered(model, frame, target)
    age, city, _, spent, _ = background.columns
    assert quartiles(age) == pytest.approx(truth("age", frame), abs=4)
    assert city.categories == ("Bern", "Graz", "Linz")
    assert spent.bins[0] == 0
    assert notes == ["the model does not look at grade, note"]


def test_shares_of_indicators_that_were_scaled_are_exact():
    frame, target = mixed()
    model = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["city"]), sparse_threshold=0),
        StandardScaler(),
        LINEAR,
    )
    background, _ = recovered(model, frame[["city"]], target)
    share = frame.city.value_counts(normalize=True)
    assert background.columns[0].feature_frequencies == pytest.approx(
        [share[name] for name in ("Bern", "Graz", "Linz")], rel=1e-9
    )


def test_dropped_and_rare_categories_keep_their_columns_apart():
    frame, target = mixed()
    encoder = OneHotEncoder(drop="first", min_frequency=0.2)
    union = FeatureUnion([("a", encoder), ("b", OneHotEncoder())])
    model = make_pipeline(
        make_column_transformer((union, ["city", "grade"]), (StandardScaler(), ["age"])),
        RandomForestClassifier(30, random_state=0),
    )
    background, _ = recovered(model, frame[["city", "grade", "age"]], target)
    assert background.columns[0].categories == ("Bern", "Graz", "Linz")
    assert background.columns[1].feature_frequencies == pytest.approx((0.3, 0.2, 0.5), abs=0.1)
    assert quartiles(background.columns[2]) == pytest.approx(truth("age", frame), abs=4)


def test_histogram_boosting_with_categories_of_its_own():
    frame, target = mixed()
    data = frame[["age", "city", "spent"]].astype({"city": "category"})
    model = HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=0)
    background, _ = recovered(model, data, target)
    assert background.columns[1].categories == ("Bern", "Graz", "Linz")
    assert quartiles(background.columns[0]) == pytest.approx(truth("age", frame), abs=2)


def test_a_model_that_tells_nothing_says_so():
    with pytest.raises(InputError, match="does not tell how the values of mean radius"):
        recovered(LogisticRegression(max_iter=10_000))


def test_one_silent_column_is_named():
    model = make_pipeline(
        make_column_transformer((StandardScaler(), NAMES[:5]), remainder="passthrough"), LINEAR
    )
    with pytest.raises(InputError, match=f"values of {NAMES[5]} are spread"):
        recovered(model)


def test_labels_are_not_remembered():
    with pytest.raises(UsageError, match="entropy needs labels"):
        recovered(KNeighborsClassifier(), discretizer="entropy")


def test_a_guess_is_called_one():
    stump = RandomForestClassifier(1, max_depth=1, random_state=0)
    _, notes = recovered(stump)
    assert "split so seldom" in notes[0]
    assert "does not look at" in notes[1]


@pytest.mark.parametrize("library", ["xgboost", "lightgbm", "catboost"])
@pytest.mark.filterwarnings("ignore")
def test_boosters_know_their_columns(library):
    module = pytest.importorskip(library)
    options = {"xgboost": {}, "lightgbm": {"verbose": -1},
               "catboost": {"verbose": False, "allow_writing_files": False}}[library]  # fmt: skip
    kind = {"xgboost": "XGBClassifier", "lightgbm": "LGBMClassifier",
            "catboost": "CatBoostClassifier"}[library]  # fmt: skip
    data = X.rename(columns=lambda name: name.replace(" ", "_"))
    background, _ = recovered(getattr(module, kind)(n_estimators=60, **options), data)
    assert worst_shift(background, data) < 1.2
    shifts = [
        np.abs(quartiles(c) - truth(c.name, data)).mean() / data[c.name].std()
        for c in background.columns
    ]
    assert np.mean(shifts) < 0.3


# Through the command.


@pytest.fixture
def forest(tmp_path):
    iris = load_iris(as_frame=True)
    path = tmp_path / "forest.pkl"
    model = RandomForestClassifier(20, random_state=0)
    joblib.dump(model.fit(iris.data, iris.target_names[iris.target]), path)
    iris.data.iloc[[60]].to_csv(tmp_path / "row.csv", index=False)
    return path


def test_a_model_and_a_row_are_enough(cli, forest):
    result = cli("tabular", forest, forest.parent / "row.csv", "--json", "-n", "500")
    assert result.code == 0
    assert result.stderr == (
        "limecli: background: recovered from the model (splits of RandomForestClassifier)\n"
    )
    background = json.loads(result.stdout)["background"]
    assert background == {
        "source": "model", "path": None, "sha256": None, "rows": None,
        "recovered_from": ["splits of RandomForestClassifier"],
    }  # fmt: skip


def test_a_recovered_background_can_be_kept(cli, forest):
    stats = forest.parent / "stats.json"
    made = cli("background", forest, "-o", stats)
    assert made.code == 0
    assert "recovered from the model" in made.stderr
    row = forest.parent / "row.csv"
    kept = cli("tabular", forest, row, "-b", stats, "--json", "-n", "500")
    direct = cli("tabular", forest, row, "--json", "-n", "500")
    one, other = (json.loads(result.stdout)["explanations"] for result in (kept, direct))
    assert one == other


def test_names_that_the_model_lacks_can_be_given(cli, fails, tmp_path):
    iris = load_iris()
    joblib.dump(KNeighborsClassifier().fit(iris.data, iris.target), tmp_path / "m.pkl")
    assert "--feature-names" in fails(4, "background", tmp_path / "m.pkl").stderr
    result = cli("background", tmp_path / "m.pkl", "--feature-names", "a,b,c,d")
    assert json.loads(result.stdout)["feature_names"] == ["a", "b", "c", "d"]
    assert json.loads(result.stdout)["rows"] == 150
    short = fails(4, "background", tmp_path / "m.pkl", "--feature-names", "a,b,c")
    assert "3 names" in short.stderr
    fails(2, "background", tmp_path / "m.pkl", "--target", "x")
    (tmp_path / "train.csv").write_text("a,b\n1,2\n")
    fails(2, "background", tmp_path / "train.csv", "--feature-names", "c,d")


def test_a_model_that_tells_nothing_asks_for_data(fails, tmp_path):
    iris = load_iris(as_frame=True)
    joblib.dump(LINEAR.fit(iris.data, iris.target), tmp_path / "m.pkl")
    iris.data.iloc[[60]].to_csv(tmp_path / "row.csv", index=False)
    stderr = fails(4, "tabular", tmp_path / "m.pkl", tmp_path / "row.csv").stderr
    assert "does not tell" in stderr
    assert "--background TRAIN.csv" in stderr
    made = fails(4, "background", tmp_path / "m.pkl").stderr
    assert "in its place: limecli background TRAIN.csv -o" in made
    assert "--background" not in made
    labels = fails(2, "background", tmp_path / "m.pkl", "--discretizer", "entropy").stderr
    assert "--background" not in labels


def test_booleans_in_a_row_go_with_a_background_that_was_kept(cli, tmp_path):
    data, target = counts(400)
    path, row, stats = tmp_path / "m.pkl", tmp_path / "row.csv", tmp_path / "stats.json"
    joblib.dump(RandomForestClassifier(20, random_state=0).fit(data, target), path)
    data.iloc[[3]].to_csv(row, index=False)
    assert cli("background", path, "-o", stats).code == 0
    result = cli("tabular", path, row, "-b", stats, "--json", "-n", "200")
    assert result.code == 0, result.stderr


@pytest.mark.filterwarnings("ignore")
def test_a_row_of_amounts_behind_a_logarithm(cli, tmp_path):
    data = pd.DataFrame({"amount": np.random.default_rng(0).lognormal(1, 1.5, 500)})
    model = make_pipeline(FunctionTransformer(np.log1p), StandardScaler(), LINEAR)
    joblib.dump(model.fit(data, data.amount > 3), tmp_path / "m.pkl")
    data.iloc[[3]].to_csv(tmp_path / "row.csv", index=False)
    result = cli("tabular", tmp_path / "m.pkl", tmp_path / "row.csv", "-n", "500")
    assert result.code == 0, result.stderr


@pytest.mark.parametrize(
    ("model", "name"),
    [(LogisticRegression(), "LogisticRegression"),
     (make_pipeline(StandardScaler(), RandomForestClassifier()), "RandomForestClassifier"),
     (GridSearchCV(GaussianNB(), {}), "GridSearchCV")],
)  # fmt: skip
def test_a_model_that_was_never_fitted_says_so(fails, tmp_path, model, name):
    joblib.dump(model, tmp_path / "m.pkl")
    (tmp_path / "row.csv").write_text("a,b\n1,2\n")
    stderr = fails(3, "tabular", tmp_path / "m.pkl", tmp_path / "row.csv").stderr
    assert f"{name} is not fitted" in stderr
    assert "call fit before saving it" in stderr


def test_a_dictionary_s_scaler_goes_with_its_model(fails, tmp_path):
    scaler = StandardScaler().fit(X)
    joblib.dump({"model": GaussianNB().fit(X, Y), "scaler": scaler}, tmp_path / "m.pkl")
    X.iloc[[0]].to_csv(tmp_path / "row.csv", index=False)
    stderr = fails(3, "tabular", tmp_path / "m.pkl", tmp_path / "row.csv").stderr
    assert "joblib.dump(make_pipeline(content['scaler'], content['model']), path)" in stderr
