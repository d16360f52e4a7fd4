"""The main job, end to end, on the committed samples."""

import json

import joblib
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from tests.conftest import SAMPLES


def test_a_row_is_explained_in_the_terminal(cli):
    result = cli("tabular", SAMPLES / "penguins.pkl", SAMPLES / "penguin.csv", "-b",
                 SAMPLES / "penguins.csv")  # fmt: skip
    assert result.code == 0
    assert "why Adelie?" in result.stdout
    assert "island = Dream" in result.stdout


def test_json_goes_to_stdout_alone(cli):
    result = cli("tabular", SAMPLES / "penguins.pkl", SAMPLES / "penguin.csv", "-b",
                 SAMPLES / "penguins.csv", "--json", "-n", "500")  # fmt: skip
    assert result.code == 0
    assert json.loads(result.stdout)["schema_version"] == 1


def test_verbose_says_what_took_how_long(cli):
    result = cli("tabular", SAMPLES / "penguins.pkl", SAMPLES / "penguin.csv", "-n", "100", "-v")
    assert "RandomForestClassifier from pickle" in result.stderr
    assert "0 explained in" in result.stderr
    assert "explained in" not in result.stdout


@pytest.fixture
def grades(tmp_path):
    """Grades 1, 2, 3 and 9, of which the background lacks the 9."""
    frame = pd.DataFrame({"grade": [1, 2, 3, 9] * 20})
    names = frame["grade"].map({1: "one", 2: "two", 3: "three", 9: "nine"})
    model = make_pipeline(OneHotEncoder(), LogisticRegression(max_iter=1000)).fit(frame, names)
    joblib.dump(model, tmp_path / "grades.joblib")
    frame[frame["grade"] < 9].to_csv(tmp_path / "known.csv", index=False)
    frame[:4].to_csv(tmp_path / "rows.csv", index=False)
    return tmp_path, model, frame


def test_an_unseen_number_reaches_the_model_as_a_number(cli, grades):
    folder, model, frame = grades
    result = cli("tabular", folder / "grades.joblib", folder / "rows.csv", "-r", "3", "--json",
                 "-b", folder / "known.csv", "--categorical", "grade", "-n", "100")  # fmt: skip
    (item,) = json.loads(result.stdout)["explanations"]
    assert item["prediction"][0]["label"] == "nine"
    truth = model.predict_proba(frame[3:4])[0].max()
    assert item["prediction"][0]["value"] == pytest.approx(truth)


@pytest.mark.parametrize("name", ["rows.csv", "known.csv", "link.csv"])
def test_no_file_that_was_read_is_replaced(fails, grades, name):
    folder, _, _ = grades
    (folder / "link.csv").symlink_to(folder / "rows.csv")
    before = (folder / name).read_bytes()
    fails(2, "tabular", folder / "grades.joblib", folder / "rows.csv", "-r", "0", "-b",
          folder / "known.csv", "--categorical", "grade", "-o", folder / name)  # fmt: skip
    fails(2, "background", folder / name, "-o", folder / name)
    assert (folder / name).read_bytes() == before


def test_a_function_to_run_is_named_on_the_command_line_only(fails, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.py").write_text("open('marker', 'w')\ndef f(x): return x\n")
    (tmp_path / "limecli.toml").write_text('[image]\npreprocess = "evil:f"\n')
    fails(2, "image", SAMPLES / "digits.onnx", SAMPLES / "digit-3.png")
    assert not (tmp_path / "marker").exists()


def test_the_environment_names_no_function_to_run(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIMECLI_IMAGE_PREPROCESS", "evil:f")
    (tmp_path / "evil.py").write_text("open('marker', 'w')\ndef f(x): return x\n")
    assert cli("image", SAMPLES / "digits.onnx", SAMPLES / "digit-3.png", "-n", "20").code == 0
    assert not (tmp_path / "marker").exists()
