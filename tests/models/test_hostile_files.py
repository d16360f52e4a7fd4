"""Native model files that read, allocate or run more than a model needs. None may."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from limecli.errors import ModelError, PredictError
from limecli.models.interface import LoadOptions, ModelFile

X = np.random.default_rng(0).normal(size=(200, 7)).astype("f4")
Y = (X[:, 0] + X[:, 1] > 0).astype(int)
TABLE = LoadOptions(kind="tabular")


@pytest.fixture(autouse=True)
def _working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X[0].tofile("secret.bin")


# ONNX


def external(name):
    from onnx import TensorProto

    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[7, 1])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "secret.bin", "offset": "0", "length": "28"}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def onnx_file(nodes, initializer=(), functions=()):
    from onnx import TensorProto, helper

    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, width])
        for name, width in (("x", 7), ("y", 1))
    ]
    graph = helper.make_graph(nodes, "g", infos[:1], infos[1:], initializer=list(initializer))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9, functions=list(functions))
    return ModelFile("evil.onnx", model.SerializeToString())


def branches(initializer=(), nodes=()):
    from onnx import TensorProto, helper, numpy_helper

    out = helper.make_tensor_value_info("yy", TensorProto.FLOAT, [None, 1])
    product = helper.make_node("MatMul", ["x", "w"], ["yy"])
    inner = helper.make_graph([*nodes, product], "s", [], [out], initializer=list(initializer))
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    return [node], [numpy_helper.from_array(np.array(True), "c")]


def constant(name):
    from onnx import helper

    return helper.make_node("Constant", [], [name], value=external(name))


def onnx_files():
    from onnx import SparseTensorProto, helper

    product = helper.make_node("MatMul", ["x", "w"], ["y"])
    yield onnx_file([product], [external("w")])
    yield onnx_file([constant("w"), product])
    yield onnx_file(*branches([external("w")]))
    yield onnx_file(*branches(nodes=[constant("w")]))
    call = helper.make_node("F", ["x"], ["y"], domain="own")
    opsets = [helper.make_opsetid("", 17)]
    function = helper.make_function("own", "F", ["x"], ["y"], [constant("w"), product], opsets)
    yield onnx_file([call], functions=[function])
    sparse = SparseTensorProto(values=external("w"), dims=[7, 1])
    node = helper.make_node("Constant", [], ["w"], sparse_value=sparse)
    yield onnx_file([node, product])


@pytest.mark.parametrize("index", range(6))
@pytest.mark.parametrize("method", ["load", "inspect"])
def test_onnx_reads_no_other_file(index, method):
    pytest.importorskip("onnxruntime")
    from limecli.models.onnx import OnnxLoader

    file = list(onnx_files())[index]
    with pytest.raises(ModelError, match="keeps its weights in another file"):
        getattr(OnnxLoader(), method)(file, TABLE)


def test_onnx_with_branches_of_its_own_still_loads():
    pytest.importorskip("onnxruntime")
    from onnx import numpy_helper

    from limecli.models.onnx import OnnxLoader

    weights = numpy_helper.from_array(np.full((7, 1), 0.01, "f4"), "w")
    file = onnx_file(*branches([weights]))
    predictor = OnnxLoader().load(file, LoadOptions(kind="tabular", task="regression"))
    assert predictor.predict_fn(_frame()).shape == (200, 1)


def _frame():
    import pandas as pd

    return pd.DataFrame(X)


def test_onnx_that_loops_for_ever_is_stopped(monkeypatch):
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper, numpy_helper

    from limecli.models import onnx

    def info(name, kind, *shape):
        return helper.make_tensor_value_info(name, kind, shape)

    body = helper.make_graph(
        [helper.make_node("Identity", [name], [name + "2"]) for name in "ca"],
        "b",
        [info("i", TensorProto.INT64), info("c", TensorProto.BOOL),
         info("a", TensorProto.FLOAT, None, 1)],
        [info("c2", TensorProto.BOOL), info("a2", TensorProto.FLOAT, None, 1)],
    )  # fmt: skip
    nodes = [
        helper.make_node("ReduceSum", ["x", "ax"], ["q"], keepdims=1),
        helper.make_node("Loop", ["n", "t", "q"], ["y"], body=body),
    ]
    values = {"ax": np.array([1]), "n": np.array(1 << 62), "t": np.array(True)}
    file = onnx_file(nodes, [numpy_helper.from_array(v, name) for name, v in values.items()])
    monkeypatch.setattr(onnx, "_PATIENCE_S", 0.3)
    monkeypatch.setattr(onnx, "_PATIENCE_PER_ROW_S", 0.0)
    predictor = onnx.OnnxLoader().load(file, LoadOptions(kind="tabular", task="regression"))
    with pytest.raises(PredictError, match="did not answer within"):
        predictor.predict_fn(_frame())


# Keras


def keras_model(tmp_path):
    pytest.importorskip("keras")
    pytest.importorskip("h5py")
    from limecli.models.keras import import_keras

    keras = import_keras()
    model = keras.Sequential([keras.layers.Input((7,)), keras.layers.Dense(1)])
    model.save(tmp_path / "model.h5")
    model.save(tmp_path / "model.keras")
    return tmp_path / "model.h5", tmp_path / "model.keras"


def kernel_in(content):
    import h5py

    found = []

    def look(name, item):
        if isinstance(item, h5py.Dataset) and item.shape == (7, 1):
            found.append(name)

    content.visititems(look)
    return found[0]


def replaced(path, how):
    """The HDF5 file with its kernel replaced by what lies in another file."""
    import h5py

    with h5py.File("other.h5", "w") as other:
        other["secret"] = X[0].reshape(7, 1)
    with h5py.File(path, "a") as content:
        name = kernel_in(content)
        del content[name]
        if how == "link":
            content[name] = h5py.ExternalLink("other.h5", "/secret")
        elif how == "storage":
            content.create_dataset(name, (7, 1), "f4", external=[("secret.bin", 0, 28)])
        elif how == "virtual":
            layout = h5py.VirtualLayout((7, 1), "f4")
            layout[:] = h5py.VirtualSource("other.h5", "secret", (7, 1))
            content.create_virtual_dataset(name, layout)
        else:
            content.create_dataset(name, (1 << 20, 1 << 20), "f4", chunks=(1024, 1024))


@pytest.mark.parametrize("how", ["link", "storage", "virtual", "huge"])
@pytest.mark.parametrize("zipped", [False, True])
def test_keras_reads_no_other_file(tmp_path, how, zipped):
    from limecli.models.keras import KerasLoader

    path, archive = keras_model(tmp_path)
    if zipped:
        members = zip_members(archive)
        path.write_bytes(members["model.weights.h5"])
        replaced(path, how)
        archive = zipped_file({**members, "model.weights.h5": path.read_bytes()})
    else:
        replaced(path, how)
        archive = path.read_bytes()
    words = "unpack to far more" if how == "huge" else "keeps its weights in another file"
    with pytest.raises(ModelError, match=words):
        KerasLoader().load(ModelFile("evil", archive), TABLE)


def zip_members(path):
    with zipfile.ZipFile(path) as content:
        return {name: content.read(name) for name in content.namelist()}


def zipped_file(members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as content:
        for name, data in members.items():
            content.writestr(name, data)
    return out.getvalue()


def test_sound_keras_files_load(tmp_path):
    from limecli.models.keras import KerasLoader

    for path in keras_model(tmp_path):
        predictor = KerasLoader().load(ModelFile(str(path)), TABLE)
        assert predictor.predict_fn(_frame()).shape == (200, 1)


def test_keras_allocates_no_more_than_the_file_can_hold(tmp_path):
    from limecli.models.keras import KerasLoader, import_keras

    _, archive = keras_model(tmp_path)
    members = zip_members(archive)
    config = json.loads(members["config.json"])
    config["config"]["layers"][-1]["config"]["units"] = 400_000_000
    members["config.json"] = json.dumps(config).encode()
    layer = import_keras().layers.Layer
    before = layer.add_weight
    with pytest.raises(ModelError, match="far more weights than it holds"):
        KerasLoader().load(ModelFile("evil.keras", zipped_file(members)), TABLE)
    assert layer.add_weight is before


@pytest.mark.parametrize("method", ["load", "inspect"])
@pytest.mark.parametrize("size", [40, 600, -100])
def test_a_cut_hdf5_file_is_told_of_in_one_sentence(tmp_path, method, size):
    from limecli.models.keras import KerasLoader

    path, _ = keras_model(tmp_path)
    file = ModelFile("cut.h5", path.read_bytes()[:size])
    with pytest.raises(ModelError) as error:
        getattr(KerasLoader(), method)(file, TABLE)
    assert error.value.message == "cut.h5 is a damaged HDF5 file: it is cut short"


# Boosters' texts


@pytest.fixture(scope="module")
def booster_text():
    lightgbm = pytest.importorskip("lightgbm")
    model = lightgbm.LGBMClassifier(n_estimators=2, num_leaves=6, verbose=-1).fit(X, Y)
    return model.booster_.model_to_string(num_iteration=-1)


def test_a_sound_lightgbm_state_is_cleaned_and_predicts_the_same(booster_text):
    import lightgbm

    from limecli.models.lightgbm_text import check_pickled_model

    cleaned = check_pickled_model(booster_text.replace("\n", "\r\n"), "model.pkl")
    assert "learning_rate" not in cleaned
    both = [lightgbm.Booster(model_str=text).predict(X) for text in (booster_text, cleaned)]
    assert np.array_equal(*both)
    assert "learning_rate" not in check_pickled_model(cleaned, "model.pkl")


def test_a_cleaned_state_still_says_which_columns_are_categories():
    lightgbm = pytest.importorskip("lightgbm")
    import pandas as pd

    from limecli.models.lightgbm_text import check_pickled_model, read_header

    frame = pd.DataFrame({"a": pd.Categorical(list("abcd") * 50), "b": X[:, 0]})
    model = lightgbm.LGBMClassifier(n_estimators=2, verbose=-1).fit(frame, Y)
    cleaned = check_pickled_model(model.booster_.model_to_string(), "model.pkl")
    again = lightgbm.Booster(model_str=cleaned).model_to_string()
    assert read_header(again, "model.pkl").categories == {0: list("abcd")}
    assert "[categorical_feature: 0]" in cleaned


def _set(key, change):
    def edit(text):
        return re.sub(rf"(?m)^{key}=(.*)$", lambda found: f"{key}={change(found[1])}", text)

    return edit


def _parts(text):
    """The header, and the trees with all that follows."""
    head, _, rest = text.partition("\nTree=0\n")
    return head, "Tree=0\n" + rest


def _in_parameters(text):
    # What lies between the marks is cut out after the check: other trees stand behind it.
    head, rest = _parts(text)
    return f"{head}\nparameters:\n\n{rest}\nend of parameters\n\n{head}\n{rest}"


LIGHTGBM = {
    "circle": _set("left_child", lambda old: " ".join("0" for _ in old.split())),
    "child": _set("right_child", lambda old: " ".join("900000000" for _ in old.split())),
    "feature": _set("split_feature", lambda old: " ".join("900000000" for _ in old.split())),
    "short": _set("leaf_value", lambda old: old.split()[0]),
    "underscore": _set("split_feature", lambda old: " ".join("0_0" for _ in old.split())),
    "tab": _set("split_feature", lambda old: old.replace(" ", " \t")),
    "other digits": _set("split_feature", lambda old: old.replace("0", "\u0660")),
    "number": _set("num_class", lambda old: "0_1"),
    "equals": lambda text: text.replace("\nnum_class", "\n=num_class=9\nnum_class", 1),
    "lone CR": lambda text: text.replace("\nnum_class", "\nx=1\rnum_class=9\nnum_class", 1),
    "early tree": lambda text: text.replace("\nTree=0\n", "\nTree=00\n\nTree=0\n", 1),
    "early end": lambda text: text.replace("\nnum_class", "\nend of trees\nnum_class", 1),
    "in parameters": _in_parameters,
}


def _resized(text):
    """The sizes that belong to altered trees."""
    _, rest = _parts(text)
    trees = re.findall(r"(?s)(Tree=\d+\n.*?)(?=Tree=\d+\n|end of trees)", rest)
    sizes = " ".join(str(len(tree.encode())) for tree in trees[:2])
    return re.sub(r"(?m)^tree_sizes=.*$", f"tree_sizes={sizes}", text)


@pytest.mark.parametrize("name", LIGHTGBM)
def test_a_hostile_lightgbm_state_is_refused(booster_text, name):
    from limecli.models.lightgbm_text import check_pickled_model

    assert _resized(booster_text) == booster_text
    evil = LIGHTGBM[name](booster_text)
    evil = evil if name in ("early tree", "in parameters") else _resized(evil)
    with pytest.raises(ModelError, match="is a damaged LightGBM model"):
        check_pickled_model(evil, "model.pkl")


# Boosters' states


def xgboost_model(**options):
    xgboost = pytest.importorskip("xgboost")
    return xgboost.XGBClassifier(n_estimators=2, **options).fit(X, Y)


@pytest.mark.parametrize(
    "options",
    [{}, {"booster": "dart"}, {"booster": "gblinear"}, {"objective": "multi:softprob"},
     {"num_parallel_tree": 3}, {"objective": "binary:logitraw"}],
)  # fmt: skip
def test_a_sound_xgboost_state_is_taken(options):
    from limecli.models.xgboost_document import check_pickled_handle

    if options.get("objective") == "multi:softprob":
        options = {**options, "num_class": 2}
    booster = xgboost_model(**options).get_booster()
    handle = booster.__getstate__()["handle"]
    check_pickled_handle(handle, "model.pkl")
    check_pickled_handle(state_text(booster), "model.pkl")


def state_text(booster, change=lambda content: None):
    content = {
        "Config": json.loads(booster.save_config()),
        "Model": json.loads(bytes(booster.save_raw("json"))),
    }
    change(content)
    return json.dumps(content, separators=(",", ":")).encode()


def _every_tree(key, value):
    def change(content):
        for tree in content["Model"]["learner"]["gradient_booster"]["model"]["trees"]:
            tree[key][0] = value

    return change


def _configured(*path):
    def change(content):
        *inner, key, value = path
        place = content["Config"]["learner"]
        for name in inner:
            place = place.setdefault(name, {})
        place[key] = value

    return change


XGBOOST = {
    "circle": _every_tree("left_children", 0),
    "child": _every_tree("right_children", 2_000_000_000),
    "feature": _every_tree("split_indices", 1 << 30),
    "half": lambda content: content.pop("Config"),
    "objective": _configured("objective", "name", "multi:softmax"),
    "classes": _configured("objective", "softmax_multiclass_param", "num_class", "9"),
    "features": _configured("learner_model_param", "num_feature", "900"),
    "trees": _configured("gradient_booster", "gbtree_model_param", "num_trees", "900"),
    "booster": _configured("gradient_booster", "name", "gblinear"),
}


@pytest.mark.parametrize("name", XGBOOST)
def test_a_hostile_xgboost_state_is_refused(name):
    from limecli.models.xgboost_document import check_pickled_handle

    evil = state_text(xgboost_model().get_booster(), XGBOOST[name])
    with pytest.raises(ModelError, match="is a damaged XGBoost model"):
        check_pickled_handle(evil, "model.pkl")


def _patched(data, key, value):
    """Every typed UBJSON array of int32 under `key`, overwritten."""
    mark = len(key).to_bytes(8, "big") + key + b"[$l#L"
    at = data.find(mark)
    assert at >= 0
    while at >= 0:
        start = at + len(mark) + 8
        count = int.from_bytes(data[start - 8 : start], "big")
        data[start : start + 4 * count] = value.to_bytes(4, "big") * count
        at = data.find(mark, start)
    return data


@pytest.mark.parametrize(
    ("key", "value"),
    [(b"left_children", 0), (b"right_children", 2_000_000_000), (b"split_indices", 1 << 30)],
)
def test_a_hostile_binary_xgboost_state_is_refused(key, value):
    from limecli.models.xgboost_document import check_pickled_handle

    handle = bytearray(xgboost_model().get_booster().__getstate__()["handle"])
    with pytest.raises(ModelError, match="is a damaged XGBoost model"):
        check_pickled_handle(_patched(handle, key, value), "model.pkl")


@pytest.mark.parametrize("data", [b"", b"{", b"{}", b'{"Config":' + b"[" * 400_000, b"\0" * 300])
def test_what_is_no_xgboost_state_is_refused(data):
    from limecli.models.xgboost_document import check_pickled_handle

    with pytest.raises(ModelError, match=r"model\.pkl"):
        check_pickled_handle(data, "model.pkl")


# The processes of libraries

CHILD = """
import subprocess, sys
def predict(rows):
    child = [sys.executable, "-c", "import shadow"]
    assert subprocess.run(child, capture_output=True).returncode == 1
    return [[0.5, 0.5]] * len(rows)
"""


@pytest.mark.parametrize("start", ["-m", "-c"])
def test_children_find_no_modules_in_the_working_directory(tmp_path, start):
    (tmp_path / "shadow.py").write_text("")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "model.py").write_text(CHILD)
    (tmp_path / "data.csv").write_text("a,b\n" + "".join(f"{i},{i * i}\n" for i in range(40)))
    module = ["-m", "limecli"] if start == "-m" else ["-c", "import limecli.cli as c; c.main()"]
    words = ["tabular", "own.model:predict", "data.csv", "-r", "3", "-n", "60", "--json"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONSAFEPATH"}
    here = str(Path(__file__).resolve().parents[2])
    result = subprocess.run(
        [sys.executable, *module, *words], capture_output=True, text=True, check=False,
        env={**environment, "PYTHONPATH": here}, cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
