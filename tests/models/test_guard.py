"""The guard lets every ordinary scikit-learn model through, and nothing that runs code."""

from __future__ import annotations

import inspect
import io
import pickle
import warnings
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.utils import all_estimators

from limecli.errors import ModelError
from limecli.models.guard import guarded_load, trusted_names

X, Y = load_iris(return_X_y=True)
X = X[::3] + 0.1
Y = Y[::3]
NEEDS = {
    "estimator": LogisticRegression(max_iter=1000),
    "estimators": [("a", LogisticRegression(max_iter=1000)),
                   ("b", RandomForestClassifier(3, max_depth=2))],
    "transformers": [("keep", "passthrough", [0, 1])],
    "transformer_list": [("keep", "passthrough")],
    "steps": [("model", LogisticRegression(max_iter=1000))],
    "param_grid": {"C": [1.0]},
    "param_distributions": {"C": [1.0]},
}  # fmt: skip


def fitted(cls):
    """An instance fitted on toy data, or None when the toy data do not suit it."""
    parameters = inspect.signature(cls).parameters.values()
    bare = {item.name for item in parameters if item.default is item.empty}
    needs = {name: clone_of(value) for name, value in NEEDS.items() if name in bare}
    if "Regressor" in cls.__name__ and "estimators" in needs:
        needs["estimators"] = [("a", Ridge())]
    for data, target in ((X, Y), (np.abs(X), Y), (X, Y.astype(float)), (X[:, 0], Y),
                         (["some text", "more words", "a b c"] * 10, [0, 1, 2] * 10),
                         ([{"a": 1}, {"b": 2}], [0, 1]), (X, np.c_[Y, Y])):  # fmt: skip
        try:
            return cls(**needs).fit(data, target)
        except Exception:
            continue
    return None


def clone_of(value):
    return clone(value) if hasattr(value, "fit") else value


ESTIMATORS = dict(all_estimators())


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.filterwarnings("ignore")
def test_every_estimator_of_scikit_learn_loads_with_no_flag(name, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = fitted(ESTIMATORS[name])
    if model is None:
        pytest.skip("the toy data do not suit it")
    plain, packed = pickle.dumps(model), io.BytesIO()
    joblib.dump(model, packed, compress=3)
    for data in (plain, packed.getvalue()):
        loaded = guarded_load(data, Path(f"{name}.pkl"))
        assert type(loaded) is type(model)
        assert vars(loaded).keys() == vars(model).keys()


def test_the_table_knows_every_estimator():
    table = trusted_names()
    missing = [cls for cls in ESTIMATORS.values() if (cls.__module__, cls.__name__) not in table]
    assert missing == []


def test_the_table_holds_nothing_that_reaches_further():
    dangerous = """eval exec getattr __import__ open compile system popen partial load loads
        read_csv read_pickle attrgetter methodcaller import_module run Popen check_output
        fetch_openml memmap fromfile frompyfunc vectorize DataSource""".split()
    assert {name for _, name in trusted_names()} & set(dangerous) == set()
    places = """os posix subprocess sys shutil socket pickle importlib datasets testing tests
        conftest externals operator""".split()
    parts = {part for module, _ in trusted_names() for part in module.split(".")}
    assert parts & set(places) == set()


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_old_module_paths_are_mapped(module):
    array = np.arange(3.0)
    data = pickle.dumps(array, 2).replace(b"cnumpy._core.multiarray", b"c" + module.encode())
    assert guarded_load(data, Path("x")).tolist() == [0, 1, 2]


def test_a_bomb_is_bounded(monkeypatch):
    import zlib

    monkeypatch.setattr("limecli.models.guard.MAX_BYTES", 1 << 20)
    data = zlib.compress(pickle.dumps(np.zeros(1 << 20)))
    with pytest.raises(ModelError, match="decompresses to more than"):
        guarded_load(data, Path("bomb.pkl"))
