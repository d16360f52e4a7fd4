"""The label shown is the label that the model means: cases in which names and scores come apart."""

from __future__ import annotations

import functools
import json
import os
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.ensemble import (
    BaggingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

IRIS = load_iris(as_frame=True)
X = IRIS.data.to_numpy(dtype=np.float32)
WORDS = np.array(["low", "high", "mid"])[IRIS.target]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("iris") / "x.csv"
    IRIS.data.to_csv(path, index=False)
    return path


@pytest.fixture
def scores(cli, data):
    """Label -> score as the report has them, for iris row 77."""

    def run(model, *options, kind="tabular", rows=None, row="77"):
        inputs = (rows or data, "-r", row) if kind == "tabular" else ()
        result = cli(kind, model, *inputs, "-n", "60", "--json", *options)
        assert result.code == 0, result.stderr
        (item,) = json.loads(result.stdout)["explanations"]
        return {score["label"]: score["value"] for score in item["prediction"]}

    return run


def converted(model, path, types=None, **options):
    skl2onnx = pytest.importorskip("skl2onnx")
    from skl2onnx.common.data_types import FloatTensorType

    types = types or [("x", FloatTensorType([None, 4]))]
    made = skl2onnx.convert_sklearn(
        model, initial_types=types, target_opset=17, options={id(model): options}
    )
    path.write_bytes(made.SerializeToString())
    return path


def expected(model, row=77):
    return dict(
        zip((str(name) for name in model.classes_), model.predict_proba(X[row : row + 1])[0],
            strict=True)
    )  # fmt: skip


@pytest.mark.parametrize("zipmap", [True, False, "columns"])
@pytest.mark.parametrize(
    "labels", [WORDS, IRIS.target + 5, np.where(WORDS == "mid", "no", "yes")],
    ids=["words", "numbers", "two"],
)  # fmt: skip
def test_onnx_scores_go_to_their_classes(scores, tmp_path, zipmap, labels):
    model = LogisticRegression(max_iter=1000).fit(X, labels)
    path = converted(model, tmp_path / "model.onnx", zipmap=zipmap)
    assert scores(path) == pytest.approx(expected(model), abs=1e-4)


@pytest.mark.parametrize(
    "model",
    [
        StackingClassifier([("t", DecisionTreeClassifier(max_depth=2))], LogisticRegression()),
        VotingClassifier(
            [("t", DecisionTreeClassifier(max_depth=2)), ("l", LogisticRegression(max_iter=1000))],
            voting="soft",
            flatten_transform=False,
        ),
        BaggingClassifier(LogisticRegression(max_iter=1000), n_estimators=3, random_state=0),
    ],
    ids=lambda model: type(model).__name__,
)  # fmt: skip
@pytest.mark.parametrize("labels", [WORDS, IRIS.target + 1], ids=["words", "numbers"])
def test_onnx_ensembles_are_named_by_their_own_classes(scores, tmp_path, model, labels):
    model.fit(X, labels)
    path = converted(model, tmp_path / "model.onnx", zipmap=False)
    assert scores(path) == pytest.approx(expected(model), abs=1e-4)


def test_onnx_string_inputs_keep_their_spelling(scores, tmp_path):
    from skl2onnx.common.data_types import StringTensorType

    frame = pd.DataFrame({"zip": ["00501", "89073", "10115"] * 20})
    model = make_pipeline(
        make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["zip"])),
        LogisticRegression(),
    ).fit(frame, ["a", "b", "c"] * 20)
    path = converted(model, tmp_path / "model.onnx", [("zip", StringTensorType([None, 1]))])
    frame.to_csv(tmp_path / "rows.csv", index=False)
    found = scores(path, rows=tmp_path / "rows.csv", row="0")
    assert found["a"] == pytest.approx(model.predict_proba(frame[:1])[0, 0], abs=1e-5)
    assert max(found, key=found.get) == "a"


def test_independent_sigmoids_need_not_add_up(scores, tmp_path, keras):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "sigmoid")])
    model.save(tmp_path / "model.keras")
    truth = model.predict_on_batch(X[77:78])[0].astype(float)
    found = scores(tmp_path / "model.keras")
    assert [found[str(i)] for i in range(3)] == pytest.approx(truth, abs=1e-5)


def test_activation_none_takes_scores_as_they_are(cli, scores, tmp_path, data):
    """Three outputs in 0..1 that do not add up: refused with that hint, taken when told so."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Clip", ["x", "zero", "one"], ["p"])], "clip",
        [helper.make_tensor_value_info("x", kind, ["n", 4])],
        [helper.make_tensor_value_info("p", kind, ["n", 4])],
        [helper.make_tensor("zero", kind, [], [0.0]), helper.make_tensor("one", kind, [], [0.5])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    refused = cli("tabular", tmp_path / "model.onnx", data, "-r", "77", "-n", "60")
    assert refused.code == 5
    assert "--activation none" in refused.stderr
    found = scores(tmp_path / "model.onnx", "--activation", "none")
    assert list(found.values()) == pytest.approx([0.5] * 4)


def test_a_linear_output_on_pictures_is_a_regression(cli, tmp_path, keras):
    from PIL import Image

    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(),
                              keras.layers.Dense(1)])  # fmt: skip
    model.save(tmp_path / "model.keras")
    Image.new("RGB", (8, 8), "red").save(tmp_path / "red.png")
    result = cli("image", tmp_path / "model.keras", tmp_path / "red.png", "-n", "20", "--json",
                 "--segmentation", "grid")  # fmt: skip
    report = json.loads(result.stdout)
    assert report["model"]["task"] == "regression"


def test_boosting_on_category_columns_loads_with_no_flag(scores, tmp_path):
    """It keeps functools.partial(check_array): that one partial is known, no other."""
    frame = IRIS.data.assign(colour=pd.Categorical(np.where(IRIS.target == 0, "blue", "red")))
    model = HistGradientBoostingClassifier(max_iter=5, categorical_features="from_dtype")
    model.fit(frame, WORDS)
    joblib.dump(model, tmp_path / "model.joblib")
    frame.to_csv(tmp_path / "x.csv", index=False)
    found = scores(tmp_path / "model.joblib", rows=tmp_path / "x.csv")
    truth = dict(zip(model.classes_, model.predict_proba(frame[77:78])[0], strict=True))
    assert found == pytest.approx(truth)


@pytest.mark.parametrize("func", [os.system, eval, np.asarray, functools.partial(os.system)])
def test_no_other_partial_loads(fails, tmp_path, func, data):
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(functools.partial(func, "touch marker")))
    fails(3, "tabular", path, data, "-r", "0")
    assert not (tmp_path / "marker").exists()


def test_a_partial_cannot_change_its_function_afterwards(fails, tmp_path, data):
    """__setstate__ could put another function in: GLOBAL check_array, then BUILD with sum."""
    payload = (
        b"cfunctools\npartial\n(csklearn.utils.validation\ncheck_array\ntR(cnumpy\nsum\n(t(dNtb."
    )
    (tmp_path / "model.pkl").write_bytes(payload)
    refused = fails(3, "tabular", tmp_path / "model.pkl", data, "-r", "0")
    assert "functools.partial" in refused.stderr


def test_a_talkative_model_is_silent(process, tmp_path, data):
    model = RandomForestClassifier(5, verbose=2, n_jobs=1, random_state=0)
    model.fit(IRIS.data, WORDS)
    joblib.dump(model, tmp_path / "model.joblib")
    done = process("tabular", tmp_path / "model.joblib", data, "-r", "0", "-n", "50", "-q")
    assert done.returncode == 0
    assert done.stderr == ""


def test_a_text_model_under_tabular_and_the_other_way_round(fails, tmp_path, data):
    texts = make_pipeline(CountVectorizer(), MultinomialNB()).fit(
        ["alpha beta", "gamma delta"], [0, 1]
    )
    joblib.dump(texts, tmp_path / "text.joblib")
    joblib.dump(LogisticRegression(max_iter=1000).fit(X, WORDS), tmp_path / "rows.joblib")
    assert "limecli text" in fails(3, "tabular", tmp_path / "text.joblib", data, "-r", "0").stderr
    assert "limecli tabular" in fails(3, "text", tmp_path / "rows.joblib", "hello").stderr


def test_an_outlier_detector_on_its_own_scale(cli, tmp_path, data):
    model = IsolationForest(n_estimators=20, random_state=0).fit(IRIS.data)
    joblib.dump(model, tmp_path / "model.joblib")
    args = ("tabular", tmp_path / "model.joblib", data, "-r", "77", "-n", "60", "--json")
    hint = cli(*args)
    assert hint.code == 3
    assert "--task regression" in hint.stderr
    report = json.loads(cli(*args, "--task", "regression", "--output", "decision").stdout)
    (score,) = report["explanations"][0]["prediction"]
    assert score["value"] == pytest.approx(model.decision_function(IRIS.data[77:78])[0])


def test_a_dict_with_a_model_inside_says_where_it_is(fails, tmp_path, data):
    content = {"scaler": None, "model": LogisticRegression(max_iter=1000).fit(X, WORDS)}
    joblib.dump(content, tmp_path / "model.joblib")
    assert "'model'" in fails(3, "tabular", tmp_path / "model.joblib", data, "-r", "0").stderr


def test_rounding_noise_draws_no_bars(cli, tmp_path):
    texts = make_pipeline(CountVectorizer(), MultinomialNB()).fit(
        ["alpha beta", "gamma delta"], ["x", "y"]
    )
    joblib.dump(texts, tmp_path / "model.joblib")
    result = cli("text", tmp_path / "model.joblib", "none of these words is known", "-n", "100")
    assert result.code == 0
    assert "█" not in result.stdout
    assert "answers the same for every sample" in result.stdout
