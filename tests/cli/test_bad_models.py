"""Model files that are damaged, hostile, or no models: a code, a sentence, and nothing runs."""

import bz2
import gzip
import json
import os
import pickle
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.svm import LinearSVC

from limecli.errors import ModelError
from limecli.models.guard import guarded_load, unguarded_load
from limecli.models.interface import ModelFile
from tests.conftest import SAMPLES

COLUMNS = ["a", "b", "c"]
QUICK = ("-n", "100", "--no-progress")
SCRIPT = Path(sys.executable).with_name("limecli")  # `python -m` would search the folder itself


@pytest.fixture(scope="session")
def frame():
    rng = np.random.default_rng(0)
    return pd.DataFrame(rng.normal(size=(60, 3)), columns=COLUMNS).round(3)


@pytest.fixture(scope="session")
def labels(frame):
    return np.where(frame["a"] + frame["b"] > 0, "yes", "no")


@pytest.fixture(scope="session")
def rows(frame, tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def logistic(frame, labels):
    return LogisticRegression().fit(frame, labels)


@pytest.fixture
def refused(fails, rows):
    """Explain row 0 with a model file that must not be taken."""

    def run(path, *options, code=3):
        result = fails(code, "tabular", path, rows, "-r", "0", *QUICK, *options)
        if not options:
            assert str(path) in result.stderr
        return result.stderr

    return run


@pytest.fixture
def marker(tmp_path):
    """A file that must not come into being."""
    path = tmp_path / "marker"
    yield path
    assert not path.exists()


def written(path, data):
    path.write_bytes(data if isinstance(data, bytes) else pickle.dumps(data))
    return path


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def shell(marker):
    return Calls(os.system, f"touch {marker}")


# Files that are no models


def test_missing_model_file_is_named(refused, tmp_path):
    stderr = refused(tmp_path / "none.pkl")
    assert "no such model file" in stderr
    assert "hint: check the path" in stderr
    assert f"there is no folder {tmp_path / 'no'}" in refused(tmp_path / "no" / "none.pkl")


def test_name_that_is_nearly_there_is_guessed(refused, tmp_path):
    (tmp_path / "churn-model.pkl").write_bytes(b"")
    assert f"did you mean {tmp_path / 'churn-model.pkl'}?" in refused(tmp_path / "churn_model.pkl")


def test_directory_is_no_model(refused, tmp_path):
    assert "is a folder" in refused(tmp_path)


def test_empty_model_file_is_called_empty(refused, tmp_path):
    assert "is empty" in refused(written(tmp_path / "m.pkl", b""))


def test_text_under_the_suffix_pkl_is_called_text(refused, tmp_path):
    path = written(tmp_path / "m.pkl", b"Dear colleague,\nhere is the model.\n")
    assert "plain text" in refused(path)


def test_table_in_place_of_the_model_is_called_text(refused, rows):
    assert "plain text" in refused(rows)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n",
         ["is a Git LFS pointer, not the model itself", "git lfs pull"]),
        (b"\n<!DOCTYPE html>\n<html><body>404</body></html>\n",
         ["is an HTML page, not a model", "the download went wrong"]),
        (b"<html lang='en'>", ["is an HTML page, not a model"]),
        (b'{"features_info": {}, "model_info": {"catboost_version_info": ""}, "trees": []}',
         ["is a CatBoost model as JSON", "save it as .cbm"]),
        (b'{"features_info": {}, "oblivious_trees": []}', ["save it as .cbm"]),
    ],
)  # fmt: skip
def test_what_lies_in_a_models_place_is_called_by_its_name(refused, tmp_path, data, words):
    stderr = refused(written(tmp_path / "m.pkl", data))
    assert all(word in stderr for word in words), stderr


def test_json_of_no_model_is_text(refused, tmp_path):
    assert "plain text" in refused(written(tmp_path / "m.json", b'{"model_info": "none"}'))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_zip_cut_short_is_called_a_damaged_zip(refused, tmp_path, share):
    path = tmp_path / "m.skops"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("schema.json", "{}" * 4000)
    stderr = refused(written(path, path.read_bytes()[: int(path.stat().st_size * share)]))
    assert "is a zip archive that is cut short or damaged" in stderr


@pytest.mark.parametrize("seed", range(8))
def test_random_bytes_are_no_model(refused, tmp_path, seed):
    refused(written(tmp_path / "m.pkl", np.random.default_rng(seed).bytes(600)))


def test_path_that_the_system_refuses_is_a_model_fault(refused, tmp_path):
    assert "cannot be read" in refused(tmp_path / ("x" * 300))


# Damaged pickles


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.999])
def test_truncated_pickle_is_called_damaged(refused, tmp_path, logistic, share):
    data = pickle.dumps(logistic)
    stderr = refused(written(tmp_path / "m.pkl", data[: int(len(data) * share)]))
    assert "is a damaged pickle: it ends too early" in stderr


def test_every_way_to_end_too_early_is_told_in_the_same_words(logistic):
    data, told = pickle.dumps(logistic), set()
    for size in range(2, len(data)):
        for load in (guarded_load, unguarded_load):
            with pytest.raises(ModelError) as error:
                load(ModelFile("m.pkl", data[:size]))
            told.add(error.value.message)
    assert told == {"m.pkl is a damaged pickle: it ends too early"}


@pytest.mark.parametrize("options", [(), ("--trust-pickle",)])
@pytest.mark.parametrize("pack", [gzip.compress, bytes])
def test_byte_that_is_no_opcode_is_damage(refused, tmp_path, pack, options):
    path = written(tmp_path / "m.pkl", pack(b"\x80\x04\x00"))
    assert "is a damaged pickle: byte 0x00 is no pickle opcode" in refused(path, *options)


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)])
def test_truncated_joblib_is_called_damaged(refused, tmp_path, logistic, compress):
    path = tmp_path / "m.joblib"
    joblib.dump(logistic, path, compress=compress)
    stderr = refused(written(path, path.read_bytes()[: path.stat().st_size // 2]))
    assert "damaged" in stderr


@pytest.mark.parametrize("options", [(), ("--trust-pickle",)])
@pytest.mark.parametrize("name", ["zlib", "gzip", "bz2", "xz", "lzma"])
def test_compressed_joblib_without_its_checksum_is_called_damaged(
    refused, tmp_path, logistic, name, options
):
    path = tmp_path / "m.joblib"
    joblib.dump(logistic, path, compress=(name, 3))
    cut = written(path, path.read_bytes()[:-5])
    assert "is a damaged pickle: it ends too early" in refused(cut, *options)


@pytest.mark.parametrize("name", ["zlib", "gzip", "bz2", "xz"])
def test_compressed_joblib_with_another_checksum_is_called_damaged(
    refused, tmp_path, logistic, name
):
    path = tmp_path / "m.joblib"
    joblib.dump(logistic, path, compress=(name, 3))
    data = bytearray(path.read_bytes())
    data[-8 if name == "gzip" else -4] ^= 1  # a gzip file ends with the length
    assert "damaged" in refused(written(path, bytes(data)))


def test_truncated_array_in_a_joblib_is_called_damaged(refused, tmp_path, logistic):
    path = tmp_path / "m.joblib"
    joblib.dump(logistic, path)
    coefficients = path.read_bytes().index(logistic.coef_.tobytes())
    stderr = refused(written(path, path.read_bytes()[: coefficients + 5]))
    assert "damaged pickle: it ends too early" in stderr


def test_flipped_bits_never_count_as_a_bug(cli, rows, tmp_path, logistic):
    data, rng = pickle.dumps(logistic), np.random.default_rng(1)
    unforeseen = []
    for _ in range(60):
        damaged = bytearray(data)
        at = int(rng.integers(len(data)))
        damaged[at] ^= 1 << int(rng.integers(8))
        path = written(tmp_path / "m.pkl", bytes(damaged))
        result = cli("tabular", path, rows, "-r", "0", "-n", "10", "--no-progress")
        if result.code not in (0, 2, 3, 4, 5) or "Traceback" in result.stderr:
            unforeseen.append((at, result.stderr))
    assert unforeseen == []


def test_huge_array_in_a_small_file_is_refused(refused, tmp_path):
    # The header of an array of 8 EiB: numpy must not be asked for it.
    path = tmp_path / "m.joblib"
    joblib.dump(np.zeros(3), path)
    data = path.read_bytes()
    at = data.index(b"shape") + len(b"shape")
    start = data.index(b"K\x03", at)
    refused(written(path, data[:start] + b"\x8a\x08" + (1 << 60).to_bytes(8, "little")
                    + data[start + 2 :]))  # fmt: skip


# Pickles that want to run something


def test_os_system_is_refused_by_name(refused, tmp_path, marker):
    stderr = refused(written(tmp_path / "m.pkl", shell(marker)))
    assert "posix.system" in stderr
    assert "refused" in stderr


@pytest.mark.parametrize("protocol", range(6))
def test_os_system_is_refused_in_every_protocol(refused, tmp_path, marker, protocol):
    path = written(tmp_path / "m.pkl", pickle.dumps(shell(marker), protocol=protocol))
    assert "posix.system" in refused(path)


def test_eval_is_refused_by_name(refused, tmp_path, marker):
    call = Calls(eval, f"__import__('os').system('touch {marker}')")
    assert "builtins.eval" in refused(written(tmp_path / "m.pkl", call))


def test_eval_is_refused_under_its_python_2_name(refused, tmp_path, marker):
    call = Calls(eval, f"__import__('os').system('touch {marker}')")
    path = written(tmp_path / "m.pkl", pickle.dumps(call, protocol=0))
    assert "builtins.eval" in refused(path)


def test_code_in_a_joblib_object_array_is_refused(refused, tmp_path, marker):
    path = tmp_path / "m.joblib"
    joblib.dump(np.array([shell(marker), 1], dtype=object), path)
    assert "posix.system" in refused(path)


def test_code_in_an_object_array_within_a_model_is_refused(refused, tmp_path, marker, logistic):
    model = LogisticRegression()
    vars(model).update(vars(logistic), notes_=np.array([shell(marker), 1], dtype=object))
    path = tmp_path / "m.joblib"
    joblib.dump(model, path, compress=3)
    assert "posix.system" in refused(path)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, zlib.compress])
def test_code_in_a_compressed_pickle_is_refused(refused, tmp_path, marker, pack):
    path = written(tmp_path / "m.pkl", pack(pickle.dumps(shell(marker))))
    assert "posix.system" in refused(path)


def test_code_beside_a_real_model_is_refused(refused, tmp_path, marker, logistic):
    model = LogisticRegression()
    vars(model).update(vars(logistic), notes_=shell(marker))
    assert "posix.system" in refused(written(tmp_path / "m.pkl", model))


def test_class_whose_construction_runs_something_is_refused(refused, tmp_path, marker):
    call = Calls(subprocess.Popen, ["touch", str(marker)])
    assert "subprocess.Popen" in refused(written(tmp_path / "m.pkl", call))


def _inst(marker):
    return b"(Vtouch %s\nios\nsystem\n." % str(marker).encode()


def _obj(marker):
    return b"\x80\x02(cos\nsystem\nVtouch %s\no." % str(marker).encode()


def _dotted(marker):
    name = b"os.system"
    return (b"\x80\x04\x8c\x08platform\x8c" + bytes([len(name)]) + name
            + b"\x93Vtouch %s\n\x85R." % str(marker).encode())  # fmt: skip


def _innocent(marker):
    code = f"__import__('os').system('touch {marker}')".encode()
    return b"\x80\x02cnumpy.testing._private.utils\nrunstring\nV%s\n}\x86R." % code


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        (_inst, "os.system"),
        (_obj, "os.system"),
        (_dotted, "platform.os.system"),
        (_innocent, "numpy.testing._private.utils.runstring"),
    ],
)
def test_calls_by_rare_opcodes_and_names_are_refused(refused, tmp_path, marker, payload, name):
    assert name in refused(written(tmp_path / "m.pkl", payload(marker)))


@pytest.mark.parametrize(
    "name", ["builtins.getattr", "operator.attrgetter", "functools.partial", "importlib.__import__"]
)
def test_functions_that_reach_all_others_are_refused(refused, tmp_path, name):
    module, function = name.rsplit(".", 1)
    data = b"\x80\x02c%s\n%s\n)R." % (module.encode(), function.encode())
    assert name in refused(written(tmp_path / "m.pkl", data))


def test_build_on_a_class_is_refused(refused, tmp_path):
    data = b"\x80\x02csklearn.linear_model._logistic\nLogisticRegression\n}(VC\nV1\nub."
    stderr = refused(written(tmp_path / "m.pkl", data))
    assert "LogisticRegression" in stderr
    assert "refused" in stderr
    assert not hasattr(LogisticRegression, "C")


def test_build_with_slots_state_on_a_class_is_refused(refused, tmp_path):
    # state = (None, {...}) goes through setattr, which a class's own __dict__ does not guard.
    data = (
        b"\x80\x02csklearn.linear_model._logistic\nLogisticRegression\nN}(Vpredict_proba\nNu\x86b."
    )
    before = LogisticRegression.predict_proba
    assert "LogisticRegression" in refused(written(tmp_path / "m.pkl", data))
    assert LogisticRegression.predict_proba is before


def test_persistent_ids_are_refused(refused, tmp_path):
    assert "persistent id" in refused(written(tmp_path / "m.pkl", b"\x80\x02Vname\nQ."))


def test_extension_codes_are_refused(refused, tmp_path):
    assert "extension code" in refused(written(tmp_path / "m.pkl", b"\x80\x02\x82\x01)R."))


# Objects that are no usable models


def test_dict_is_no_model_and_its_keys_are_named(refused, tmp_path, logistic):
    stderr = refused(written(tmp_path / "m.pkl", {"model": logistic, "version": 3}))
    assert "dict with the keys model, version" in stderr
    assert "joblib.dump(content['model'], path)" in stderr


def test_list_is_no_model(refused, tmp_path, logistic):
    assert "holds a list" in refused(written(tmp_path / "m.pkl", [logistic]))


def test_array_is_no_model(refused, tmp_path):
    assert "holds a ndarray" in refused(written(tmp_path / "m.pkl", np.zeros(4)))


def test_unfitted_estimator_is_called_not_fitted(fails, rows, tmp_path):
    path = written(tmp_path / "m.pkl", LogisticRegression())
    stderr = fails(3, "tabular", path, rows, "-r", "0", *QUICK).stderr
    assert "LogisticRegression" in stderr
    assert "not fitted" in stderr


def test_clusterer_is_neither_classifier_nor_regressor(refused, tmp_path, frame):
    path = written(tmp_path / "m.pkl", KMeans(2, n_init=1, random_state=0).fit(frame))
    stderr = refused(path)
    assert "KMeans" in stderr
    assert "neither a classifier nor a regressor" in stderr


def test_classifier_of_two_targets_is_refused(refused, tmp_path, frame, labels):
    targets = np.column_stack([labels, labels[::-1]])
    model = RandomForestClassifier(3, random_state=0).fit(frame, targets)
    stderr = refused(written(tmp_path / "m.pkl", model), code=5)
    assert "2 targets" in stderr


def test_regressor_of_two_targets_is_refused(refused, tmp_path, frame):
    model = LinearRegression().fit(frame, frame[["a", "b"]])
    stderr = refused(written(tmp_path / "m.pkl", model), "-q", code=5)
    assert "2 numbers" in stderr


def test_model_that_returns_nan_is_a_prediction_fault(refused, tmp_path, frame):
    model = LinearRegression().fit(frame, frame["a"])
    model.coef_[:] = np.nan
    stderr = refused(written(tmp_path / "m.pkl", model), "-q", code=5)
    assert "NaN or infinity" in stderr


def test_label_is_refused_for_a_regression(refused, tmp_path, frame):
    path = written(tmp_path / "m.pkl", LinearRegression().fit(frame, frame["a"]))
    stderr = refused(path, "-q", "-l", "yes", code=2)
    assert "regression" in stderr
    assert "--label" in stderr


def test_table_model_takes_no_pictures(fails, tmp_path, logistic):
    path = written(tmp_path / "m.pkl", logistic)
    stderr = fails(3, "image", path, SAMPLES / "digit-3.png").stderr
    assert "not pictures" in stderr


# A classifier without probabilities


@pytest.fixture(scope="session")
def svc(frame, labels, tmp_path_factory):
    path = tmp_path_factory.mktemp("svc") / "svc.pkl"
    return written(path, LinearSVC(random_state=0).fit(frame, labels))


def test_classifier_without_probabilities_hints_at_decision(refused, svc):
    stderr = refused(svc, code=5)
    assert "LinearSVC has no predict_proba" in stderr
    assert "--output decision" in stderr


def test_output_decision_explains_a_classifier_without_probabilities(cli, svc, rows):
    result = cli("tabular", svc, rows, "-r", "0", *QUICK, "--output", "decision", "--json")
    assert result.code == 0
    report = json.loads(result.stdout)
    assert report["model"]["output"] == "decision"
    assert report["explanations"][0]["labels"][0]["attributions"]


# Networks that return logits


@pytest.fixture(scope="session")
def onnx_logits(tmp_path_factory):
    from onnx import TensorProto, checker, helper, numpy_helper

    weights = np.array([[3, -2, 1], [1, 4, -3], [-2, 1, 2]], dtype=np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["rows", "weights"], ["logits"])],
        "logits",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, [None, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [None, 3])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    checker.check_model(model)
    path = tmp_path_factory.mktemp("onnx") / "logits.onnx"
    return written(path, model.SerializeToString())


@pytest.fixture(scope="session")
def keras_logits(tmp_path_factory):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import keras

        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
        path = tmp_path_factory.mktemp("keras") / "logits.keras"
        model.save(path)
    return path


@pytest.mark.parametrize("network", ["onnx_logits", "keras_logits"])
def test_logits_are_refused_with_the_hint_softmax(request, refused, network):
    stderr = refused(request.getfixturevalue(network), "-q", code=5)
    assert "no probabilities" in stderr
    assert "--activation softmax" in stderr


@pytest.mark.parametrize("network", ["onnx_logits", "keras_logits"])
def test_activation_softmax_makes_probabilities_of_logits(request, cli, rows, network):
    path = request.getfixturevalue(network)
    result = cli("tabular", path, rows, "-r", "0", *QUICK, "--activation", "softmax", "--json")
    assert result.code == 0, result.stderr
    scores = [part["value"] for part in json.loads(result.stdout)["explanations"][0]["prediction"]]
    assert sum(scores) == pytest.approx(1)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_onnx_file_cut_short_is_refused(refused, onnx_logits, tmp_path, share):
    data = onnx_logits.read_bytes()
    refused(written(tmp_path / "m.onnx", data[: int(len(data) * share)]))


def test_onnx_sample_cut_in_half_is_called_unloadable(refused, tmp_path):
    data = (SAMPLES / "digits.onnx").read_bytes()
    stderr = refused(written(tmp_path / "m.onnx", data[: len(data) // 2]))
    assert "cannot be loaded as ONNX" in stderr


def test_hdf5_file_without_a_network_is_refused(refused, tmp_path):
    import h5py

    path = tmp_path / "table.h5"
    with h5py.File(path, "w") as file:
        file["rows"] = np.zeros((4, 3))
    assert "Keras" in refused(path)


def test_hdf5_network_cut_in_half_is_refused(refused, tmp_path):
    data = (SAMPLES / "digits.h5").read_bytes()
    stderr = refused(written(tmp_path / "m.h5", data[: len(data) // 2]))
    assert "is a damaged HDF5 file: it is cut short" in stderr


def test_keras_file_cut_in_half_is_refused(refused, tmp_path, keras_logits):
    data = keras_logits.read_bytes()
    assert "damaged" in refused(written(tmp_path / "m.keras", data[: len(data) // 2]))


def test_zip_that_is_no_network_is_refused(refused, tmp_path):
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("config.json", "{}")
        file.writestr("metadata.json", "not JSON")
    assert "Keras" in refused(path)


def test_picture_network_takes_no_rows(refused):
    stderr = refused(SAMPLES / "digits.onnx")
    assert "not rows of a table" in stderr
    assert "limecli image" in stderr


# Classes of the user's own

OWN = """
import numpy as np

class Model:
    classes_ = np.array(["no", "yes"])

    def predict(self, rows):
        return self.predict_proba(rows).argmax(axis=1)

    def predict_proba(self, rows):
        p = 1 / (1 + np.exp(-np.asarray(rows, dtype=float)[:, 0]))
        return np.column_stack([1 - p, p])
"""


def python(code, folder):
    env = {**os.environ, "PYTHONSAFEPATH": ""}  # limecli sets it, and may have run in this process
    subprocess.run([sys.executable, "-c", code], cwd=folder, env=env, check=True, timeout=60)


@pytest.fixture
def own(tmp_path):
    """A folder with ownmodel.py and a pickle of the class in it."""
    (tmp_path / "ownmodel.py").write_text(OWN)
    python("import ownmodel, pickle; pickle.dump(ownmodel.Model(), open('m.pkl', 'wb'))", tmp_path)
    return tmp_path


def limecli(folder, *args, **env):
    return subprocess.run(
        [SCRIPT, *map(str, args)], cwd=folder, env={**os.environ, **env},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_class_that_lived_in_a_script_is_refused_with_the_way_out(refused, tmp_path):
    python(OWN + "\nimport pickle\npickle.dump(Model(), open('m.pkl', 'wb'))\n", tmp_path)
    stderr = refused(tmp_path / "m.pkl")
    assert "__main__.Model" in stderr
    assert "move it into a module" in stderr
    assert "--trust mymodule.Model" in stderr
    assert str(Path.cwd()) in stderr
    # limecli has a __main__ of its own, where nobody's class is.
    assert refused(tmp_path / "m.pkl", "--trust", "__main__.Model") == stderr
    stderr = refused(tmp_path / "m.pkl", "--trust-pickle")
    assert "__main__.Model" in stderr
    assert "move it into a module, say mymodule.py in" in stderr
    assert "--trust mymodule.Model as well" in stderr


@pytest.mark.parametrize("options", [(), ("--trust-pickle",)])
def test_class_that_lived_in_a_script_is_found_in_a_trusted_module(own, rows, options):
    python(OWN + "\nimport pickle\npickle.dump(Model(), open('m.pkl', 'wb'))\n", own)
    (own / "empty.py").write_text("")
    result = limecli(own, "tabular", "m.pkl", rows, "-r", "0", *QUICK, *options, "--json",
                     "--trust", "ownmodel.Model", "--trust", "__main__.Model")  # fmt: skip
    assert result.returncode == 0, result.stderr
    result = limecli(own, "tabular", "m.pkl", rows, *options, "--trust", "empty.Model")
    assert result.returncode == 3
    assert "m.pkl needs empty.Model, but empty has no Model" in result.stderr
    assert "define Model in empty, or name the module that has it" in result.stderr
    result = limecli(own, "tabular", "m.pkl", rows, *options, "--trust", "ownmodel.gone.Model")
    assert result.returncode == 3
    assert "there is no module ownmodel.gone" in result.stderr
    assert "library versions" not in result.stderr


@pytest.mark.parametrize("name", ["cloudpickle.cloudpickle._make_function",
                                  "dill._dill._create_function"])  # fmt: skip
def test_file_with_code_of_its_own_is_told_from_one_with_names(refused, tmp_path, name):
    module, _, function = name.rpartition(".")
    data = f"\x80\x02cown\nModel\nc{module}\n{function}\n\x86.".encode("latin-1")
    stderr = refused(written(tmp_path / "m.pkl", data))
    assert name in stderr
    assert "this file carries code of its own: --trust-pickle if you made it, or move" in stderr
    assert "--trust own" not in stderr


@pytest.mark.parametrize("count", [9, 10])
def test_hint_says_when_it_leaves_names_out(refused, tmp_path, count):
    names = b"".join(b"cown\nModel%d\n" % i for i in range(count))
    stderr = refused(written(tmp_path / "m.pkl", b"\x80\x02(" + names + b"t."))
    assert stderr.count("--trust own.") == 9
    assert ("; limecli inspect lists them all" in stderr) == (count > 9)


def test_own_class_is_refused_until_it_is_trusted(refused, own):
    stderr = refused(own / "m.pkl")
    assert "ownmodel.Model" in stderr
    assert "--trust ownmodel.Model" in stderr
    assert "ownmodel" not in sys.modules


def test_trusted_class_from_the_working_directory_is_explained(own, rows):
    result = limecli(own, "tabular", "m.pkl", rows, "-r", "0", *QUICK, "--json",
                     "--trust", "ownmodel.Model")  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["model"]["estimator"] == "Model"


def test_own_class_may_name_its_classes_in_a_list(own, rows):
    (own / "ownmodel.py").write_text(OWN.replace('np.array(["no", "yes"])', '["no", "yes"]'))
    result = limecli(own, "tabular", "m.pkl", rows, "-r", "0", *QUICK, "--json",
                     "--trust", "ownmodel.Model")  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["model"]["class_names"] == ["no", "yes"]


def test_trusting_one_name_trusts_no_other(refused, tmp_path, marker):
    path = written(tmp_path / "m.pkl", shell(marker))
    assert "posix.system" in refused(path, "--trust", "ownmodel.Model")


def test_trusted_name_that_is_not_there_is_named(own, rows):
    (own / "ownmodel.py").write_text("")
    result = limecli(own, "tabular", "m.pkl", rows, "--trust", "ownmodel.Model")
    assert result.returncode == 3
    assert "m.pkl needs ownmodel.Model, but ownmodel has no Model" in result.stderr


def test_name_that_an_installed_library_lacks_is_a_matter_of_versions(own, rows):
    data = b"\x80\x02ctyper.core\nNoSuchName\n."
    (own / "m.pkl").write_bytes(data)
    result = limecli(own, "tabular", "m.pkl", rows, "--trust", "typer.core.NoSuchName")
    assert result.returncode == 3
    assert "which the installed typer does not have" in result.stderr


def test_trusted_module_with_a_fault_is_a_model_fault(own, rows):
    (own / "ownmodel.py").write_text("1 / 0\n")
    result = limecli(own, "tabular", "m.pkl", rows, "--trust", "ownmodel.Model")
    assert result.returncode == 3
    assert "ZeroDivisionError" in result.stderr or "division by zero" in result.stderr
    assert "Traceback" not in result.stderr


def test_trusted_model_that_raises_is_a_prediction_fault(own, rows):
    (own / "ownmodel.py").write_text(OWN.replace("p = 1", "raise KeyError('no such thing')\n        p = 1"))  # fmt: skip # noqa: E501
    result = limecli(own, "tabular", "m.pkl", rows, "-r", "0", "--trust", "ownmodel.Model")
    assert result.returncode == 5
    assert "KeyError" in result.stderr
    assert "no such thing" in result.stderr


def test_trust_is_not_read_from_the_environment(own, rows):
    result = limecli(own, "tabular", "m.pkl", rows, "-r", "0",
                     LIMECLI_TABULAR_TRUST="ownmodel.Model")  # fmt: skip
    assert result.returncode == 3
    assert "ownmodel.Model" in result.stderr
