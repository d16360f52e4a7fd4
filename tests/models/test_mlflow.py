"""MLflow folders: opened by their flavour, nothing outside of them read, nothing of theirs run."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from tests.conftest import SAMPLES

pytest.importorskip("yaml")
IRIS = load_iris(as_frame=True)
QUICK = ("-n", "120")

# As MLflow 2.22 and 3.17 write it; FLAVOR stands for what differs.
MLMODEL = """flavors:
  python_function:
    env:
      conda: conda.yaml
      virtualenv: python_env.yaml
    loader_module: mlflow.sklearn
    model_path: model.pkl
    predict_fn: predict
    python_version: 3.11.7
FLAVOR
is_signature_from_type_hint: false
mlflow_version: 3.17.2
model_id: null
model_size_bytes: 10397
model_uuid: 4e7991d6db4144b69bb2c32f3ec9b755
prompts: null
signature:
  inputs: 'INPUTS'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]'
  params: null
type_hint_from_example: false
utc_time_created: '2026-11-21 13:52:36.692807'
"""
SKLEARN = """  sklearn:
    code: null
    pickled_model: {file}
    serialization_format: {format}
    sklearn_version: {version}
    skops_trusted_types: null"""


def columns(frame=IRIS.data, **types):
    kinds = {name: "double" if kind.kind in "fiu" else "string"
             for name, kind in frame.dtypes.items()}  # fmt: skip
    return json.dumps([{"type": types.get(name, kind), "name": name, "required": True}
                       for name, kind in kinds.items()])  # fmt: skip


def mlmodel(folder, flavor, inputs=None):
    folder.mkdir(exist_ok=True)
    text = MLMODEL.replace("FLAVOR", flavor).replace("INPUTS", inputs or columns())
    (folder / "MLmodel").write_text(text)
    (folder / "conda.yaml").write_text("name: mlflow-env\n")
    (folder / "requirements.txt").write_text("mlflow==3.17.2\n")
    return folder


def sklearn_flavor(file="model.pkl", form="cloudpickle", version=None):
    import sklearn

    return SKLEARN.format(file=file, format=form, version=version or sklearn.__version__)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    path = tmp_path_factory.mktemp("mlflow") / "iris.csv"
    IRIS.data.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def forest():
    return RandomForestClassifier(5, random_state=0).fit(IRIS.data, IRIS.target)


@pytest.fixture
def folder(tmp_path, forest):
    """A scikit-learn model as MLflow saves it."""
    made = mlmodel(tmp_path / "model", sklearn_flavor())
    joblib.dump(forest, made / "model.pkl")
    return made


@pytest.fixture
def explain(cli, rows):
    def run(model, *options, data=None):
        result = cli("tabular", model, data or rows, "-r", "60", *QUICK, "--json", *options)
        assert result.code == 0, result.stderr
        return json.loads(result.stdout)

    return run


@pytest.fixture
def refused(fails, rows):
    def run(model, *options):
        return fails(3, "tabular", model, rows, "-r", "60", *QUICK, *options).stderr

    return run


def predictions(report):
    scores = report["explanations"][0]["prediction"]
    return [score["value"] for score in sorted(scores, key=lambda score: score["index"])]


def folder_hash(folder):
    """What `sha256sum` over the sorted files prints, hashed."""
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder)}\n"
             for path in sorted(folder.rglob("*")) if path.is_file()]  # fmt: skip
    return hashlib.sha256("".join(lines).encode()).hexdigest()


# What is opened


@pytest.mark.parametrize("named", ["{}", "{}/", "{}/MLmodel"])
def test_a_folder_by_any_of_its_names(explain, folder, forest, named):
    report = explain(named.format(folder))
    assert report["model"]["format"] == "mlflow/sklearn"
    assert report["model"]["path"] == str(folder)
    assert report["model"]["sha256"] == folder_hash(folder)
    assert report["model"]["feature_names"] == list(IRIS.data)
    assert predictions(report) == forest.predict_proba(IRIS.data[60:61])[0].tolist()


def test_a_background_beside_the_folder(explain, cli, folder, rows):
    beside = folder.parent / "model.background.json"
    if cli("background", rows, "-o", beside).code:
        pytest.skip("no background command here")
    report = explain(f"{folder}/")
    assert report["background"]["source"] == "sidecar"


def test_a_regression(explain, tmp_path):
    folder = mlmodel(tmp_path / "m", sklearn_flavor())
    model = RandomForestRegressor(5, random_state=0).fit(IRIS.data, IRIS.target * 1.0)
    joblib.dump(model, folder / "model.pkl")
    assert explain(folder)["model"]["task"] == "regression"


def test_the_skops_format(explain, tmp_path, forest):
    skops = pytest.importorskip("skops.io")
    folder = mlmodel(tmp_path / "m", sklearn_flavor("model.skops", "skops"))
    skops.dump(forest, folder / "model.skops")
    assert predictions(explain(folder)) == forest.predict_proba(IRIS.data[60:61])[0].tolist()


def test_the_signature_names_the_columns_where_the_model_does_not(explain, tmp_path):
    folder = mlmodel(tmp_path / "m", sklearn_flavor())
    model = LogisticRegression(max_iter=500).fit(IRIS.data.to_numpy(), IRIS.target)
    joblib.dump(model, folder / "model.pkl")
    turned = tmp_path / "turned.csv"
    IRIS.data.assign(extra="x")[["extra", *reversed(IRIS.data.columns)]].to_csv(turned, index=False)
    report = explain(folder, data=turned)
    assert report["model"]["feature_names"] == list(IRIS.data)
    assert predictions(report) == pytest.approx(
        model.predict_proba(IRIS.data.to_numpy()[60:61])[0]
    )  # fmt: skip


def test_a_string_column_keeps_its_spelling(explain, tmp_path):
    frame = pd.DataFrame({"code": ["007", "010", "100"] * 30, "size": np.arange(90.0)})
    model = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["code"]), remainder="passthrough"),
        LogisticRegression(max_iter=2000),
    ).fit(frame, frame["code"] == "007")
    folder = mlmodel(tmp_path / "m", sklearn_flavor(), columns(frame, code="string"))
    joblib.dump(model, folder / "model.pkl")
    frame.to_csv(tmp_path / "x.csv", index=False)
    report = explain(folder, data=tmp_path / "x.csv")
    assert predictions(report) == pytest.approx(model.predict_proba(frame[60:61])[0])


def test_another_version_is_noted(cli, tmp_path, rows, forest):
    folder = mlmodel(tmp_path / "m", sklearn_flavor(version="1.0.2"))
    joblib.dump(forest, folder / "model.pkl")
    result = cli("tabular", folder, rows, "-r", "60", *QUICK)
    assert result.code == 0
    assert result.stderr.count("saved with scikit-learn 1.0.2") == 1


def booster(tmp_path, flavor):
    if flavor == "xgboost":
        xgboost = pytest.importorskip("xgboost")
        pytest.importorskip("limecli.models.xgboost")
        model = xgboost.XGBClassifier(n_estimators=3, max_depth=2).fit(IRIS.data, IRIS.target)
        text = "  xgboost:\n    code: null\n    data: model.ubj\n    xgb_version: 3.2.0"
        folder = mlmodel(tmp_path / "m", text)
        model.save_model(folder / "model.ubj")
    else:
        lightgbm = pytest.importorskip("lightgbm")
        pytest.importorskip("limecli.models.lightgbm")
        model = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(IRIS.data, IRIS.target)
        text = "  lightgbm:\n    code: null\n    data: model.lgb\n    lgb_version: 4.7.0"
        folder = mlmodel(tmp_path / "m", text)
        model.booster_.save_model(folder / "model.lgb")
    return folder, model


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("flavor", ["xgboost", "lightgbm"])
def test_boosters(explain, tmp_path, flavor):
    folder, model = booster(tmp_path, flavor)
    report = explain(folder)
    assert report["model"]["format"] == f"mlflow/{flavor}"
    assert predictions(report) == pytest.approx(model.predict_proba(IRIS.data[60:61])[0], abs=1e-5)


def onnx_folder(tmp_path, location="weights.data"):
    onnx = pytest.importorskip("onnx")
    folder = mlmodel(tmp_path / "m", "  onnx:\n    code: null\n    data: model.onnx", "[]")
    proto = onnx.load(SAMPLES / "digits.onnx")
    onnx.save_model(proto, folder / "model.onnx", save_as_external_data=True, size_threshold=0,
                    location="weights.data")  # fmt: skip
    if location != "weights.data":
        data = (folder / "model.onnx").read_bytes()
        assert b"weights.data" in data
        (folder / "model.onnx").write_bytes(data.replace(b"weights.data", location.encode()))
    return folder


def test_an_onnx_model_with_its_weights_beside_it(cli, tmp_path):
    folder = onnx_folder(tmp_path)
    ours, plain = (cli("image", model, SAMPLES / "digit-3.png", "-n", "60", "--json")
                   for model in (folder, SAMPLES / "digits.onnx"))  # fmt: skip
    assert ours.code == plain.code == 0, ours.stderr
    assert predictions(json.loads(ours.stdout)) == predictions(json.loads(plain.stdout))


def test_weights_outside_of_the_folder_are_refused(fails, tmp_path):
    folder = onnx_folder(tmp_path, "../hts.data.")
    result = fails(3, "image", folder, SAMPLES / "digit-3.png")
    assert "outside of itself" in result.stderr


@pytest.mark.parametrize(("flavor", "suffix"), [("keras", "keras"), ("tensorflow", "h5")])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_network_in_the_data_folder(explain, tmp_path, keras, flavor, suffix):
    folder = mlmodel(tmp_path / "m", f"  {flavor}:\n    data: data\n    keras_version: 3.15.1")
    (folder / "data").mkdir()
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
    model.save(folder / "data" / f"model.{suffix}")
    report = explain(folder)
    expected = model.predict_on_batch(IRIS.data.to_numpy(dtype=np.float32)[60:61])[0]
    assert predictions(report) == pytest.approx(expected, abs=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_what_mlflow_itself_saves(explain, tmp_path, forest):
    mlflow = pytest.importorskip("mlflow.sklearn", reason="MLflow is not installed here")
    mlflow.save_model(forest, tmp_path / "m", serialization_format="cloudpickle",
                      pip_requirements=["scikit-learn"])  # fmt: skip
    assert (
        predictions(explain(tmp_path / "m")) == forest.predict_proba(IRIS.data[60:61])[0].tolist()
    )


def test_inspect(cli, folder):
    result = cli("inspect", folder, "--json")
    assert result.code == 0, result.stderr
    info = json.loads(result.stdout)
    assert info["format"] == "mlflow/sklearn"
    assert info["sha256"] == folder_hash(folder)
    assert info["versions"]["mlflow"]["saved"] == "3.17.2"
    assert "scikit-learn" in info["versions"]
    assert info["estimator"]["estimator"] == "RandomForestClassifier"
    assert any("model.pkl" in note for note in info["notes"])
    assert any("4e7991d6db4144b69bb2c32f3ec9b755" in note for note in info["notes"])


# What is refused


def test_python_code_is_not_run(refused, tmp_path):
    folder = mlmodel(tmp_path / "m", "")
    text = (folder / "MLmodel").read_text()
    (folder / "MLmodel").write_text(text.replace("mlflow.sklearn", "mlflow.pyfunc.model"))
    joblib.dump({}, folder / "python_model.pkl")
    stderr = refused(folder)
    assert "code of its own, which is not run" in stderr
    assert "yourmodule:" in stderr


def test_a_flavour_of_another_library(refused, tmp_path):
    stderr = refused(mlmodel(tmp_path / "m", "  spark:\n    model_data: sparkml"))
    assert "flavour spark" in stderr
    assert "sklearn" in stderr


def test_the_pickle_inside_is_guarded(refused, folder, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'marker'}",)

    joblib.dump(Evil(), folder / "model.pkl")
    stderr = refused(folder)
    assert "posix.system" in stderr
    assert str(folder / "model.pkl") in stderr
    assert not (tmp_path / "marker").exists()


def test_what_the_folder_calls_trusted_is_not(refused, folder):
    from .test_skops import obj, packed

    text = (folder / "MLmodel").read_text().replace("model.pkl", "model.skops")
    text = text.replace("skops_trusted_types: null", "skops_trusted_types: [evil.Model]")
    (folder / "MLmodel").write_text(text)
    (folder / "model.skops").write_bytes(packed(obj("evil.Model", {})))
    assert "evil.Model, which is not on limecli's list" in refused(folder)


@pytest.mark.parametrize("place", ["../model.pkl", "/etc/passwd", "a/../../model.pkl", "..",
                                   "link.pkl", "linked/model.pkl", "", "[1]"])  # fmt: skip
def test_a_model_outside_of_the_folder(refused, folder, place):
    shutil.copy(folder / "model.pkl", folder.parent / "model.pkl")
    (folder / "link.pkl").symlink_to(folder.parent / "model.pkl")
    (folder / "linked").symlink_to(folder.parent)
    text = (folder / "MLmodel").read_text()
    place = place or "''"
    (folder / "MLmodel").write_text(
        text.replace("pickled_model: model.pkl", f"pickled_model: {place}")
    )
    assert "outside of itself" in refused(folder)


def test_an_mlmodel_that_names_itself(refused, folder):
    text = (folder / "MLmodel").read_text()
    (folder / "MLmodel").write_text(
        text.replace("pickled_model: model.pkl", "pickled_model: MLmodel")
    )
    assert "is of format mlflow" in refused(folder)


def test_a_file_that_is_not_there(refused, folder):
    (folder / "model.pkl").unlink()
    assert "names model.pkl in its MLmodel, but there is no such file" in refused(folder)


def test_a_file_cut_short(refused, folder):
    data = (folder / "model.pkl").read_bytes()
    (folder / "model.pkl").write_bytes(data[: len(data) // 2])
    assert "damaged" in refused(folder)


def test_a_saved_model_of_tensorflow(refused, tmp_path):
    folder = mlmodel(tmp_path / "m", "  tensorflow:\n    data: data")
    (folder / "data" / "model").mkdir(parents=True)
    (folder / "data" / "model" / "saved_model.pb").write_bytes(b"\x08\x01")
    stderr = refused(folder)
    assert "SavedModel" in stderr
    assert ".keras" in stderr


def test_a_folder_that_changes_while_it_is_read(refused, folder, monkeypatch):
    from limecli.models.pickle import PickleLoader

    load = PickleLoader.load

    def changing(self, file, options):
        (folder / "requirements.txt").write_text("another\n")
        return load(self, file, options)

    monkeypatch.setattr(PickleLoader, "load", changing)
    assert "changed while it was read" in refused(folder)


@pytest.mark.parametrize(
    "text",
    ["flavors: 3", "flavors:\n  sklearn: 3", "flavors: {sklearn: {pickled_model: 7}}", "flavors: [",
     "flavors:\n  sklearn: !!python/object/apply:os.system ['touch marker']", "flavors:\n\x00",
     "flavors: {}", "[" * 3000 + " flavors:", "a: &a [flavors:]\nb: *a"],
)  # fmt: skip
def test_an_mlmodel_that_is_none(refused, folder, tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (folder / "MLmodel").write_text(text)
    assert "m" in refused(folder)
    assert not (tmp_path / "marker").exists()


def test_yaml_that_unfolds_to_gigabytes(refused, folder):
    names = "abcdefghij"
    lines = ['a: &a ["x"]']
    for before, name in itertools.pairwise(names):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]")
    lines.append("mlflow_version: *j\nflavors: {sklearn: {pickled_model: model.pkl}}")
    (folder / "MLmodel").write_text("\n".join(lines))
    assert "aliases" in refused(folder)


def test_versions_that_are_no_text(cli, folder):
    path = folder / "MLmodel"
    path.write_text(path.read_text().replace("mlflow_version: 3.17.2", "mlflow_version: [1, [2]]"))
    result = cli("inspect", folder, "--json")
    assert result.code == 0, result.stderr
    assert "mlflow" not in json.loads(result.stdout)["versions"]


def test_a_huge_mlmodel(refused, folder):
    (folder / "MLmodel").write_text("flavors:\n" + "#" * (5 << 20))
    assert "MLmodel" in refused(folder)
