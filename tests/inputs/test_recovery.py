"""What fitted models remember of their data, against the data themselves."""

from __future__ import annotations

import json

import joblib
import numpy as np
import pandas as pd
import pytest
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
        # A thousand even steps between the ends: half a step is missing at each.
        step = np.ptp(X[column.name]) / 1000
        assert min(column.mins) == pytest.approx(X[column.name].min(), abs=step)
        assert max(column.maxs) == pytest.approx(X[column.name].max(), abs=step)


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


def test_a_model_that_tells_nothing_asks_for_data(fails, tmp_path):
    iris = load_iris(as_frame=True)
    joblib.dump(LINEAR.fit(iris.data, iris.target), tmp_path / "m.pkl")
    iris.data.iloc[[60]].to_csv(tmp_path / "row.csv", index=False)
    stderr = fails(4, "tabular", tmp_path / "m.pkl", tmp_path / "row.csv").stderr
    assert "does not tell" in stderr
    assert "--background TRAIN.csv" in stderr
