"""`limecli inspect`: what it says is so, and nothing in the file runs."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import joblib
import numpy as np
import pytest
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.conftest import ROOT, SAMPLES

IRIS = load_iris(as_frame=True)
NAMED = IRIS.target_names[IRIS.target]


@pytest.fixture
def told(cli, tmp_path):
    """What inspect says of a model (dumped first) or of a path, as JSON."""

    def run(model, *options):
        path = model
        if hasattr(model, "fit"):
            path = tmp_path / "model.joblib"
            joblib.dump(model, path)
        result = cli("inspect", path, "--json", *options)
        assert result.code == 0, result.stderr
        assert result.stderr == ""
        return json.loads(result.stdout)

    return run


def labels(part, depth=0):
    times = f"{part['count']} x " if part["count"] > 1 else ""
    yield f"{'.' * depth}{part['name']}:{times}{part['estimator']}"
    for inner in part["parts"]:
        yield from labels(inner, depth + 1)


def test_a_pipeline_is_told_as_a_tree(told):
    model = make_pipeline(
        make_column_transformer((StandardScaler(), list(IRIS.data)[:2]), remainder="passthrough"),
        RandomForestClassifier(7),
    ).fit(IRIS.data, NAMED)
    content = told(model)
    assert list(labels(content["estimator"])) == [
        ":Pipeline",
        ".columntransformer:ColumnTransformer",
        "..standardscaler (sepal length (cm), sepal width (cm)):StandardScaler",
        "..remainder (petal length (cm), petal width (cm)):FunctionTransformer",
        ".randomforestclassifier:RandomForestClassifier",
        "..estimators_:7 x DecisionTreeClassifier",
    ]
    assert content["task"] == "classification"
    assert content["class_names"] == ["setosa", "versicolor", "virginica"]
    assert content["feature_names"] == list(IRIS.data)
    assert content["missing"] == []


def test_searches_and_votes_show_what_is_inside(told):
    vote = VotingClassifier(
        [("a", LogisticRegression(max_iter=500)), ("b", LogisticRegression(C=2, max_iter=500))]
    )
    search = GridSearchCV(vote, {"a__C": [1.0]}, cv=2).fit(IRIS.data, IRIS.target)
    tree = list(labels(told(search)["estimator"]))
    assert ".best_estimator_:VotingClassifier" in tree
    assert "..estimators_:2 x LogisticRegression" in tree


def test_a_regression_is_one(told):
    content = told(LinearRegression().fit(IRIS.data.to_numpy(), IRIS.target))
    assert (content["task"], content["n_features"]) == ("regression", 4)
    assert content["feature_names"] is None


def test_size_hash_and_versions(told, tmp_path):
    import hashlib
    from importlib.metadata import version

    content = told(LogisticRegression(max_iter=500).fit(IRIS.data, IRIS.target))
    data = (tmp_path / "model.joblib").read_bytes()
    assert content["size"] == len(data)
    assert content["sha256"] == hashlib.sha256(data).hexdigest()
    here = version("scikit-learn")
    assert content["versions"] == {"scikit-learn": {"saved": here, "installed": here}}


class Shell:
    def __reduce__(self):
        import os

        return os.system, ("touch marker",)


def test_every_name_is_listed_and_nothing_runs(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = LogisticRegression(max_iter=500).fit(IRIS.data, IRIS.target)
    model.extra_ = [Shell(), np.arange(3)]
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(model))
    content = json.loads(cli("inspect", "m.pkl", "--json").stdout)
    wants = {item["name"]: item["trusted"] for item in content["wants"]}
    assert wants["sklearn.linear_model._logistic.LogisticRegression"] is True
    assert wants["posix.system"] is False
    assert any("--trust posix.system" in line for line in content["missing"])
    assert not (tmp_path / "marker").exists()
    plain = cli("inspect", "m.pkl").stdout
    assert "refused   posix.system" in plain


def test_trust_is_judged_as_said(told, tmp_path):
    content = told(ROOT / "tests/hostile/os_system.pkl", "--trust", "posix.system")
    assert content["wants"] == [{"name": "posix.system", "trusted": True}]


def test_what_a_trusted_name_is_put_to_is_told(cli, tmp_path):
    code = b"\x80\x04cnumpy\nasarray\n(K\x03tR."
    (tmp_path / "m.pkl").write_bytes(code)
    content = json.loads(cli("inspect", tmp_path / "m.pkl", "--json").stdout)
    assert any("numpy.asarray, which may be named but not called" in x for x in content["missing"])


def test_no_library_is_imported_for_a_name(tmp_path):
    """Not even one that is trusted: only numpy and joblib, which hold the arrays."""
    code = (
        "import sys\nfrom limecli.cli import main\n"
        f"sys.argv = ['limecli', 'inspect', {str(SAMPLES / 'penguins.pkl')!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('sklearn', 'pandas', 'lime') if name in sys.modules],"
        " file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_a_lambda_layer_is_named_before_it_is_refused(told, keras, tmp_path):
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Lambda(lambda x: x * 2, name="twice")]
    )
    model.save(tmp_path / "m.keras")
    assert told(tmp_path / "m.keras")["missing"] == [
        "layer twice is a Lambda, which carries Python code: refused"
    ]


@pytest.mark.parametrize("name", ["digits.h5", "digits.onnx"])
def test_networks_tell_their_inputs(told, name):
    content = told(SAMPLES / name)
    assert content["task"] == "classification"
    assert content["inputs"][0]["shape"][0] is None


def test_control_characters_stay_data(cli, tmp_path):
    model = LogisticRegression(max_iter=500).fit(IRIS.data, IRIS.target)
    model.classes_ = np.array(["\x1b[31mred", "[bold]b", "c\nd"], dtype=object)
    joblib.dump(model, tmp_path / "m.joblib")
    shown = cli("inspect", tmp_path / "m.joblib").stdout
    assert "\x1b" not in shown
    assert "\\x1b[31mred, [bold]b, c\\nd" in shown


def test_what_is_no_model_is_an_error(fails, tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    assert "plain text" in fails(3, "inspect", tmp_path / "a.csv").stderr
    assert "no such model file" in fails(3, "inspect", tmp_path / "none.pkl").stderr


def test_a_damaged_pickle_tells_what_came_before(cli, fails, tmp_path):
    data = pickle.dumps(LogisticRegression(max_iter=500).fit(IRIS.data, IRIS.target))
    (tmp_path / "m.pkl").write_bytes(data[: len(data) // 2])
    result = cli("inspect", tmp_path / "m.pkl")
    assert result.code == 3
    assert "LogisticRegression" in result.stdout
    assert "damaged" in result.stderr
    (tmp_path / "n.pkl").write_bytes(data[:20])
    assert "damaged" in fails(3, "inspect", tmp_path / "n.pkl").stderr
