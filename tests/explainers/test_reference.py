"""Truth: the engine `lime` gives the numbers of a fresh lime explainer with the same seed.

lime's own classes are run here as a careful user runs them: on the training data, with integer
codes, one new explainer for every instance.
"""

from __future__ import annotations

import json
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
from lime.lime_image import LimeImageExplainer
from lime.lime_tabular import LimeTabularExplainer
from lime.lime_text import LimeTextExplainer
from PIL import Image
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from tests.conftest import SAMPLES, shared

EXACT = 1e-8


@pytest.fixture
def explained(cli):
    """Run a command with --json; its one explanation and the whole report."""

    def run(*args):
        if args[0] == "tabular" and "-b" not in args:
            args = (*args, "-b", args[2])  # ROWS are the training data: nothing is recovered
        result = cli(*args, "--json", *([] if "--sampler" in args else ["--sampler", "lime"]))
        assert result.code == 0, result.stderr
        report = json.loads(result.stdout)
        return report["explanations"][0], report

    return run


def assert_equals_lime(label, lime, index, k, score=None):
    """Compare one label of a report with lime's explanation of the same index."""
    weights = dict(lime.local_exp[index])
    ours = {part["index"]: part["weight"] for part in label["attributions"]}
    assert ours.keys() == weights.keys()
    assert len(ours) == k
    for j, weight in weights.items():
        assert ours[j] == pytest.approx(weight, abs=EXACT)
    assert label["intercept"] == pytest.approx(lime.intercept[index], abs=EXACT)
    if score is not None:
        assert label["r2_fit"] == pytest.approx(score, abs=EXACT)
    assert label["local_prediction"] is not None


def test_iris_as_in_limes_tutorial(explained, tmp_path):
    iris = load_iris(as_frame=True)
    x, y = iris.data, iris.target_names[iris.target]
    model = RandomForestClassifier(n_estimators=50, random_state=1).fit(x.to_numpy(), y)
    joblib.dump(model, tmp_path / "iris.joblib")
    x.to_csv(tmp_path / "train.csv", index=False)
    item, report = explained("tabular", tmp_path / "iris.joblib", tmp_path / "train.csv",
                             "-r", "60", "-k", "2", "--seed", "7")  # fmt: skip
    lime = LimeTabularExplainer(x.to_numpy(), feature_names=list(x), random_state=7)
    top = int(model.predict_proba(x.to_numpy()[60:61])[0].argmax())
    expected = lime.explain_instance(
        x.to_numpy()[60], model.predict_proba, num_features=2, labels=(top,)
    )
    (label,) = item["labels"]
    assert label["label"] == y[60] == "versicolor"
    assert_equals_lime(label, expected, top, 2, expected.score)
    assert label["local_prediction"] == pytest.approx(expected.local_pred[0], abs=EXACT)
    assert report["settings"]["kernel_width"] == np.sqrt(4) * 0.75


@pytest.mark.parametrize("k", [10, 5])
@pytest.mark.parametrize("discretizer", ["quartile", "decile", "entropy", "none"])
def test_breast_cancer_with_every_discretizer(explained, tmp_path, discretizer, k):
    data = load_breast_cancer(as_frame=True)
    x, y = data.data, data.target_names[data.target]
    model = HistGradientBoostingClassifier(max_iter=20, random_state=0).fit(x, y)
    joblib.dump(model, tmp_path / "model.joblib")
    frame = x.assign(diagnosis=y)
    frame.to_csv(tmp_path / "train.csv", index=False)
    item, _ = explained("tabular", tmp_path / "model.joblib", tmp_path / "train.csv", "-r", "100",
                        "-k", k, "-n", 1000, "--discretizer", discretizer,
                        "--target", "diagnosis")  # fmt: skip
    lime = LimeTabularExplainer(
        x.to_numpy(),
        training_labels=y,
        discretize_continuous=discretizer != "none",
        discretizer=discretizer if discretizer != "none" else "quartile",
        random_state=0,
    )
    expected = lime.explain_instance(
        x.to_numpy()[100],
        lambda rows: model.predict_proba(pd.DataFrame(rows, columns=x.columns)),
        num_features=k,
        num_samples=1000,
        top_labels=1,
    )
    (label,) = item["labels"]
    assert_equals_lime(label, expected, expected.top_labels[0], k, expected.score)


def test_drawing_around_the_instance(explained, tmp_path):
    data = load_breast_cancer(as_frame=True)
    x = data.data.iloc[:, :8]
    model = HistGradientBoostingClassifier(max_iter=10, random_state=0).fit(x, data.target)
    joblib.dump(model, tmp_path / "model.joblib")
    x.to_csv(tmp_path / "train.csv", index=False)
    item, _ = explained("tabular", tmp_path / "model.joblib", tmp_path / "train.csv", "-r", "3",
                        "-n", 800, "--discretizer", "none", "--sample-around-instance",
                        "--kernel-width", 2)  # fmt: skip
    lime = LimeTabularExplainer(x.to_numpy(), discretize_continuous=False, random_state=0,
                                sample_around_instance=True, kernel_width=2)  # fmt: skip
    expected = lime.explain_instance(
        x.to_numpy()[3],
        lambda rows: model.predict_proba(pd.DataFrame(rows, columns=x.columns)),
        num_samples=800,
        top_labels=1,
    )
    (label,) = item["labels"]
    assert_equals_lime(label, expected, expected.top_labels[0], 8, expected.score)
    assert all(part["condition"] is None for part in label["attributions"])


def test_regression_is_not_negated(explained, tmp_path):
    x, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    model = RandomForestRegressor(n_estimators=20, random_state=0).fit(x, y)
    joblib.dump(model, tmp_path / "model.joblib")
    x.to_csv(tmp_path / "train.csv", index=False)
    item, report = explained("tabular", tmp_path / "model.joblib", tmp_path / "train.csv",
                             "-r", "5", "--target", "progression")  # fmt: skip
    lime = LimeTabularExplainer(x.to_numpy(), mode="regression", random_state=0)
    expected = lime.explain_instance(
        x.to_numpy()[5], lambda rows: model.predict(pd.DataFrame(rows, columns=x.columns))
    )
    (label,) = item["labels"]
    assert label["label"] == "progression"
    assert_equals_lime(label, expected, 1, 10, expected.score)  # lime keeps the true signs under 1
    assert item["prediction"] == [
        {"label": "progression", "index": 0, "value": pytest.approx(expected.predicted_value)}
    ]
    assert report["model"]["task"] == "regression"
    assert report["model"]["class_names"] is None


def test_every_label_keeps_its_own_fit(explained, tmp_path):
    """lime overwrites score and local_pred label by label."""
    x, y = load_iris(return_X_y=True, as_frame=True)
    model = RandomForestClassifier(n_estimators=10, random_state=0).fit(x.to_numpy(), y)
    joblib.dump(model, tmp_path / "model.joblib")
    x.to_csv(tmp_path / "train.csv", index=False)
    item, _ = explained("tabular", tmp_path / "model.joblib", tmp_path / "train.csv", "-r", "70",
                        "-t", "3")  # fmt: skip
    assert [label["index"] for label in item["labels"]] == [
        score["index"] for score in item["prediction"]
    ]
    for label in item["labels"]:
        lime = LimeTabularExplainer(x.to_numpy(), random_state=0)
        expected = lime.explain_instance(
            x.to_numpy()[70], model.predict_proba, labels=(label["index"],)
        )
        assert_equals_lime(label, expected, label["index"], 4, expected.score)
        assert label["local_prediction"] == pytest.approx(expected.local_pred[0], abs=EXACT)


def encoded(frame, categorical):
    """Codes as lime wants them: sorted str(value). And the names behind them."""
    names = {}
    codes = np.empty(frame.shape)
    for j, column in enumerate(frame):
        if column in categorical:
            names[j] = sorted(frame[column].unique(), key=str)
            codes[:, j] = [names[j].index(value) for value in frame[column]]
        else:
            codes[:, j] = frame[column]
    return codes, names


def decoded(rows, frame, names):
    return pd.DataFrame({
        column: [names[j][int(code)] for code in rows[:, j]] if j in names else rows[:, j]
        for j, column in enumerate(frame)
    })  # fmt: skip


def test_couples_with_raw_text_columns(explained, tmp_path):
    data = pd.read_csv(shared("couples.csv"))
    data = data.drop(columns=["caseid_new", "ethnicity", "lgbtq"])
    x, y = data.drop(columns="success"), data["success"]
    text = [name for name in x if not pd.api.types.is_numeric_dtype(x[name])]
    model = make_pipeline(
        ColumnTransformer([("text", OneHotEncoder(handle_unknown="ignore"), text)],
                          remainder="passthrough"),
        RandomForestClassifier(n_estimators=20, random_state=0),
    ).fit(x, y)  # fmt: skip
    (tmp_path / "couples.pkl").write_bytes(pickle.dumps(model))
    data.to_csv(tmp_path / "couples.csv", index=False)
    item, _ = explained("tabular", tmp_path / "couples.pkl", tmp_path / "couples.csv",
                        "-r", "12", "--target", "success", "-n", 2000)  # fmt: skip
    codes, names = encoded(x, text)
    lime = LimeTabularExplainer(codes, categorical_features=list(names), random_state=0)
    expected = lime.explain_instance(
        codes[12],
        lambda rows: model.predict_proba(decoded(rows, x, names)),
        num_samples=2000,
        top_labels=1,
    )
    (label,) = item["labels"]
    assert_equals_lime(label, expected, expected.top_labels[0], 10, expected.score)
    shown = {part["feature"]: part for part in label["attributions"]}
    for name in set(text) & set(shown):
        assert shown[name]["value"] == x[name][12]
        assert shown[name]["condition"] == f"{name} = {x[name][12]}"


def test_numbers_declared_categorical(explained, tmp_path):
    rng = np.random.default_rng(0)
    x = pd.DataFrame({"grade": rng.choice([1, 2, 10], 200), "size": rng.normal(size=200)})
    y = (x["grade"] == 10) ^ (x["size"] > 0)
    model = RandomForestClassifier(n_estimators=10, random_state=0).fit(x, y)
    joblib.dump(model, tmp_path / "model.joblib")
    x.to_csv(tmp_path / "train.csv", index=False)
    item, _ = explained("tabular", tmp_path / "model.joblib", tmp_path / "train.csv", "-r", "4",
                        "--categorical", "grade", "-n", 500)  # fmt: skip
    codes, names = encoded(x, ["grade"])
    assert names[0] == [1, 10, 2]
    lime = LimeTabularExplainer(codes, categorical_features=[0], random_state=0)
    expected = lime.explain_instance(
        codes[4],
        lambda rows: model.predict_proba(decoded(rows, x, names)),
        num_samples=500,
        top_labels=1,
    )
    assert_equals_lime(item["labels"][0], expected, expected.top_labels[0], 2, expected.score)


def test_statistics_stand_in_for_the_data(cli, explained, tmp_path):
    model, data = SAMPLES / "penguins.pkl", SAMPLES / "penguins.csv"
    stats = tmp_path / "stats.json"
    made = cli("background", data, "--target", "species", "-o", stats)
    assert made.code == 0, made.stderr
    for row in (0, 3, 8, 100):  # row 3 has missing numbers, 3 and 8 a missing sex
        asked = ("tabular", model, data, "-r", row, "-n", 500, "--target", "species", "-b")
        from_data, _ = explained(*asked, data)
        from_stats, _ = explained(*asked, stats)
        assert from_data == from_stats


def test_a_missing_number_has_a_bin_of_its_own(explained):
    item, _ = explained("tabular", SAMPLES / "penguins.pkl", SAMPLES / "penguins.csv", "-r", "3")
    shown = {part["feature"]: part for part in item["labels"][0]["attributions"]}
    assert shown["bill_length_mm"]["condition"] == "bill_length_mm is missing"
    assert shown["bill_length_mm"]["value"] is None
    assert shown["sex"]["condition"] == "sex is missing"


@pytest.mark.parametrize(
    ("options", "own"),
    [
        ((), {}),
        (("--no-bow",), {"bow": False}),
        (("--no-bow", "--mask-string", "-"), {"bow": False, "mask_string": "-"}),
        (("--char-level",), {"char_level": True}),
        (("--split-expression", r"\s+"), {"split_expression": r"\s+"}),
        (("-k", "3"), {}),
    ],
)
def test_text(explained, options, own):
    model = joblib.load(SAMPLES / "spam.joblib")
    message = (SAMPLES / "message.txt").read_text().removesuffix("\n")
    item, _ = explained("text", SAMPLES / "spam.joblib", message, "-n", 500, *options)
    k = 3 if "-k" in options else 10
    lime = LimeTextExplainer(random_state=0, **own)
    expected = lime.explain_instance(
        message, model.predict_proba, num_features=k, num_samples=500, top_labels=1
    )
    (label,) = item["labels"]
    assert label["label"] == "spam"
    assert_equals_lime(label, expected, expected.top_labels[0], k, expected.score)
    for part in label["attributions"]:
        assert {message[start:end] for start, end in part["positions"]} == {part["feature"]}


def test_image_with_limes_defaults(explained):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(SAMPLES / "efficientnet-lite0.onnx")
    picture = Image.open(SAMPLES / "chelsea.jpg").resize((224, 224), Image.Resampling.BICUBIC)
    pixels = np.asarray(picture)

    def classify(batch):
        return session.run(None, {"image": np.asarray(batch, dtype=np.float32)})[0]

    item, report = explained("image", SAMPLES / "efficientnet-lite0.onnx", SAMPLES / "chelsea.jpg",
                             "-n", 60)  # fmt: skip
    expected = LimeImageExplainer(random_state=0).explain_instance(
        pixels, classify, num_samples=60, top_labels=1
    )
    (label,) = item["labels"]
    assert label["label"] == "Egyptian_cat"
    count = len(np.unique(expected.segments))
    assert_equals_lime(label, expected, expected.top_labels[0], count, expected.score)
    assert item["segmentation"]["algorithm"] == "quickshift"
    assert report["settings"]["num_features"] is None  # all of them


def test_a_row_does_not_depend_on_the_rows_beside_it(cli):
    asked = ("tabular", SAMPLES / "penguins.pkl", SAMPLES / "penguins.csv", "--json", "-n", "300")
    many = json.loads(cli(*asked, "-r", "10:14").stdout)["explanations"]
    for item in many:
        (alone,) = json.loads(cli(*asked, "-r", item["index"]).stdout)["explanations"]
        assert alone == item


def test_equal_runs_are_equal_outside_provenance(cli):
    asked = ("tabular", SAMPLES / "penguins.pkl", SAMPLES / "penguin.csv", "--json", "-n", "300")
    first, second = (json.loads(cli(*asked).stdout) for _ in range(2))
    first.pop("provenance")
    second.pop("provenance")
    assert first == second


def test_batches_do_not_change_the_numbers(cli):
    asked = ("text", SAMPLES / "spam.joblib", "win a free prize now", "--json", "-n", "300")
    whole = json.loads(cli(*asked).stdout)["explanations"]
    small = json.loads(cli(*asked, "--batch-size", "7").stdout)["explanations"]
    assert whole == small


def test_a_constant_model_has_no_fidelity(explained, tmp_path):
    from sklearn.dummy import DummyClassifier

    x, y = load_iris(return_X_y=True, as_frame=True)
    joblib.dump(DummyClassifier().fit(x, y), tmp_path / "dummy.joblib")
    x.to_csv(tmp_path / "train.csv", index=False)
    item, _ = explained("tabular", tmp_path / "dummy.joblib", tmp_path / "train.csv", "-r", "0",
                        "-n", "100")  # fmt: skip
    (label,) = item["labels"]
    assert label["r2_fit"] is None
    assert all(part["weight"] == pytest.approx(0) for part in label["attributions"])


def test_one_value_bins_are_named(cli, tmp_path):
    x, y = load_iris(return_X_y=True, as_frame=True)
    x = x.assign(constant=3.0)
    joblib.dump(RandomForestClassifier(n_estimators=5, random_state=0).fit(x, y), tmp_path / "m")
    x.to_csv(tmp_path / "train.csv", index=False)
    asked = ("tabular", tmp_path / "m", tmp_path / "train.csv", "-r", "0", "-n", "100")
    result = cli(*asked, "--sampler", "lime")
    assert result.code == 0
    assert "columns with such a bin: constant" in result.stderr
    assert "columns with such a bin" not in cli(*asked).stderr  # the others keep the value
