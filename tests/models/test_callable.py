"""`package.module:function`: the user's own code as a model."""

from __future__ import annotations

import hashlib
import json
import sys

import pytest
from sklearn.datasets import load_iris

from tests.conftest import SAMPLES

QUICK = ("-n", "120")
SOURCE = """
import numpy as np

def score(rows):
    p = 1 / (1 + np.exp(-rows["petal length (cm)"].to_numpy()))
    return np.column_stack([1 - p, p])


def spam(texts):
    p = np.array([0.9 if "prize" in text else 0.1 for text in texts])
    return np.column_stack([1 - p, p])


def bright(pictures):
    assert pictures.dtype == np.uint8 and pictures.ndim == 4, pictures.dtype
    p = pictures.mean(axis=(1, 2, 3)) / 255
    return np.column_stack([1 - p, p])


def scaled(pictures):
    assert pictures.max() <= 1, pictures.max()
    p = pictures.mean(axis=(1, 2, 3))
    return np.column_stack([1 - p, p])


def price(rows):
    return rows.to_numpy()[:, 0] * 100


price.task = "regression"


def named(rows):
    assert list(rows) == ["petal width (cm)", "sepal width (cm)"]
    return score_of(rows.to_numpy()[:, 0])


named.class_names = ["no", "yes"]
named.feature_names = ["petal width (cm)", "sepal width (cm)"]


def score_of(x):
    p = 1 / (1 + np.exp(-x))
    return np.column_stack([1 - p, p])


def logits(rows):
    return rows.to_numpy()[:, :2] * 10


def raising(rows):
    raise KeyError("no such thing")


class Model:
    classes_ = np.array(["a", "b"])

    def predict(self, rows):
        return self.predict_proba(rows).argmax(axis=1)

    def predict_proba(self, rows):
        return score_of(np.asarray(rows, dtype=float)[:, 0])

    @property
    def broken(self):
        raise OSError("gone")


model = Model()
number = 3
"""


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "iris.csv"
    load_iris(as_frame=True).data.to_csv(path, index=False)
    return path


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A working directory with the module ownpredict and a package around another."""
    (tmp_path / "ownpredict.py").write_text(SOURCE)
    (tmp_path / "ownpackage").mkdir()
    (tmp_path / "ownpackage" / "__init__.py").write_text("import ownpredict\n")
    (tmp_path / "ownpackage" / "inner.py").write_text("from ownpredict import score\n")
    (tmp_path / "owntalks.py").write_text(
        "import ownpredict\nprint('imported')\n"
        "def score(rows):\n    print('called')\n    return ownpredict.score(rows)\n"
    )
    (tmp_path / "ownbroken.py").write_text("1 / 0\n")
    (tmp_path / "ownexit.py").write_text("raise SystemExit(0)\n")
    (tmp_path / "ownempty.py").write_text("import numpy\nfrom ownpredict import score\n")
    (tmp_path / "ownneeds.py").write_text("import nosuchlibrary\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("own"):
            del sys.modules[name]


@pytest.fixture
def explain(cli, own, rows):
    def run(model, *options, kind="tabular", data=None):
        inputs = (data or rows, "-r", "60") if kind == "tabular" else (data,)
        result = cli(kind, model, *inputs, *QUICK, "--json", *options)
        assert result.code == 0, result.stderr
        return json.loads(result.stdout)

    return run


@pytest.fixture
def refused(fails, own, rows):
    def run(model, *options, code=3):
        return fails(code, "tabular", model, rows, "-r", "60", *QUICK, *options).stderr

    return run


def test_a_function_over_rows(explain, own):
    report = explain("ownpredict:score")
    assert report["model"]["format"] == "callable"
    assert report["model"]["task"] == "classification"
    assert report["model"]["estimator"] == "score"
    source = (own / "ownpredict.py").read_bytes()
    assert report["model"]["sha256"] == hashlib.sha256(source).hexdigest()
    first = report["explanations"][0]["labels"][0]["attributions"][0]
    assert "petal length" in first["feature"]


def test_a_function_inside_a_package(explain):
    assert explain("ownpackage.inner:score")["model"]["path"] == "ownpackage.inner:score"


def test_a_function_over_texts(explain):
    report = explain("ownpredict:spam", kind="text", data="a free prize")
    assert report["explanations"][0]["labels"][0]["attributions"][0]["feature"] == "prize"


def test_a_function_over_pictures(explain):
    picture = SAMPLES / "digit-3.png"
    report = explain("ownpredict:bright", "--image-size", "32", kind="image", data=picture)
    assert report["explanations"][0]["prediction"]


def test_preprocess_comes_before_the_function(explain):
    picture = SAMPLES / "digit-3.png"
    explain("ownpredict:scaled", "--image-size", "32", "--preprocess", "scale01",
            kind="image", data=picture)  # fmt: skip


def test_the_functions_attributes_are_heeded(explain):
    assert explain("ownpredict:price")["model"]["task"] == "regression"
    report = explain("ownpredict:named")
    assert report["model"]["class_names"] == ["no", "yes"]
    assert report["model"]["feature_names"] == ["petal width (cm)", "sepal width (cm)"]


def test_an_option_goes_before_the_functions_attribute(refused):
    assert "--task regression" in refused("ownpredict:price", "--task", "classification", code=5)


def test_numbers_that_are_no_probabilities_hint_at_regression(refused):
    stderr = refused("ownpredict:logits", code=5)
    assert "--activation softmax" in stderr
    assert "--task regression" in stderr


def test_an_object_and_its_method(explain):
    report = explain("ownpredict:model")
    assert (report["model"]["estimator"], report["model"]["class_names"]) == ("Model", ["a", "b"])
    assert explain("ownpredict:model.predict_proba")["model"]["estimator"] == "predict_proba"


def test_what_the_module_prints_goes_to_stderr(cli, own, rows):
    result = cli("tabular", "owntalks:score", rows, "-r", "60", *QUICK, "--json")
    json.loads(result.stdout)
    assert "imported" in result.stderr
    assert "called" in result.stderr


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("nosuchmodule:score", ["there is no module nosuchmodule", "modules are looked for in"]),
        ("ownpackage.nothing:score", ["there is no module ownpackage.nothing"]),
        ("ownneeds:score", ["there is no module nosuchlibrary, which ownneeds needs"]),
        ("ownbroken:score", ["importing ownbroken raised ZeroDivisionError"]),
        ("ownexit:score", ["importing ownexit raised SystemExit"]),
        ("ownpredict:scor", ["ownpredict has no scor", "did you mean ownpredict:score?"]),
        ("ownpredict:model.predict_prob", ["ownpredict:model has no predict_prob",
                                           "did you mean ownpredict:model.predict_proba?"]),
        ("ownpredict:nope", ["ownpredict has no nope", "there are: Model, ", ", score, "]),
        ("ownpredict:model.nope", ["there are: broken, classes_, predict, predict_proba"]),
        ("ownempty:np", ["ownempty has no np", "ownempty has nothing that could be meant"]),
        ("ownpredict:model.broken", ["reading broken raised OSError: gone", "see where: python"]),
        ("ownpredict:number", ["is a int, not a function"]),
        ("ownpredict:Model", ["is a class", "ownpredict:model"]),
    ],
)  # fmt: skip
def test_what_is_no_model(refused, model, words):
    stderr = refused(model)
    for word in words:
        assert word in stderr


def test_a_function_that_raises(refused):
    assert "KeyError" in refused("ownpredict:raising", code=5)


@pytest.mark.parametrize("model", ["a b:score", "mod:", ":score", "a..b:c", "a:b:c", "../m:f",
                                   "C:\\model.pkl", "http://host:80", "1:2"])  # fmt: skip
def test_what_is_no_such_name(own, model):
    from limecli.models.callable import CallableLoader
    from limecli.models.interface import ModelFile

    assert not CallableLoader().matches(ModelFile(model))


def test_a_file_of_that_name_goes_first(fails, own, rows):
    (own / "ownpredict:score").write_text("plain text\n")
    assert "plain text" in fails(3, "tabular", "ownpredict:score", rows).stderr
    assert "ownpredict" not in sys.modules


def test_inspect_imports_nothing(cli, own):
    result = cli("inspect", "ownpackage.inner:score")
    assert result.code == 0, result.stderr
    assert "ownpackage" in result.stdout
    assert "it is code" in result.stdout or "is code" in result.stdout
    assert not {"ownpackage", "ownpredict"} & set(sys.modules)
    assert "there is no module" in cli("inspect", "nosuchmodule:score").stdout


def test_inspect_claims_no_estimator_that_it_has_not_seen(cli, own):
    result = cli("inspect", "ownpredict:nope")
    assert "estimator" not in result.stdout
    assert "asked for is the function nope" in result.stdout
    assert json.loads(cli("inspect", "ownpredict:nope", "--json").stdout)["estimator"] is None
