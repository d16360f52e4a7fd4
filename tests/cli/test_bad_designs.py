"""Models and data that leave LIME little to work with: right numbers, or a sentence that says why
there are none.
"""

import itertools
import json
import math
import subprocess

import joblib
import numpy as np
import pandas as pd
import pytest
from jsonschema import Draft202012Validator
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

DRAWS = (
    ("--sampler", "auto"),
    ("--sampler", "sobol"),
    ("--sampler", "lime"),
    ("--discretizer", "none"),
)


@pytest.fixture(scope="session")
def schema(command):
    done = subprocess.run([*command, "schema"], check=True, capture_output=True, timeout=120)
    return Draft202012Validator(json.loads(done.stdout))


@pytest.fixture
def explain(cli, schema, tmp_path):
    """Save model and data, explain a row; the report, which holds no number that is none."""

    def run(model, columns, *options, row=0, rows=None):
        joblib.dump(model, tmp_path / "model.joblib")
        columns.to_csv(tmp_path / "data.csv", index=False)
        asked = tmp_path / "data.csv"
        if rows is not None:
            asked = tmp_path / "rows.csv"
            rows.to_csv(asked, index=False)
        result = cli("tabular", tmp_path / "model.joblib", asked, "-r", row, "-b",
                     tmp_path / "data.csv", "--json", *options)  # fmt: skip
        assert result.code == 0, result.stderr
        return checked(result.stdout, schema)

    return run


def checked(text, schema):
    def refuse(name):
        raise AssertionError(f"{name} in JSON")

    report = json.loads(text, parse_constant=refuse)
    schema.validate(report)
    for label in report["explanations"][0]["labels"]:
        for found in label["attributions"]:
            if found["low"] is not None:
                assert found["low"] <= found["weight"] <= found["high"]
    return report


def label_of(report):
    return report["explanations"][0]["labels"][0]


def weights_of(report):
    return {found["feature"]: found["weight"] for found in label_of(report)["attributions"]}


def numbers(n, d, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(rng.normal(size=(n, d)), columns=[f"f{j}" for j in range(d)])


# ----------------------------------------------------------------------------- the model


@pytest.mark.parametrize("draws", DRAWS)
@pytest.mark.parametrize(
    "model",
    [DummyClassifier(), DecisionTreeClassifier(min_samples_split=10_000), LogisticRegression],
)
def test_a_constant_model_has_no_weights_no_fidelity_and_no_flip(explain, model, draws):
    columns = numbers(60, 3)
    model = LogisticRegression(C=1e-30) if model is LogisticRegression else model
    label = label_of(explain(model.fit(columns, columns.f0 > 0), columns, *draws))
    assert [(a["weight"], a["low"], a["high"]) for a in label["attributions"]] == [(0, 0, 0)] * 3
    assert label["fidelity"] is None
    assert label["flips"] == []


def test_a_constant_regression_has_no_weights_and_no_fidelity(explain):
    columns = numbers(60, 3)
    label = label_of(explain(DecisionTreeRegressor().fit(columns, np.full(60, 3.5)), columns))
    assert {a["weight"] for a in label["attributions"]} == {0}
    assert label["fidelity"] is None


def test_the_terminal_says_that_a_constant_model_has_no_fidelity(cli, tmp_path):
    columns = numbers(60, 3)
    joblib.dump(DummyClassifier().fit(columns, columns.f0 > 0), tmp_path / "model.joblib")
    columns.to_csv(tmp_path / "data.csv", index=False)
    shown = cli("tabular", tmp_path / "model.joblib", tmp_path / "data.csv", "-r", "0").stdout
    assert "fidelity undefined: the model answers the same for every sample" in shown


@pytest.mark.parametrize("sampler", ["sobol", "lime"])
@pytest.mark.parametrize("scale", [1e12, 1e-9])
def test_weights_and_intervals_grow_with_the_outputs_of_a_regression(explain, scale, sampler):
    columns = numbers(80, 3)
    outputs = 2 * columns.f0 + np.sin(3 * columns.f1)
    how = ("--sampler", sampler, "-n", "1000")
    models = [KNeighborsRegressor().fit(columns, outputs * s) for s in (1, scale)]
    told = [label_of(explain(model, columns, *how)) for model in models]
    for one, other in zip(*(label["attributions"] for label in told), strict=True):
        assert one["feature"] == other["feature"]
        for number in ("weight", "low", "high"):
            assert other[number] == pytest.approx(one[number] * scale, rel=1e-6)
    assert told[1]["fidelity"] == pytest.approx(told[0]["fidelity"], abs=1e-6)


@pytest.mark.parametrize("draws", DRAWS)
def test_outputs_that_are_not_finite_far_away_end_in_a_sentence(fails, tmp_path, draws):
    columns = numbers(80, 2).assign(f1=lambda c: c.f0)
    model = TransformedTargetRegressor(
        LinearRegression(), func=np.log, inverse_func=np.exp, check_inverse=False
    )
    # No row of the data is beyond exp's reach; rows with f0 and f1 drawn apart are.
    model.fit(columns, np.exp(columns.f0))
    model.regressor_.coef_ = np.array([3000.0, -3000.0])
    joblib.dump(model, tmp_path / "model.joblib")
    columns.to_csv(tmp_path / "data.csv", index=False)
    result = fails(
        5, "tabular", tmp_path / "model.joblib", tmp_path / "data.csv", "-r", "0", "-q", *draws
    )
    assert "NaN or infinity" in result.stderr


def test_a_thousand_classes_are_explained_like_two(explain):
    rng = np.random.default_rng(0)
    columns = numbers(3000, 3)
    classes = rng.permutation(np.repeat(np.arange(1000), 3))
    columns["f0"] = classes / 100
    model = DecisionTreeClassifier(max_depth=8, random_state=0).fit(columns, classes)
    exact = explain(model, columns)
    drawn = explain(model, columns, "--sampler", "sobol", "-n", "65536")
    assert exact["explanations"][0]["sampler"] == "exact"
    weight = weights_of(exact)["f0"]
    assert weight > 0
    assert weight == pytest.approx(weights_of(drawn)["f0"], rel=0.05)


def test_two_classes_get_opposite_weights(explain):
    columns = numbers(80, 3)
    model = GaussianNB().fit(columns, columns.f0 > 0)
    report = explain(model, columns, "-l", "index:0", "-l", "index:1", "-n", "500")
    one, other = report["explanations"][0]["labels"]
    by_feature = {a["feature"]: a["weight"] for a in other["attributions"]}
    for found in one["attributions"]:
        assert found["weight"] == pytest.approx(-by_feature[found["feature"]], abs=1e-9)


# --------------------------------------------------------------------------- the columns


def test_a_constant_column_keeps_its_value_and_gets_no_weight(explain):
    columns = numbers(80, 2).assign(three=3.0, zero=0.0)
    # Outside of three = 3 this model would say something else altogether.
    model = DecisionTreeClassifier().fit(
        pd.concat([columns, columns.assign(three=0.0)]), [*(columns.f0 > 0), *(columns.f0 < 99)]
    )
    with_it = weights_of(explain(model, columns, "--sampler", "sobol"))
    plain = DecisionTreeClassifier().fit(columns, columns.f0 > 0)
    without = weights_of(explain(plain, columns, "--sampler", "sobol"))
    assert with_it["three"] == with_it["zero"] == 0
    assert with_it["f0"] == pytest.approx(without["f0"], abs=0.02)


def test_one_column_is_explained_within_its_interval(explain):
    columns = numbers(200, 1)
    model = RandomForestClassifier(20, random_state=0).fit(columns, columns.f0**2 > 0.5)
    exact = weights_of(explain(model, columns))["f0"]
    (drawn,) = label_of(explain(model, columns, "--sampler", "sobol"))["attributions"]
    half = (drawn["high"] - drawn["low"]) / 2
    assert abs(drawn["weight"] - exact) <= 3 * half
    assert half < 0.05


@pytest.mark.parametrize("draws", DRAWS)
def test_more_columns_than_rows_are_explained(explain, draws):
    columns = numbers(12, 40)
    model = RandomForestClassifier(10, random_state=0).fit(columns, [0, 1] * 6)
    label = label_of(explain(model, columns, *draws, "-n", "2000", "-k", "40"))
    assert len(label["attributions"]) == 40
    assert all(math.isfinite(a["weight"]) for a in label["attributions"])


def test_copies_of_a_column_are_drawn_apart_and_share_its_weight(explain):
    columns = numbers(200, 2).assign(copy=lambda c: c.f0)
    # All three sum in one score, so the copies weigh alike.
    model = LogisticRegression().fit(columns, columns.f0 + columns.f1 > 0)
    found = {
        a["feature"]: a for a in label_of(explain(model, columns, "-n", "20000"))["attributions"]
    }
    assert found["f0"]["low"] <= found["copy"]["high"]
    assert found["copy"]["low"] <= found["f0"]["high"]


def test_a_thousand_columns_at_the_default_say_that_sobol_has_too_few_samples(cli, tmp_path):
    columns = numbers(60, 1000)
    joblib.dump(GaussianNB().fit(columns, columns.f0 > 0), tmp_path / "model.joblib")
    columns.to_csv(tmp_path / "data.csv", index=False)
    result = cli("tabular", tmp_path / "model.joblib", tmp_path / "data.csv", "-r", "0", "-n",
                 "1500", "--json")  # fmt: skip
    assert result.code == 0
    assert "too few for Sobol's points in 1000 columns" in result.stderr
    label = json.loads(result.stdout)["explanations"][0]["labels"][0]
    if label["attributions"][0]["low"] is None:
        assert label["no_interval"]


def _categories():
    rng = np.random.default_rng(1)
    columns = pd.DataFrame(
        {
            "colour": rng.choice(["red", "green", "blue"], 300),
            "size": rng.choice(["S", "M", "L"], 300, p=[0.6, 0.3, 0.1]),
            "flag": rng.choice([True, False], 300),
        }
    )
    wanted = (columns.colour == "red") ^ (columns["size"] == "S")
    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["colour", "size"]), remainder="passthrough"
    )
    return columns, encode, wanted


@pytest.mark.parametrize("discretizer", ["quartile", "none"])
def test_categories_only_equal_the_sum_over_all_combinations(explain, discretizer):
    columns, encode, wanted = _categories()
    model = make_pipeline(encode, RandomForestClassifier(10, random_state=0)).fit(columns, wanted)
    report = explain(model, columns, "--discretizer", discretizer)
    assert report["explanations"][0]["sampler"] == "exact"
    values = [sorted(set(columns[name])) for name in columns]
    everything = pd.DataFrame(list(itertools.product(*values)), columns=columns.columns)
    same = (everything == columns.iloc[0]).to_numpy()
    tilt = math.exp(-1 / (2 * (0.75 * math.sqrt(3)) ** 2))
    mass = np.prod(
        [
            everything[name].map(columns[name].value_counts(normalize=True)).to_numpy()
            * np.where(same[:, j], 1, tilt)
            for j, name in enumerate(columns)
        ],
        axis=0,
    )
    says = model.predict_proba(everything)[:, label_of(report)["index"]]
    for j, name in enumerate(columns):
        at, away = same[:, j], ~same[:, j]
        expected = np.average(says[at], weights=mass[at]) - np.average(
            says[away], weights=mass[away]
        )
        assert weights_of(report)[name] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("sampler", ["auto", "sobol"])
def test_a_category_that_is_never_in_the_background_has_no_weight_and_says_so(
    cli, tmp_path, sampler
):
    columns, encode, wanted = _categories()
    joblib.dump(
        make_pipeline(encode, LogisticRegression()).fit(columns, wanted), tmp_path / "m.joblib"
    )
    columns.to_csv(tmp_path / "data.csv", index=False)
    columns.head(1).assign(colour="mauve").to_csv(tmp_path / "row.csv", index=False)
    result = cli("tabular", tmp_path / "m.joblib", tmp_path / "row.csv", "-b",
                 tmp_path / "data.csv", "--json", "--sampler", sampler)  # fmt: skip
    assert result.code == 0
    assert "'colour' is 'mauve', which never occurs in the background" in result.stderr
    found = {
        a["feature"]: a
        for a in json.loads(result.stdout)["explanations"][0]["labels"][0]["attributions"]
    }
    assert found["colour"]["weight"] == 0


# ------------------------------------------------------------------ few samples, no kernel


@pytest.mark.parametrize("n", [10, 17, 100])
@pytest.mark.parametrize("draws", DRAWS)
def test_few_samples_give_an_interval_or_the_reason_why_not(explain, draws, n):
    columns = numbers(60, 4)
    model = GaussianNB().fit(columns, columns.f0 > 0)
    label = label_of(explain(model, columns, *draws, "-n", n))
    ends = {a["low"] is None for a in label["attributions"]}
    assert len(ends) == 1
    assert ends == {label["no_interval"] is not None}


@pytest.mark.parametrize("d", [1, 4])
def test_a_kernel_that_sees_no_other_sample_gives_no_interval(explain, d):
    columns = numbers(60, d)
    model = GaussianNB().fit(columns, columns.f0 > 0)
    label = label_of(explain(model, columns, "--kernel-width", "0.001"))
    assert {a["low"] for a in label["attributions"]} == {None}
    assert label["no_interval"]


@pytest.mark.parametrize("k", [1, 1000])
def test_any_number_of_features_can_be_asked_for(explain, k):
    columns = numbers(60, 4)
    model = GaussianNB().fit(columns, columns.f0 > 0)
    label = label_of(explain(model, columns, "-k", k, "-n", "500"))
    assert len(label["attributions"]) == min(k, 4)


# ------------------------------------------------------------------------------- texts


@pytest.fixture(scope="session")
def mood(tmp_path_factory):
    path = tmp_path_factory.mktemp("mood") / "mood.joblib"
    texts = ["good day", "very good", "good good", "bad day", "very bad", "bad bad"]
    joblib.dump(
        make_pipeline(CountVectorizer(), MultinomialNB()).fit(texts, [1, 1, 1, 0, 0, 0]), path
    )
    return path


@pytest.mark.parametrize("sampler", ["auto", "lime"])
def test_one_word_is_not_said_to_weigh_nothing_for_sure(cli, schema, mood, sampler):
    result = cli("text", mood, "good", "--json", "--sampler", sampler)
    if result.code == 4:
        return
    assert result.code == 0, result.stderr
    label = label_of(checked(result.stdout, schema))
    (word,) = label["attributions"]
    assert word["low"] is None or word["high"] > 0
    assert label["flips"]


def test_two_words_weigh_what_each_does_to_the_empty_text(cli, schema, mood):
    result = cli("text", mood, "good bad", "--json", "-l", "index:1")
    label = label_of(checked(result.stdout, schema))
    model = joblib.load(mood)
    empty, *alone = model.predict_proba(["", "good", "bad"])[:, 1]
    found = {a["feature"]: a["weight"] for a in label["attributions"]}
    # Of two words LIME sees each alone and neither; the large-sample fit goes through all three.
    assert found["good"] == pytest.approx(alone[0] - empty, abs=1e-3)
    assert found["bad"] == pytest.approx(alone[1] - empty, abs=1e-3)


def test_a_word_that_repeats_is_one_feature(cli, schema, mood):
    result = cli("text", mood, "good bad good good bad", "--json", "-n", "500")
    label = label_of(checked(result.stdout, schema))
    assert sorted(a["feature"] for a in label["attributions"]) == ["bad", "good"]


def test_words_that_the_model_does_not_know_weigh_nothing(cli, schema, mood):
    label = label_of(checked(cli("text", mood, "xxx yyy zzz", "--json").stdout, schema))
    assert {a["weight"] for a in label["attributions"]} == {0}
    assert label["fidelity"] is None
