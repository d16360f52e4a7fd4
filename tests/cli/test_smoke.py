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


def test_verbose_sums_up_what_several_rows_cost(cli):
    rows = (SAMPLES / "penguins.pkl", SAMPLES / "penguins.csv", "-n", "20", "-v")
    few = cli("tabular", *rows, "-r", "0:2").stderr.splitlines()
    assert sum(" explained in " in line for line in few) == 3
    assert any(line.startswith("limecli: all 2 explained in ") for line in few)
    assert any("input and background read" in line for line in few)
    many = cli("tabular", *rows, "-r", "0:30").stderr.splitlines()
    assert sum(" explained in " in line for line in many) == 21
    (last,) = (line for line in many if line.startswith("limecli: all 30"))
    assert "lime " in last or "fit " in last


@pytest.mark.parametrize(
    ("size", "count"),
    [
        ("64M", 64 << 20),
        ("2g", 2 << 30),
        ("1048576", 1 << 20),
        ("1025K", 1025 << 10),
        ("1T", 1 << 40),
    ],
)
def test_a_bound_on_memory_is_a_size(cli, size, count):
    result = cli("text", SAMPLES / "spam.joblib", "you won", "-n", "20", "--json", "--max-memory",
                 size)  # fmt: skip
    settings = json.loads(result.stdout)["settings"]
    assert settings["max_memory"] == count


@pytest.mark.parametrize(
    "size", ["64X", "", "-1", "1.5G", "1023K", "1000000", "0", "lots", "9" * 99]
)
def test_a_bound_on_memory_that_is_none_is_refused(fails, size):
    told = fails(2, "text", SAMPLES / "spam.joblib", "you won", "--max-memory", size).stderr
    assert "--max-memory" in told


def test_a_bound_on_memory_comes_from_file_and_environment_too(cli, tmp_path, monkeypatch, fails):
    monkeypatch.chdir(tmp_path)
    words = ("text", SAMPLES / "spam.joblib", "you won", "-n", "20")
    for value in ('"64M"', "67108864"):
        (tmp_path / "limecli.toml").write_text(f"max-memory = {value}\n")
        assert cli(*words).code == 0
    (tmp_path / "limecli.toml").write_text('[text]\nmax_memory = "1K"\n')
    fails(2, *words)
    monkeypatch.setenv("LIMECLI_TEXT_MAX_MEMORY", "2M")
    assert cli(*words).code == 0


@pytest.mark.parametrize("kind", ["tabular", "text", "image"])
def test_what_the_model_said_of_the_only_instance_is_kept(cli, kind, monkeypatch):
    from limecli.cli.run import Run

    kept, explain = [], Run.explain

    def spy(run, prepared, settings, keep):
        kept.extend(instance.outputs for instance in prepared.instances)
        return explain(run, prepared, settings, keep)

    monkeypatch.setattr(Run, "explain", spy)
    what = {
        "tabular": (SAMPLES / "penguins.pkl", SAMPLES / "penguin.csv"),
        "text": (SAMPLES / "spam.joblib", "you won"),
        "image": (SAMPLES / "digits.onnx", SAMPLES / "digit-3.png"),
    }
    result = cli(kind, *what[kind], "-n", "20", "--json")
    (item,) = json.loads(result.stdout)["explanations"]
    (outputs,) = kept
    assert max(outputs) == pytest.approx(item["prediction"][0]["value"])


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


def test_limecli_toml_never_names_the_model(fails, tmp_path, monkeypatch):
    """It lies in the working directory, and a model may be code that runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.py").write_text("open('ran', 'w')\ndef f(x): return x\n")
    (tmp_path / "limecli.toml").write_text('[tabular]\nmodel = "evil:f"\nrows = "row.csv"\n')
    assert "has no option" in fails(2, "tabular").stderr
    assert not (tmp_path / "ran").exists()
