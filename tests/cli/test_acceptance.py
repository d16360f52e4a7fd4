"""What an acceptance trial with models of its own found, so that it stays found."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import joblib
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_iris
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

from limecli.inputs.image import Frame, read_image
from tests.conftest import ROOT, SAMPLES

OWN = """
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin

class Selector(TransformerMixin, BaseEstimator):
    def __init__(self, names=()):
        self.names = names
    def fit(self, X, y=None):
        return self
    def transform(self, X):
        return X[list(self.names)].to_numpy()

def first_two(X):
    return X[:, :2]

class Spelling(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self
    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]
    def predict_proba(self, X):
        p = 0.5 + 0.1 * (X["code"].astype(str) == "1").to_numpy()
        return np.column_stack([1 - p, p])
"""
FIT = """
import joblib, own, pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer
frame = pd.read_csv("rows.csv")
union = make_union(own.Selector(["age"]), own.Selector(["size"]))
model = make_pipeline(union, LogisticRegression()).fit(frame, frame["size"] > 0)
joblib.dump(model, "union.joblib")
table = make_pipeline(FunctionTransformer(own.first_two), LogisticRegression())
joblib.dump(table.fit(frame.to_numpy(), frame["size"] > 0), "array.joblib")
joblib.dump(own.Spelling().fit(frame, frame["code"] > 1), "spelling.joblib")
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Models with parts of the user's own, in a module beside them."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own.py").write_text(OWN)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"age": rng.integers(20, 60, 60), "size": rng.normal(size=60),
                          "code": rng.integers(1, 4, 60)})  # fmt: skip
    frame.to_csv(folder / "rows.csv", index=False)
    subprocess.run([sys.executable, "-c", FIT], cwd=folder, check=True)
    return folder


def test_a_selector_inside_a_union_gets_its_columns(process, own):
    done = process("tabular", "union.joblib", "rows.csv", "-r", "0", "-n", "100",
                   "--trust", "own.Selector", cwd=own)  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_function_fitted_on_arrays_gets_arrays(process, own):
    done = process("tabular", "array.joblib", "rows.csv", "-r", "0", "-n", "100",
                   "--trust", "own.first_two", cwd=own)  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_picture_is_not_replaced_by_its_explanation(fails, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = (SAMPLES / "digit-3.png").read_bytes()
    (tmp_path / "digit.png").write_bytes(before)
    refused = fails(
        2, "image", SAMPLES / "digits.onnx", "digit.png", "-n", "20", "-o", "{stem}.png"
    )
    assert "would replace digit.png" in refused.stderr
    assert (tmp_path / "digit.png").read_bytes() == before


def test_a_model_that_spells_its_integers_is_noted(process, own):
    row = int((pd.read_csv(own / "rows.csv")["code"] == 1).argmax())
    asked = ("tabular", "spelling.joblib", "rows.csv", "-r", row, "-n", "100",
             "--trust", "own.Spelling")  # fmt: skip
    done = process(*asked, cwd=own)
    assert "code: name the columns that are categories with --categorical" in done.stderr
    done = process(*asked, "--categorical", "code", cwd=own)
    assert "answers differently" not in done.stderr


def test_among_equals_the_predicted_class_is_explained(cli, tmp_path):
    x, y = load_iris(return_X_y=True, as_frame=True)
    model = DummyClassifier(strategy="uniform", random_state=0).fit(x, y)
    joblib.dump(model, tmp_path / "model")
    x.to_csv(tmp_path / "x.csv", index=False)
    result = cli("tabular", tmp_path / "model", tmp_path / "x.csv", "-r", "0", "-n", "50", "--json")
    (item,) = json.loads(result.stdout)["explanations"]
    assert item["prediction"][0]["index"] == item["labels"][0]["index"] == 0


def test_unspaced_text_gets_a_note(cli, tmp_path):
    model = make_pipeline(CountVectorizer(analyzer="char"), MultinomialNB())
    joblib.dump(model.fit(["我喜欢猫", "他讨厌狗"], ["good", "bad"]), tmp_path / "model")
    result = cli("text", tmp_path / "model", "我喜欢猫", "-n", "50")
    assert "--char-level" in result.stderr
    assert "--char-level" not in cli("text", tmp_path / "model", "我喜欢猫", "-n", "50",
                                     "--char-level").stderr  # fmt: skip


def test_eight_bits_in_a_32_bit_picture_are_not_black(tmp_path):
    Image.fromarray(np.full((8, 8), 200, dtype=np.int32)).save(tmp_path / "deep.tiff")
    instance, _ = read_image(str(tmp_path / "deep.tiff"), 0, Frame(8, 8, 3))
    assert (instance.payload == 200).all()


def test_every_failure_has_a_hint(fails, tmp_path):
    (tmp_path / "empty").write_text("")
    (tmp_path / "head.csv").write_text("a,b\n")
    model, rows = SAMPLES / "penguins.pkl", SAMPLES / "penguin.csv"
    for code, args in (
        (3, (tmp_path / "nothing", rows)), (3, (tmp_path / "empty", rows)),
        (4, (model, tmp_path / "nothing")), (4, (model, tmp_path / "empty")),
        (4, (model, tmp_path / "head.csv")), (2, (model, rows, "-l", "index:9")),
        (6, (model, rows, "-o", tmp_path / "none" / "x.json")), (2, (model, rows, "--nope")),
    ):  # fmt: skip
        assert "hint: " in fails(code, "tabular", *args).stderr


@pytest.mark.parametrize("delay", [0.02, 0.05, 0.1, 0.2, 0.4])
def test_ctrl_c_is_told_well_from_the_first_moment(command, delay):
    import signal

    started = subprocess.Popen(
        [*command, "tabular", str(SAMPLES / "penguins.pkl"), str(SAMPLES / "penguin.csv"),
         "-n", "2000000", "--sampler", "lime"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    time.sleep(delay + 0.1)  # the interpreter itself is up by then
    started.send_signal(signal.SIGINT)
    _, stderr = started.communicate(timeout=60)
    assert started.returncode == 130, stderr
    assert "Traceback" not in stderr


def test_a_small_regression_keeps_its_digits(cli, tmp_path):
    from sklearn.linear_model import LinearRegression

    x, y = load_iris(return_X_y=True, as_frame=True)
    joblib.dump(LinearRegression().fit(x, (y + 1) * 1e-7), tmp_path / "model")
    x.to_csv(tmp_path / "x.csv", index=False)
    shown = cli("tabular", tmp_path / "model", tmp_path / "x.csv", "-r", "0", "-n", "100").stdout
    assert "why value = 0.000?" not in shown
    assert "e-0" in shown.splitlines()[0]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_row_with_a_gap_among_others_is_skipped_without_bins(cli, tmp_path, place):
    frame, target = load_iris(return_X_y=True, as_frame=True)
    joblib.dump(HistGradientBoostingClassifier(max_iter=5).fit(frame, target), tmp_path / "m")
    frame.to_csv(tmp_path / "train.csv", index=False)
    rows = frame.head(3).copy()
    rows.iloc[place, 1] = None
    rows.to_csv(tmp_path / "rows.csv", index=False)
    result = cli("tabular", tmp_path / "m", tmp_path / "rows.csv", "-b", tmp_path / "train.csv",
                 "--discretizer", "none", "-n", "100", "--json")  # fmt: skip
    assert result.code == 4
    states = [item["status"] for item in json.loads(result.stdout)["explanations"]]
    assert states == ["skipped" if i == place else "ok" for i in range(3)]


@pytest.mark.parametrize("stream", ["1", "2"])
def test_a_closed_stream_is_no_bug(stream):
    words = f"{sys.executable} -m limecli formats {stream}>&-"
    done = subprocess.run(
        ["/bin/sh", "-c", words], check=False, capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0
    assert "unforeseen" not in done.stdout + done.stderr


def test_statistics_with_a_frequency_below_0_are_refused(cli, fails, tmp_path):
    stats = json.loads((SAMPLES / "penguins.pkl.background.json").read_text())
    stats["feature_frequencies"]["year"][0] -= 1.0
    stats["feature_frequencies"]["year"][1] += 1.0
    (tmp_path / "stats.json").write_text(json.dumps(stats))
    told = fails(4, "tabular", SAMPLES / "penguins.pkl", SAMPLES / "penguin.csv", "-b",
                 tmp_path / "stats.json").stderr  # fmt: skip
    assert "frequency below 0" in told
