"""Models that older versions of scikit-learn pickled: they answer as then, or say what to install.

The files and the answers come from tests/models/old/build.py, run with those versions.
"""

from __future__ import annotations

import io
import json
import pickle
import re
import tomllib
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.linear_model import LogisticRegression

from limecli.errors import LimecliError, ModelError
from limecli.models.interface import LoadOptions, ModelFile
from limecli.models.pickle import PickleLoader
from limecli.models.versions import OLDEST_SKLEARN, plain_version

OLD = Path(__file__).parent / "old"
FILES = sorted(
    f"{path.parent.name}/{path.name}"
    for path in OLD.glob("*/*")
    if path.suffix in (".pkl", ".joblib")
)
# With scikit-learn 1.9; an installed version that lies nearer loads more.
NOT_ANY_MORE = {
    "1.0": r"(boosting|calibrated|forest|grid|histogram|isolation|tree|columns|neighbours).*",
    "1.3": r"boosting.*",  # its losses were classes of their own
}
TOLERANCE = 1e-6  # all that was measured lies below 1e-12


@cache
def known(version):
    return json.loads((OLD / version / "predictions.json").read_text("utf-8"))


def predictions(path, item, trust_pickle=False):
    kind = "text" if item["columns"] is None else "tabular"
    output = "decision" if item["method"] == "decision_function" else "probability"
    task = None if item["method"] == "predict_proba" else "regression"
    options = LoadOptions(kind=kind, task=task, output=output, trust_pickle=trust_pickle)
    predictor = PickleLoader().load(ModelFile(str(path)), options)
    inputs = item["inputs"]
    if kind == "tabular":
        inputs = pd.DataFrame(inputs, columns=item["columns"])
    return predictor, predictor.predict_fn(inputs)


def install_hint(saved):
    return (
        "limecli needs scikit-learn 1.5 or later: fit the model again, or convert it (to ONNX,"
        f" say) where {saved} is installed"
    )


def attempt(path, item):
    try:
        return *predictions(path, item), None
    except LimecliError as error:
        return None, None, error


@pytest.mark.parametrize("name", FILES)
def test_an_old_model_answers_as_then_or_says_what_to_install(name):
    version, _, file = name.partition("/")
    saved, item = known(version)["scikit-learn"], known(version)["models"][file]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # scikit-learn's own, of what it drops
        predictor, found, error = attempt(OLD / name, item)
    if error is not None:
        assert re.fullmatch(NOT_ANY_MORE.get(version, ""), Path(file).stem), error.message
        assert f"saved with scikit-learn {saved}, " in error.message
        assert sklearn.__version__ in error.message
        assert error.hint == install_hint(saved)
        assert "\n" not in error.message
        assert "list of trusted names" not in error.message
        return
    skew = f"saved with scikit-learn {saved}, loaded with {sklearn.__version__}: predictions"
    assert [note for note in predictor.notes if note.startswith("saved with")] == [
        f"{skew} may differ from those at the time"
    ]
    then = np.asarray(item["values"], dtype=float).reshape(len(found), -1)
    np.testing.assert_allclose(found, then, rtol=0, atol=TOLERANCE)


def test_class_counts_become_fractions_with_trust_pickle_too():
    item = known("1.3")["models"]["forest.pkl"]
    _, found = predictions(OLD / "1.3" / "forest.pkl", item, trust_pickle=True)
    np.testing.assert_allclose(found, item["values"], rtol=0, atol=TOLERANCE)


def test_the_command_says_both_versions_in_one_line(cli, tmp_path):
    rows = tmp_path / "rows.csv"
    columns = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    values = np.random.default_rng(0).normal(4, 1, size=(60, 4))
    pd.DataFrame(values, columns=columns).to_csv(rows, index=False)
    path = OLD / "1.5" / "forest.pkl"
    result = cli("tabular", path, rows, "-r", "0", "-n", "60", "--json", "--no-progress")
    assert result.code == 0, result.stderr
    assert result.stderr.count("saved with scikit-learn 1.5.2") == 1
    path = OLD / "1.0" / "boosting.pkl"
    result = cli("tabular", path, rows, "-r", "0")
    assert result.code == 3
    assert "saved with scikit-learn 1.0.2" in result.stderr
    assert install_hint("1.0.2") in result.stderr
    assert "Traceback" not in result.stderr


def model_of(version, **attributes):
    """A pickle that says it is of another scikit-learn and has lost or gained attributes."""
    model = LogisticRegression().fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])
    for name, value in attributes.items():
        setattr(model, name, value)
    data = io.BytesIO()
    pickler = pickle.Pickler(data, 4)
    pickler.dispatch_table = {
        LogisticRegression: lambda self: (
            object.__reduce_ex__(self, 2)[0],
            (LogisticRegression,),
            {**vars(self), "_sklearn_version": version},
        )
    }
    pickler.dump(model)
    return data.getvalue()


def loaded(data):
    return PickleLoader().load(ModelFile("model.pkl", data), LoadOptions(kind="tabular"))


def test_a_name_that_scikit_learn_had_once_is_a_matter_of_versions():
    data = model_of("0.17.1", extra=LogisticRegression)
    gone = data.replace(b"sklearn.linear_model._logistic", b"sklearn.linear_modelx.logistic")
    with pytest.raises(ModelError, match=r"wants sklearn.linear_modelx.logistic.Logistic") as told:
        loaded(gone)
    assert "saved with scikit-learn 0.17.1, installed is" in told.value.message
    assert told.value.hint == install_hint("0.17.1")


def test_what_a_file_says_of_its_version_cannot_write_a_command():
    assert plain_version("1.9.dev0+abc") == "1.9.dev0+abc"
    for text in ("1.0'; rm -rf '", "1\n", "", None, "latest", "1" * 99):
        assert plain_version(text) == ""
    data = model_of("1.0'; rm -rf '").replace(b"_logistic", b"xlogistic")
    with pytest.raises(ModelError) as told:
        loaded(data)
    assert "rm" not in told.value.hint


@pytest.mark.filterwarnings("ignore")
def test_a_failure_of_predict_names_both_versions():
    predictor = loaded(model_of("1.1.3", coef_="lost"))
    with pytest.raises(LimecliError) as told:
        predictor.predict_fn(pd.DataFrame({"a": [1.0]}))
    assert f"(saved with scikit-learn 1.1.3, installed is {sklearn.__version__})" in (
        told.value.message
    )
    assert told.value.hint == install_hint("1.1.3")


@pytest.mark.filterwarnings("ignore")
def test_a_version_that_limecli_takes_is_one_to_install():
    predictor = loaded(model_of("1.5.1", coef_="lost"))
    with pytest.raises(LimecliError) as told:
        predictor.predict_fn(pd.DataFrame({"a": [1.0]}))
    assert told.value.hint.endswith("pip install 'scikit-learn==1.5.1'")


def test_the_oldest_scikit_learn_is_the_one_that_limecli_requires():
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8")
    oldest = ".".join(map(str, OLDEST_SKLEARN))
    assert f"scikit-learn>={oldest}" in tomllib.loads(text)["project"]["dependencies"]
