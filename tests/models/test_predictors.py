"""Models of every format, through the command: what they take, and what is made of the answer."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import pickle
import zlib

import joblib
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

IRIS = load_iris(as_frame=True)


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "iris.csv"
    IRIS.data.to_csv(path, index=False)
    return path


@pytest.fixture
def explain(cli, train):
    """Explain iris row 60; the report."""

    def run(model, *options, kind="tabular", data=None):
        inputs = (data or train, "-r", "60") if kind == "tabular" else ()
        result = cli(kind, model, *inputs, "-n", "150", "--json", *options)
        assert result.code == 0, result.stderr
        return json.loads(result.stdout)

    return run


def predictions(report):
    scores = report["explanations"][0]["prediction"]
    return [score["value"] for score in sorted(scores, key=lambda score: score["index"])]


COMPRESSIONS = {
    "plain": lambda data: data,
    "zlib": zlib.compress,
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
}


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_every_pickle_protocol_whatever_the_suffix(explain, tmp_path, protocol):
    model = RandomForestClassifier(5, random_state=0).fit(IRIS.data, IRIS.target)
    (tmp_path / "model.h5").write_bytes(pickle.dumps(model, protocol))
    report = explain(tmp_path / "model.h5")
    assert report["model"]["format"] == "pickle"
    assert predictions(report) == model.predict_proba(IRIS.data[60:61])[0].tolist()


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_every_compression_of_a_pickle(explain, tmp_path, name):
    model = LogisticRegression(max_iter=500).fit(IRIS.data, IRIS.target)
    (tmp_path / "model.bin").write_bytes(COMPRESSIONS[name](pickle.dumps(model)))
    assert predictions(explain(tmp_path / "model.bin")) == pytest.approx(
        model.predict_proba(IRIS.data[60:61])[0]
    )


@pytest.mark.parametrize(
    "compress", [0, 3, ("zlib", 1), ("gzip", 3), ("bz2", 3), ("xz", 1), ("lzma", 1)]
)
def test_every_compression_of_joblib(explain, tmp_path, compress):
    model = RandomForestClassifier(5, random_state=0).fit(IRIS.data, IRIS.target)
    joblib.dump(model, tmp_path / "model.bin", compress=compress)
    assert (
        predictions(explain(tmp_path / "model.bin"))
        == model.predict_proba(IRIS.data[60:61])[0].tolist()
    )


def test_the_estimator_at_the_end_is_named(explain, tmp_path):
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression()),
        {"logisticregression__C": [0.1, 1.0]},
        cv=2,
    ).fit(IRIS.data, IRIS.target_names[IRIS.target])
    joblib.dump(search, tmp_path / "model")
    report = explain(tmp_path / "model")
    assert report["model"]["estimator"] == "LogisticRegression"
    assert report["model"]["class_names"] == ["setosa", "versicolor", "virginica"]
    assert report["model"]["feature_names"] == list(IRIS.data)


def test_columns_are_matched_by_name(explain, tmp_path, train):
    model = RandomForestClassifier(5, random_state=0).fit(IRIS.data, IRIS.target)
    joblib.dump(model, tmp_path / "model")
    turned = tmp_path / "turned.csv"
    IRIS.data.assign(extra="x")[["extra", *reversed(IRIS.data.columns)]].to_csv(turned, index=False)
    straight, other = explain(tmp_path / "model"), explain(tmp_path / "model", data=turned)
    assert straight["explanations"][0]["labels"] == other["explanations"][0]["labels"]


def test_decision_function_on_its_own_scale(explain, tmp_path):
    two = IRIS.target < 2
    model = LinearSVC().fit(IRIS.data[two], IRIS.target_names[IRIS.target[two]])
    joblib.dump(model, tmp_path / "model")
    report = explain(tmp_path / "model", "--output", "decision")
    score = model.decision_function(IRIS.data[60:61])[0]
    assert predictions(report) == pytest.approx([-score, score])
    assert report["model"]["output"] == "decision"


def test_a_regression_has_one_label_named_after_the_target(explain, tmp_path):
    x, y = load_diabetes(return_X_y=True, as_frame=True)
    joblib.dump(RandomForestRegressor(5, random_state=0).fit(x, y), tmp_path / "model")
    x.to_csv(tmp_path / "x.csv", index=False)
    for options, name in (((), "value"), (("--target", "progression"), "progression")):
        report = explain(tmp_path / "model", *options, data=tmp_path / "x.csv")
        (label,) = report["explanations"][0]["labels"]
        assert (label["label"], label["index"]) == (name, 0)


def test_a_text_model_over_a_named_column(explain, tmp_path):
    from sklearn.compose import ColumnTransformer

    texts = ["win a prize", "see you at home", "free prize now", "dinner at home"] * 3
    frame = pd.DataFrame({"message": texts})
    model = make_pipeline(
        ColumnTransformer([("words", TfidfVectorizer(), "message")]), MultinomialNB()
    ).fit(frame, ["spam", "ham"] * 6)
    joblib.dump(model, tmp_path / "model")
    report = explain(tmp_path / "model", "a free prize", kind="text")
    assert report["explanations"][0]["labels"][0]["label"] == "spam"


# --- ONNX: what skl2onnx makes of scikit-learn models


def onnx_of(model, path, initial_types, **options):
    convert = pytest.importorskip("skl2onnx").convert_sklearn
    converted = convert(model, initial_types=initial_types, target_opset=17, **options)
    path.write_bytes(converted.SerializeToString())


@pytest.mark.parametrize("zipmap", [True, False])
def test_onnx_classifier(explain, tmp_path, zipmap):
    from skl2onnx.common.data_types import FloatTensorType

    model = LogisticRegression(max_iter=500).fit(
        IRIS.data.to_numpy(), IRIS.target_names[IRIS.target]
    )
    onnx_of(model, tmp_path / "model", [("x", FloatTensorType([None, 4]))],
            options={id(model): {"zipmap": zipmap}})  # fmt: skip
    report = explain(tmp_path / "model")
    assert report["model"]["format"] == "onnx"
    assert report["model"]["class_names"] == ["setosa", "versicolor", "virginica"]
    assert predictions(report) == pytest.approx(
        model.predict_proba(IRIS.data.to_numpy()[60:61])[0], abs=1e-5
    )


def test_onnx_regression(explain, tmp_path):
    from skl2onnx.common.data_types import FloatTensorType

    x, y = load_diabetes(return_X_y=True, as_frame=True)
    model = RandomForestRegressor(5, random_state=0).fit(x.to_numpy(), y)
    onnx_of(model, tmp_path / "model", [("x", FloatTensorType([None, 10]))])
    x.to_csv(tmp_path / "x.csv", index=False)
    report = explain(tmp_path / "model", data=tmp_path / "x.csv")
    assert report["model"]["task"] == "regression"
    assert predictions(report) == pytest.approx(model.predict(x.to_numpy()[60:61]), rel=1e-4)


def test_onnx_with_one_input_for_each_column_strings_included(explain, tmp_path):
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import OneHotEncoder

    frame = pd.DataFrame({"city": ["Ulm", "Bonn"] * 40, "size": np.arange(80.0)})
    model = make_pipeline(
        ColumnTransformer([("city", OneHotEncoder(), ["city"]),
                           ("size", StandardScaler(), ["size"])]),
        LogisticRegression(),
    ).fit(frame, np.arange(80) > 30)  # fmt: skip
    types = [("city", StringTensorType([None, 1])), ("size", FloatTensorType([None, 1]))]
    onnx_of(model, tmp_path / "model", types)
    frame.to_csv(tmp_path / "x.csv", index=False)
    report = explain(tmp_path / "model", data=tmp_path / "x.csv")
    assert report["model"]["feature_names"] == ["city", "size"]
    assert predictions(report) == pytest.approx(model.predict_proba(frame[60:61])[0], abs=1e-5)


def test_onnx_text(explain, tmp_path):
    from skl2onnx.common.data_types import StringTensorType

    texts = ["win a prize", "see you at home", "free prize now", "dinner at home"] * 3
    # lowercase wants the system locale en_US.UTF-8 of onnxruntime
    model = make_pipeline(TfidfVectorizer(lowercase=False), LogisticRegression())
    model.fit(texts, ["spam", "ham"] * 6)
    onnx_of(model, tmp_path / "model", [("x", StringTensorType([None]))])
    report = explain(tmp_path / "model", "a free prize", kind="text")
    assert report["explanations"][0]["labels"][0]["label"] == "spam"


# --- Keras


def saved(keras, path, *layers, suffix="keras"):
    model = keras.Sequential(layers)
    model.save(path.with_suffix(f".{suffix}"))
    path.with_suffix(f".{suffix}").rename(path)
    return model


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_keras_table_model_under_any_name(explain, tmp_path, keras, suffix):
    model = saved(
        keras, tmp_path / "model.pkl", keras.Input((4,)), keras.layers.Dense(3, "softmax"),
        suffix=suffix,
    )  # fmt: skip
    report = explain(tmp_path / "model.pkl")
    assert report["model"]["format"] == "keras"
    expected = model.predict_on_batch(IRIS.data.to_numpy(dtype=np.float32)[60:61])[0]
    assert predictions(report) == pytest.approx(expected, abs=1e-5)


def test_one_sigmoid_column_is_two_classes(explain, tmp_path, keras):
    saved(keras, tmp_path / "model", keras.Input((4,)), keras.layers.Dense(1, "sigmoid"))
    (tmp_path / "names.txt").write_text("no\nyes\n")
    report = explain(tmp_path / "model", "--class-names", tmp_path / "names.txt")
    assert report["model"]["class_names"] == ["no", "yes"]
    assert sum(predictions(report)) == pytest.approx(1)


def test_one_linear_column_is_a_regression(explain, tmp_path, keras):
    saved(keras, tmp_path / "model", keras.Input((4,)), keras.layers.Dense(1))
    assert explain(tmp_path / "model")["model"]["task"] == "regression"


def test_logits_through_an_activation(explain, tmp_path, keras):
    model = saved(keras, tmp_path / "model", keras.Input((4,)), keras.layers.Dense(3))
    logits = model.predict_on_batch(IRIS.data.to_numpy(dtype=np.float32)[60:61])[0].astype(float)
    report = explain(tmp_path / "model", "--activation", "softmax")
    expected = np.exp(logits) / np.exp(logits).sum()
    assert predictions(report) == pytest.approx(expected, abs=1e-5)
    assert report["model"]["activation"] == "softmax"


@pytest.fixture
def picture(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return tmp_path / "picture.png", pixels


def image_report(cli, model, path, *options):
    result = cli("image", model, path, "-n", "40", "--segmentation", "grid", "--json", *options)
    assert result.code == 0, result.stderr
    return json.loads(result.stdout), result.stderr


def brightness(keras):
    """Layers that answer with the mean of each channel, as it arrives, through a softmax."""
    return keras.layers.GlobalAveragePooling2D(), keras.layers.Softmax()


def softmax(values):
    return np.exp(values) / np.exp(values).sum()


@pytest.mark.parametrize(
    ("name", "scaled"),
    [
        ("none", lambda x: x),
        ("scale01", lambda x: x / 255),
        ("scale-1-1", lambda x: x / 127.5 - 1),
        ("imagenet", lambda x: (x / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)),
        ("caffe", lambda x: x[..., ::-1] - (103.939, 116.779, 123.68)),
        ("100,50", lambda x: (x - 100) / 50),
        ("mypixels:halved", lambda x: x / 2 / 255),
    ],
)
def test_preprocessing(cli, tmp_path, keras, picture, name, scaled, monkeypatch):
    path, pixels = picture
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mypixels.py").write_text("def halved(pixels):\n    return pixels / 2 / 255\n")
    saved(keras, tmp_path / "model", keras.Input((16, 16, 3)), *brightness(keras))
    report, _ = image_report(cli, tmp_path / "model", path, "--preprocess", name)
    expected = softmax(scaled(pixels.astype(float)).mean(axis=(0, 1)))
    assert predictions(report) == pytest.approx(expected, abs=1e-4)
    assert report["settings"]["preprocess"] == name


def test_a_network_that_scales_its_own_input_is_left_alone(cli, tmp_path, keras, picture):
    path, pixels = picture
    saved(keras, tmp_path / "model", keras.Input((16, 16, 3)),
          keras.layers.Rescaling(1 / 255), *brightness(keras))  # fmt: skip
    report, notes = image_report(cli, tmp_path / "model", path)
    assert predictions(report) == pytest.approx(softmax(pixels.mean(axis=(0, 1)) / 255), abs=1e-4)
    assert "--preprocess none" in notes


def test_a_network_of_any_size(cli, tmp_path, keras, picture):
    path, _ = picture
    saved(keras, tmp_path / "model", keras.Input((None, None, 3)), *brightness(keras))
    report, notes = image_report(cli, tmp_path / "model", path)
    assert report["settings"]["image_size"] == [224, 224]
    assert "224" in notes
    report, _ = image_report(cli, tmp_path / "model", path, "--image-size", "16")
    assert report["settings"]["image_size"] == [16, 16]


def channel_first_onnx(path, batch):
    from onnx import TensorProto, helper

    shape = [batch, 3, 16, 16]
    nodes = [helper.make_node("ReduceMean", ["x"], ["m"], axes=[2, 3], keepdims=0),
             helper.make_node("Softmax", ["m"], ["p"])]  # fmt: skip
    graph = helper.make_graph(
        nodes, "means", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, [batch, 3])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("batch", ["n", 1, 7])
def test_channels_first_and_fixed_batches(cli, tmp_path, picture, batch):
    pytest.importorskip("onnx")
    path, pixels = picture
    channel_first_onnx(tmp_path / "model", batch)
    report, _ = image_report(cli, tmp_path / "model", path)
    assert predictions(report) == pytest.approx(softmax(pixels.mean(axis=(0, 1)) / 255), abs=1e-5)


def test_class_names_from_keras_class_index(cli, tmp_path, picture):
    pytest.importorskip("onnx")
    path, _ = picture
    channel_first_onnx(tmp_path / "model", "n")
    index = {"0": ["n1", "red"], "1": ["n2", "green"], "2": ["n3", "blue"]}
    (tmp_path / "names.json").write_text(json.dumps(index))
    report, _ = image_report(cli, tmp_path / "model", path, "--class-names",
                             tmp_path / "names.json")  # fmt: skip
    assert report["model"]["class_names"] == ["red", "green", "blue"]


def test_hidden_superpixels_take_the_hide_colour(cli, tmp_path, picture):
    """On black, each superpixel adds its own brightness: the weights are known."""
    pytest.importorskip("onnx")
    path, pixels = picture
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["x"], ["m"], axes=[1, 2, 3], keepdims=1),
         helper.make_node("Flatten", ["m"], ["p"])], "brightness",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 16, 16, 3])],
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, ["n", 1])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    (tmp_path / "model").write_bytes(model.SerializeToString())
    result = cli("image", tmp_path / "model", path, "-n", "2000", "--segmentation", "grid",
                 "--num-segments", "4", "--hide-color", "black", "--json")  # fmt: skip
    (item,) = json.loads(result.stdout)["explanations"]
    (label,) = item["labels"]
    assert label["r2_fit"] == pytest.approx(1, abs=1e-3)
    quarters = pixels.reshape(2, 8, 2, 8, 3).mean(axis=(1, 3, 4)).ravel() / 255 / 4
    for part in label["attributions"]:
        assert abs(part["weight"]) == pytest.approx(quarters[part["index"]], rel=0.02)
        assert part["area"] == 0.25
